import { u32, wgsl } from "./wgsl.ts";

export interface KernelBinding {
  readonly binding: number;
  /** Name of the variable in WGSL, and of the tensor or buffer in the plan. */
  readonly name: string;
  readonly access: "read" | "read_write";
  /** WGSL type of one element; loads and stores move this many bytes. */
  readonly element: "f32" | "vec2f" | "vec4f";
}

/** A compute kernel as data: everything that is needed to compile it, and nothing of a device. */
export interface Kernel {
  readonly label: string;
  readonly code: string;
  readonly workgroupSize: readonly [number, 1, 1];
  readonly bindings: readonly KernelBinding[];
  /** Names of the `u32` parameters, in the order of the uniform buffer. The first is always `groups`. */
  readonly params: readonly string[];
}

export const ELEMENT_BYTES: Readonly<Record<KernelBinding["element"], number>> = Object.freeze({ f32: 4, vec2f: 8, vec4f: 16 });

export interface KernelSource {
  readonly label: string;
  readonly workgroupSize: number;
  readonly bindings: readonly Omit<KernelBinding, "binding">[];
  /** Parameters besides `groups`. */
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
  const params = Object.freeze(["groups", ...source.params]);
  const code = wgsl`// ${source.label}
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
  let group = (workgroup_id.z * grid.y + workgroup_id.y) * grid.x + workgroup_id.x;
  if (group >= params.groups) { return; }
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
