/**
 * Weights of a Toeplitz matrix → its circulant and skew-circulant halves, both of size M ≥ N:
 *
 *   t_k = w[N − 1 − k] for |k| < N, else 0;   c_k = (t_k + t_{k−M}) / 2M,   s_k = exp(−iπk/M) (t_k − t_{k−M}) / 2M.
 *
 * t_k weighs the token k before: a causal matrix has none for k < 0.
 *
 * Their spectra diagonalise the two halves; the 1/M is that of the inverse transform, and exp(−iπk/M) turns the skew-circulant half
 * into a circulant one (Davis, Circulant Matrices, 1979).
 *
 * Layout: weights [heads, 2N − 1], or as weight-layout.ts says, → embedded [heads, 2, M] complex. One lane per (h, k), both branches.
 * Bindings: 0 weights, 1 embedded, 2 tables (roots of order 2M, scale), 3 params.
 */
import { COMPLEX, scaleFunction } from "../wgsl/complex.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { rootFunction, type RootTable, TURN_BY } from "../fft/roots.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";
import { distances, type WeightLayout, weightPlace } from "./weight-layout.ts";

export interface ToeplitzEmbedKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  /** Tokens of a head, `N`. */
  readonly length: number;
  /** Size of the two halves, `M`. */
  readonly period: number;
  /** Roots of order 2M. */
  readonly roots: RootTable;
  /** Offset of the factor 1/2M in the table. */
  readonly scaleOffset: number;
  readonly weights: WeightLayout;
  /** Weights of offsets j − i > 0 count as zero. */
  readonly causal: boolean;
}

export function toeplitzEmbedKernel(spec: ToeplitzEmbedKernelSpec): Kernel {
  const { weights } = spec;
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let h = index / M;
  let k = index % M;
  let diagonal = params.firstWeight + h * ${u32(weights.count)} + ${u32(weights.diagonal)}; // of offset j − i = 0
  var below = 0.0;
  var above = 0.0;
  if (k < ${distances(weights, "-")}) { below = weights[${weightPlace(weights, 0, "diagonal", "-", "k")}]; }
#if ${!spec.causal}
  if (M - k < ${distances(weights, "+")}) { above = weights[${weightPlace(weights, 0, "diagonal", "+", "(M - k)")}]; }
#endif
  let first = h * 2u * M + k;
  embedded[first] = scale(vec2f(below + above, 0.0));
  embedded[first + M] = turn_root(scale(vec2f(below - above, 0.0)), k);
`;
  return makeKernel({
    id: "toeplitz/embed",
    label: `toeplitz embed ${spec.causal ? "causal " : ""}${spec.length} → 2 × ${spec.period}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "weights", access: "read", element: "f32" },
      { name: "embedded", access: "read_write", element: "vec2f" },
      { name: "tables", access: "read", element: "vec2f" },
    ],
    params: ["count", "firstWeight"],
    declarations: wgsl`const N = ${u32(spec.length)};
const M = ${u32(spec.period)};
${COMPLEX}${scaleFunction(spec.scaleOffset)}${TURN_BY}${rootFunction(spec.roots)}`,
    body,
  });
}
