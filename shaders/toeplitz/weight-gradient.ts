/**
 * From correlations to the gradient of weights: the real part at offset o, which is taken modulo the period of each axis,
 *
 *   out[h, o_y + H − 1, o_x + W − 1] = Re r[h, o_y mod M_y, o_x mod M_x],
 *
 * or 0 for o_x > 0 of a causal matrix. Of symmetric weights it is the sum over both signs of each offset, out[h, |o_y|, |o_x|]; of weights for more
 * positions (`reach`) than there are, those of larger offsets have 0. A sequence is a grid of one row. With `factors` (of a multiplicative bias) it is
 * multiplied by the exponential of the weight (toeplitz/exponentials.ts), and added to what `out` holds: the part of rows that went through no transform.
 *
 * Layout: correlations [heads, M_y, M_x] complex, kept [heads, …], out [heads, 2H − 1, 2W − 1], or of the reach, or [heads, H, W], the heads
 * of the dispatch from minus the `…Base` on. One lane per weight.
 * Bindings: 0 correlations, 1 out, 2 kept for factors; then params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import type { ToeplitzAxis } from "./branches.ts";
import { EXPONENTIAL } from "../wgsl/exponential.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";
import { KEPT } from "./exponentials.ts";

/** An axis, and positions that there are weights for, at least its size. */
export type GradientAxis = Omit<ToeplitzAxis, "roots"> & { readonly reach: number };

export interface ToeplitzWeightGradientKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  readonly y: GradientAxis;
  readonly x: GradientAxis;
  /** Weights of offsets above 0 have no gradient. */
  readonly causal: boolean;
  /** One weight for both signs of an offset along an axis. */
  readonly symmetric: boolean;
  /** Of cross-attention, positions of queries and of keys along x: there are weights for the offsets between these only. */
  readonly between?: readonly [queries: number, keys: number] | undefined;
  /** Multiply by the exponentials of the weights, for a multiplicative bias, and add. */
  readonly factors: boolean;
}

export function toeplitzWeightGradientKernel(spec: ToeplitzWeightGradientKernelSpec): Kernel {
  const { lanes, y, x, causal, symmetric, between, factors } = spec;
  // From −(before − 1) to after − 1.
  const offsetsOf = (axis: GradientAxis, size: number) => (between && axis === x ? between : ([size, size] as const));
  const countOf = (axis: GradientAxis, size: number) => offsetsOf(axis, size)[0] + offsetsOf(axis, size)[1] - 1;
  const weights = (axis: GradientAxis) => u32(symmetric ? axis.reach : countOf(axis, axis.reach));
  // The weight of the smallest offset has n = 0; those before it become too large for a size.
  const place = ({ size, reach }: GradientAxis, n: string) => (reach === size || symmetric ? n : `${n} - ${u32(reach - size)}`);
  const offsets = (axis: GradientAxis) => u32(symmetric ? axis.size : countOf(axis, axis.size));
  // n mod M of the offset n − (size − 1), without negative numbers.
  const modulo = (axis: GradientAxis, n: string) => `(${n} + ${u32(axis.period - offsetsOf(axis, axis.size)[0] + 1)}) % ${u32(axis.period)}`;
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let n_x = ${place(x, `index % ${weights(x)}`)};
  let n_y = ${place(y, `index / ${weights(x)} % ${weights(y)}`)};
  let h = index / (${weights(x)} * ${weights(y)});
  var result = 0.0;
  if (n_y < ${offsets(y)} && n_x < ${causal ? u32(x.size) : offsets(x)}) {
#if ${symmetric}
    let before_x = (${u32(x.period)} - n_x) % ${u32(x.period)};
    let before_y = (${u32(y.period)} - n_y) % ${u32(y.period)};
    ${between ? `if (n_x < ${u32(between[0])}) { ` : ""}result = correlation(h, before_y, before_x);${between ? " }" : ""}
#if ${!causal}
    if (n_x > 0u${between ? ` && n_x < ${u32(between[1])}` : ""}) { result += correlation(h, before_y, n_x); }
    if (n_y > 0u) {
      result += correlation(h, n_y, before_x);
      if (n_x > 0u) { result += correlation(h, n_y, n_x); }
    }
#endif
#else
    result = correlation(h, ${modulo(y, "n_y")}, ${modulo(x, "n_x")});
#endif
#if ${factors}
    let record = h * (${u32(KEPT.weights)} + ${weights(x)} * ${weights(y)}) - params.keptBase;
    result *= exponential(kept[record + ${u32(KEPT.weights)} + index % (${weights(x)} * ${weights(y)})] - kept[record + ${u32(KEPT.largest)}]);
#endif
  }
#if ${factors}
  out[index - params.outBase] += result;
#else
  out[index - params.outBase] = result;
#endif
`;
  return makeKernel({
    id: "toeplitz/weight-gradient",
    label: `toeplitz weight gradient ${causal ? "causal " : ""}${y.size}×${x.size}`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "correlations", access: "read", element: "vec2f" },
      { name: "out", access: "read_write", element: "f32" },
      ...(factors ? [{ name: "kept", access: "read", element: "f32" } as const] : []),
    ],
    params: ["count", "correlationsBase", "outBase", ...(factors ? ["keptBase"] : [])],
    declarations: wgsl`${factors ? EXPONENTIAL : ""}
fn correlation(h: u32, place_y: u32, place_x: u32) -> f32 {
  return correlations[(h * ${u32(y.period)} + place_y) * ${u32(x.period)} + place_x - params.correlationsBase].x;
}`,
    body,
  });
}
