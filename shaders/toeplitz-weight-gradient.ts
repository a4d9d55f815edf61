/**
 * From correlations to the gradient of weights: the real part at offset o, which is taken modulo the period of each axis,
 *
 *   out[h, o_y + H − 1, o_x + W − 1] = Re r[h, o_y mod M_y, o_x mod M_x],
 *
 * or 0 for o_x > 0 of a causal matrix. A sequence is a grid of one row. With `factors` (of a multiplicative bias) it is multiplied by
 * Re f[h, −o mod M], the weight itself.
 *
 * Layout: correlations, factors [heads, M_y, M_x] complex, out [heads, 2H − 1, 2W − 1]. One lane per weight.
 * Bindings: 0 correlations, 1 out, 2 factors where there are such; then params.
 */
import { type Kernel, makeKernel } from "./kernel.ts";
import { u32, wgsl } from "./wgsl.ts";

interface Axis {
  readonly size: number;
  readonly period: number;
}

export interface ToeplitzWeightGradientKernelSpec {
  readonly lanes: number;
  readonly y: Axis;
  readonly x: Axis;
  readonly causal: boolean;
  readonly factors: boolean;
}

export function toeplitzWeightGradientKernel({ lanes, y, x, causal, factors }: ToeplitzWeightGradientKernelSpec): Kernel {
  const wide = u32(2 * x.size - 1);
  const tall = u32(2 * y.size - 1);
  // n mod M of n = offset + size − 1, without negative numbers.
  const place = (axis: Axis, n: string) => `(${n} + ${u32(axis.period - axis.size + 1)}) % ${u32(axis.period)}`;
  const opposite = (axis: Axis, n: string) => `(${u32(axis.period + axis.size - 1)} - ${n}) % ${u32(axis.period)}`;
  const at = (map: typeof place) => `(h * ${u32(y.period)} + ${map(y, "n_y")}) * ${u32(x.period)} + ${map(x, "n_x")}`;
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let n_x = index % ${wide};
  let n_y = index / ${wide} % ${tall};
  let h = index / (${wide} * ${tall});
  var result = correlations[${at(place)}].x;
#if ${factors}
  result *= factors[${at(opposite)}].x;
#endif
#if ${causal}
  if (n_x >= ${u32(x.size)}) { result = 0.0; }
#endif
  out[params.firstWeight + index] = result;
`;
  return makeKernel({
    label: `toeplitz weight gradient ${causal ? "causal " : ""}${y.size}×${x.size}`,
    workgroupSize: lanes,
    bindings: [
      { name: "correlations", access: "read", element: "vec2f" },
      { name: "out", access: "read_write", element: "f32" },
      ...(factors ? [{ name: "factors", access: "read", element: "vec2f" } as const] : []),
    ],
    params: ["count", "firstWeight"],
    declarations: "",
    body,
  });
}
