/**
 * From correlations to the gradient of weights: the real part at offset o, which is taken modulo the period of each axis,
 *
 *   out[h, o_y + H − 1, o_x + W − 1] = Re r[h, o_y mod M_y, o_x mod M_x],
 *
 * or 0 for o_x > 0 of a causal matrix. A sequence is a grid of one row. With `factors` (of a multiplicative bias) it is multiplied by the
 * exponential of the weight (toeplitz/exponentials.ts), and added to what `out` holds: the part of rows that went through no transform.
 *
 * Layout: correlations [heads, M_y, M_x] complex, kept [heads, …], out [heads, 2H − 1, 2W − 1], the heads of the
 * dispatch from minus the `…Base` on. One lane per weight.
 * Bindings: 0 correlations, 1 out, 2 kept for factors; then params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import type { ToeplitzAxis } from "./branches.ts";
import { EXPONENTIAL } from "../wgsl/exponential.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";
import { KEPT } from "./exponentials.ts";

type Axis = Omit<ToeplitzAxis, "roots">;

export interface ToeplitzWeightGradientKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  readonly y: Axis;
  readonly x: Axis;
  /** Weights of offsets above 0 have no gradient. */
  readonly causal: boolean;
  /** Multiply by the exponentials of the weights, for a multiplicative bias, and add. */
  readonly factors: boolean;
}

export function toeplitzWeightGradientKernel(spec: ToeplitzWeightGradientKernelSpec): Kernel {
  const { lanes, y, x, causal, factors } = spec;
  const wide = u32(2 * x.size - 1);
  const tall = u32(2 * y.size - 1);
  // n mod M of n = offset + size − 1, without negative numbers.
  const place = (axis: Axis, n: string) => `(${n} + ${u32(axis.period - axis.size + 1)}) % ${u32(axis.period)}`;
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let n_x = index % ${wide};
  let n_y = index / ${wide} % ${tall};
  let h = index / (${wide} * ${tall});
  var result = correlations[(h * ${u32(y.period)} + ${place(y, "n_y")}) * ${u32(x.period)} + ${place(x, "n_x")} - params.correlationsBase].x;
#if ${factors}
  let record = h * (${u32(KEPT.weights)} + ${wide} * ${tall}) - params.keptBase;
  result *= exponential(kept[record + ${u32(KEPT.weights)} + index % (${wide} * ${tall})] - kept[record + ${u32(KEPT.largest)}]);
#endif
#if ${causal}
  if (n_x >= ${u32(x.size)}) { result = 0.0; }
#endif
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
    declarations: factors ? EXPONENTIAL : "",
    body,
  });
}
