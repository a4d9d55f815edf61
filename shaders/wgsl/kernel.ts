import { u32, unroll, wgsl } from "./wgsl.ts";

/** How the numbers of a tensor are stored; kernels compute in f32. */
export type Precision = "f32" | "f16";

/** A storage buffer of a kernel. */
export interface KernelBinding {
  /** Its number in bind group 0. */
  readonly binding: number;
  /** Name of the variable in WGSL, and of the tensor or buffer in the plan. */
  readonly name: string;
  readonly access: "read" | "read_write";
  /** WGSL type of one element: loads and stores move this many bytes. Elements of f16 need the device's `shader-f16`. */
  readonly element: "f32" | "vec2f" | "vec4f" | "f16" | "vec2h" | "vec4h" | "u32" | "atomic<u32>";
  /** Accessed for some data only, beyond what plans state. */
  readonly rarely?: boolean;
}

/** A variable in workgroup memory: `var<workgroup> name: array<element, count>`. */
export interface WorkgroupVariable {
  readonly name: string;
  readonly element: "f32" | "u32" | "vec2f" | "vec4f" | "atomic<u32>";
  readonly count: number;
}

/** Declarations at module scope, in their order: workgroup variables as data, all else as text. */
export type Declarations = readonly (string | WorkgroupVariable)[];

/** A compute kernel as data: everything that is needed to compile it, and nothing of a device. */
export interface Kernel {
  /** Says which kernel it is, whatever its sizes: the path of its file in shaders/ without ".ts", for example "toeplitz/fused". */
  readonly id: string;
  /** Says to people which kernel it is, and how large: in profiles and in messages. */
  readonly label: string;
  /** The spec that the text was generated from, without what is undefined. */
  readonly constants: Readonly<Record<string, unknown>>;
  /** The WGSL text. */
  readonly code: string;
  readonly workgroupSize: readonly [number, 1, 1];
  /** Bytes of all workgroup variables, by {@link workgroupBytes}. */
  readonly workgroupBytes: number;
  readonly bindings: readonly KernelBinding[];
  /** Names of the `u32` parameters, in the order of the uniform buffer. The first two are always {@link GROUP_PARAMS}. */
  readonly params: readonly string[];
}

/**
 * The workgroups that a dispatch does of a kernel's work: from `firstGroup` to before `endGroup`. Work that takes long is done by several
 * dispatches.
 */
export const GROUP_PARAMS = Object.freeze(["endGroup", "firstGroup"] as const);

/** Bytes of an element of a binding, or of a workgroup variable. */
export const ELEMENT_BYTES: Readonly<Record<KernelBinding["element"], number>> = Object.freeze({
  f32: 4,
  vec2f: 8,
  vec4f: 16,
  f16: 2,
  vec2h: 4,
  vec4h: 8,
  u32: 4,
  "atomic<u32>": 4,
});

/** Element of a binding whose values are single numbers, or pairs: complex numbers, or neighbours. */
export function storedElement(values: "single" | "pair", precision: Precision = "f32"): "f32" | "vec2f" | "f16" | "vec2h" {
  if (values === "single") return precision;
  return precision === "f16" ? "vec2h" : "vec2f";
}

/** WGSL expression of a stored value, as f32, vec2f or vec4f, which is exact. */
export function loaded(element: KernelBinding["element"], value: string): string {
  if (element === "f16") return `f32(${value})`;
  if (element === "vec4h") return `vec4f(${value})`;
  return element === "vec2h" ? `vec2f(${value})` : value;
}

/** WGSL expression of an f32, vec2f or vec4f as it is stored. WGSL leaves to the device which of the two neighbours in f16 it takes. */
export function stored(element: KernelBinding["element"], value: string): string {
  if (element === "f16") return `f16(${value})`;
  if (element === "vec4h") return `vec4h(${value})`;
  return element === "vec2h" ? `vec2h(${value})` : value;
}

