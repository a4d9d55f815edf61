import { u32, wgsl } from "./wgsl.ts";

/** How the numbers of a tensor are stored; kernels compute in f32. */
export type Precision = "f32" | "f16";

export interface KernelBinding {
  readonly binding: number;
  /** Name of the variable in WGSL, and of the tensor or buffer in the plan. */
  readonly name: string;
  readonly access: "read" | "read_write";
  /** WGSL type of one element; loads and stores move this many bytes. Those of f16 need the device's `shader-f16`. */
  readonly element: "f32" | "vec2f" | "vec4f" | "f16" | "vec2h" | "vec4h" | "u32" | "atomic<u32>";
}

/** A compute kernel as data: everything that is needed to compile it, and nothing of a device. */
export interface Kernel {
  readonly label: string;
  readonly code: string;
  readonly workgroupSize: readonly [number, 1, 1];
  readonly bindings: readonly KernelBinding[];
  /** Names of the `u32` parameters, in the order of the uniform buffer. The first two are always {@link GROUP_PARAMS}. */
  readonly params: readonly string[];
}

/**
 * The workgroups that a dispatch does of a kernel's work: from `firstGroup` to before `endGroup`. Work that takes long is done by several
 * dispatches.
 */
export const GROUP_PARAMS = Object.freeze(["endGroup", "firstGroup"] as const);

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

/** WGSL of a stored value, as f32, vec2f or vec4f. Exact. */
export function loaded(element: KernelBinding["element"], value: string): string {
  if (element === "f16") return `f32(${value})`;
  if (element === "vec4h") return `vec4f(${value})`;
  return element === "vec2h" ? `vec2f(${value})` : value;
}

/** WGSL of an f32, vec2f or vec4f as it is stored. WGSL leaves to the device which of the two neighbours in f16 it takes. */
export function stored(element: KernelBinding["element"], value: string): string {
  if (element === "f16") return `f16(${value})`;
  if (element === "vec4h") return `vec4h(${value})`;
  return element === "vec2h" ? `vec2h(${value})` : value;
}

export interface KernelSource {
  readonly label: string;
  readonly workgroupSize: number;
  readonly bindings: readonly Omit<KernelBinding, "binding">[];
  /** Parameters besides {@link GROUP_PARAMS}. */
  readonly params: readonly string[];
  /** Functions, constants and workgroup variables. */
  readonly declarations: string;
  /** Body of `main`; sees `group` (linear workgroup index) and `lane` (index within the workgroup). */
  readonly body: string;
}

/**
 * Puts the parts of a kernel together: bindings numbered in order, the parameters last, and a `main` that folds the workgroup grid,
 * because one dimension of it holds 65535 workgroups at most.
 */
export function makeKernel(source: KernelSource): Kernel {
  const bindings = source.bindings.map((entry, binding) => Object.freeze({ binding, ...entry }));
  const params = Object.freeze([...GROUP_PARAMS, ...source.params]);
  const half = bindings.some(({ element }) => ["f16", "vec2h", "vec4h"].includes(element));
  const code = wgsl`${half ? "enable f16;\n" : ""}// ${source.label}
struct Params {
${params.map((name) => `  ${name}: u32,`).join("\n")}
}
${bindings.map((b) => `@group(0) @binding(${b.binding}) var<storage, ${b.access}> ${b.name}: array<${b.element}>;`).join("\n")}
@group(0) @binding(${bindings.length}) var<uniform> params: Params;
const LANES = ${u32(source.workgroupSize)};
${source.declarations.trim()}

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
  return Object.freeze({
    label: source.label,
    code,
    workgroupSize: Object.freeze([source.workgroupSize, 1, 1] as const),
    bindings: Object.freeze(bindings),
    params,
  });
}

/** Bytes of workgroup memory that WebGPU counts for variables of these sizes: each is rounded up to 16. */
export function workgroupBytes(...variables: readonly number[]): number {
  return variables.reduce((sum, bytes) => sum + 16 * Math.ceil(bytes / 16), 0);
}

/** Room for `n` values in whole vectors of 4, so that the rows of values after them can be read as vec4f. */
export function paddedToVec4(n: number): number {
  return 4 * Math.ceil(n / 4);
}
