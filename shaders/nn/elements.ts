/**
 * Arrays side by side, element by element: what such kernels share. One lane per element, which is four numbers where `vectors`. A dispatch covers
 * `count` elements from `first` on; the arrays are bound from about there on, all alike.
 */
import { type Kernel, type KernelBinding, makeKernel } from "../wgsl/kernel.ts";
import { wgsl } from "../wgsl/wgsl.ts";

export interface ElementsSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  /** Whether the arrays are whole vectors of four. */
  readonly vectors: boolean;
}

/** WGSL type of an element. */
export function elementOf({ vectors }: Pick<ElementsSpec, "vectors">): "f32" | "vec4f" {
  return vectors ? "vec4f" : "f32";
}

/**
 * A kernel over elements.
 *
 * @param access of the arrays, by the names of their bindings, of which `out` is one
 * @param body sees `i`, the number of the element, and `at`, where it stands in the bindings
 */
export function overElements(
  { id, label }: Pick<Kernel, "id" | "label">,
  spec: ElementsSpec,
  access: Readonly<Record<string, KernelBinding["access"]>>,
  declarations: string,
  body: string,
  params: readonly string[] = [],
): Kernel {
  return makeKernel({
    id,
    label,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: Object.entries(access).map(([name, each]) => ({ name, access: each, element: elementOf(spec) })),
    params: ["first", "count", "outBase", ...params],
    declarations,
    body: wgsl`  let local = group * LANES + lane;
  if (local >= params.count) { return; }
  let i = params.first + local;
  let at = i - params.outBase;
${body}`,
  });
}