/** The pieces of which {@link makeKernel} makes a kernel. */
export interface KernelSource {
  /** The id of the {@link Kernel}. */
  readonly id: string;
  readonly label: string;
  /** The validated spec that the text is generated from. */
  readonly constants?: object;
  readonly workgroupSize: number;
  readonly bindings: readonly Omit<KernelBinding, "binding">[];
  /** Parameters besides {@link GROUP_PARAMS}. */
  readonly params: readonly string[];
  /** Functions, constants and workgroup variables. */
  readonly declarations: string | Declarations;
  /** Body of `main`; sees `group` (linear workgroup index) and `lane` (index within the workgroup). */
  readonly body: string;
}

/** How it looks in a text when a template got a value that is none. */
const NO_VALUE = /NaN|Infinity|undefined|null|\[object/;

/**
 * Puts the pieces of a kernel together: bindings numbered in order, the parameters last, and a `main` that folds the workgroup grid,
 * because one dimension of it holds 65535 workgroups at most.
 *
 * @throws TypeError for a text that holds a value that is none: a defect of the kernel, not of its caller
 */
export function makeKernel(source: KernelSource): Kernel {
  const bindings = source.bindings.map((entry, binding) => Object.freeze({ binding, ...entry }));
  const params = Object.freeze([...GROUP_PARAMS, ...source.params]);
  const declarations = [source.declarations].flat();
  const half = bindings.some(({ element }) => ["f16", "vec2h", "vec4h"].includes(element));
  const code = wgsl`${half ? "enable f16;\n" : ""}// ${source.label}
struct Params {
${unroll(params, (name) => `  ${name}: u32,`)}
}
${unroll(bindings, (b) => `@group(0) @binding(${b.binding}) var<storage, ${b.access}> ${b.name}: array<${b.element}>;`)}
@group(0) @binding(${bindings.length}) var<uniform> params: Params;
const LANES = ${u32(source.workgroupSize)};
${unroll(declarations, (piece) => (typeof piece === "string" ? piece : variableText(piece))).trim()}

@compute @workgroup_size(${source.workgroupSize})
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = params.firstGroup + (workgroup_id.z * grid.y + workgroup_id.y) * grid.x + workgroup_id.x;
  if (group >= params.endGroup) { return; }
${source.body.trimEnd()}
}
`;
  const none = NO_VALUE.exec(code.replaceAll(/\/\/.*/g, ""));
  if (none) throw new TypeError(`"${source.label}": the text holds ${none[0]}`);
  return Object.freeze({
    id: source.id,
    label: source.label,
    constants: frozenCopy(source.constants ?? {}) as Kernel["constants"],
    code,
    workgroupSize: Object.freeze([source.workgroupSize, 1, 1] as const),
    workgroupBytes: workgroupBytes(declarations),
    bindings: Object.freeze(bindings),
    params,
  });
}

function variableText({ name, element, count }: WorkgroupVariable): string {
  return `var<workgroup> ${name}: array<${element}, ${u32(count)}>;`;
}

/** Plain data as it comes back from JSON, frozen. */
function frozenCopy(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return Object.freeze(value.map(frozenCopy));
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
  return Object.freeze(Object.fromEntries(entries.map(([name, inner]) => [name, frozenCopy(inner)])));
}

/** Bytes that WebGPU counts for workgroup variables: each is rounded up to 16. It leaves out those that are not used; this does not. */
export function workgroupBytes(declarations: Declarations): number {
  const variables = declarations.filter((piece) => typeof piece !== "string");
  return variables.reduce((sum, { element, count }) => sum + 16 * Math.ceil((ELEMENT_BYTES[element] * count) / 16), 0);
}

/** Room for `n` values in whole vectors of 4, so that the rows of values after them can be read as vec4f. */
export function paddedToVec4(n: number): number {
  return 4 * Math.ceil(n / 4);
}
