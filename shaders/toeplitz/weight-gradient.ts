/**
 * From correlations to the gradient of weights: the real part at offset o, which is taken modulo the period of each axis,
 *
 *   out[h, o_y + H − 1, o_x + W − 1] = Re r[h, o_y mod M_y, o_x mod M_x],
 *
 * or 0 for o_x > 0 of a causal matrix. A sequence is a grid of one row. With `factors` (of a multiplicative bias) it is multiplied by the
 * exponential of the weight, which the products with corners hold (attention/multiplicative/corners.ts): W e_j at token i is the weight of
 * offset j − i.
 *
 * Layout: correlations [heads, M_y, M_x] complex, factors [heads, H·W, 4], out [heads, 2H − 1, 2W − 1], the heads of the
 * dispatch from minus the `…Base` on. One lane per weight.
 * Bindings: 0 correlations, 1 out, 2 factors where there are such; then params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import type { ToeplitzAxis } from "./branches.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

type Axis = Omit<ToeplitzAxis, "roots">;

export interface ToeplitzWeightGradientKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  readonly y: Axis;
  readonly x: Axis;
  /** Weights of offsets above 0 have no gradient. */
  readonly causal: boolean;
  /** Multiply by the exponentials of the weights, for a multiplicative bias. */
  readonly factors: boolean;
}

export function toeplitzWeightGradientKernel(spec: ToeplitzWeightGradientKernelSpec): Kernel {
  const { lanes, y, x, causal, factors } = spec;
  const wide = u32(2 * x.size - 1);
  const tall = u32(2 * y.size - 1);
  // n mod M of n = offset + size − 1, without negative numbers.
  const place = (axis: Axis, n: string) => `(${n} + ${u32(axis.period - axis.size + 1)}) % ${u32(axis.period)}`;
  // Offsets above 0 stand in the products with the far corner, in reverse.
  const token = (axis: Axis, n: string) => `select(${u32(axis.size - 1)}, ${u32(2 * axis.size - 2)}, ${n} >= ${u32(axis.size)}) - ${n}`;
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let n_x = index % ${wide};
  let n_y = index / ${wide} % ${tall};
  let h = index / (${wide} * ${tall});
  var result = correlations[(h * ${u32(y.period)} + ${place(y, "n_y")}) * ${u32(x.period)} + ${place(x, "n_x")} - params.correlationsBase].x;
#if ${factors}
  let corner = 2u * u32(n_y >= ${u32(y.size)}) + u32(n_x >= ${u32(x.size)});
  let n = (${token(y, "n_y")}) * ${u32(x.size)} + ${token(x, "n_x")};
  result *= factors[(h * ${u32(y.size * x.size)} + n) * 4u + corner - params.factorsBase];
#endif
#if ${causal}
  if (n_x >= ${u32(x.size)}) { result = 0.0; }
#endif
  out[index - params.outBase] = result;
`;
  return makeKernel({
    id: "toeplitz/weight-gradient",
    label: `toeplitz weight gradient ${causal ? "causal " : ""}${y.size}×${x.size}`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "correlations", access: "read", element: "vec2f" },
      { name: "out", access: "read_write", element: "f32" },
      ...(factors ? [{ name: "factors", access: "read", element: "f32" } as const] : []),
    ],
    params: ["count", "correlationsBase", "outBase", ...(factors ? ["factorsBase"] : [])],
    declarations: "",
    body,
  });
}
