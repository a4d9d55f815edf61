/**
 * What a share of a denominator must exceed to be more than the rounding of transforms, for every feature d of the keys:
 *
 *   out[h, d] = MARGIN/√N · min(‖E‖₁ ‖φ_d‖₂, ‖E‖₂ ‖φ_d‖₁),   E the exponentials of the bias, φ_d = (φ(k_jd))_j.
 *
 * The error of a sum Σ_j E_{j−i} φ_jd over all rows i, by FFT, has a norm of some u·‖E‖₂‖φ_d‖₂ from its factors and u·‖E * φ_d‖₂ of its own, which both
 * are at most that minimum times u (Young's inequality). Where δ_i > Σ_d φ(q_id) out[h, d] for all rows, the relative errors of the denominators have
 * therefore a root mean square of some u/MARGIN, whatever the weights and features are; so have those of numerators, relative to values of one size.
 * The other rows are summed directly (attention/multiplicative/finish.ts). Where the bound itself is zero, nothing is seen.
 *
 * Layout: features [heads of the dispatch, N, D], kept [heads, …] (toeplitz/exponentials.ts), out [heads of the dispatch, D]. A workgroup does
 * one (head, d).
 * Bindings: 0 features, 1 kept, 2 out, 3 params.
 */
import { KEPT } from "../../toeplitz/exponentials.ts";
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { LARGEST_OF_LANES, partials, SUM_LANES } from "../../wgsl/lanes.ts";
import { f32, u32, wgsl } from "../../wgsl/wgsl.ts";

/** How far a denominator must be above the rounding of its row. */
const MARGIN = 1 / 32;

export interface TolerancesKernelSpec {
  /** Lanes of a workgroup, a power of two. */
  readonly lanes: number;
  /** Rows of a sequence, `N`. */
  readonly length: number;
  /** Features of a row, `D`. */
  readonly features: number;
  /** Weights of a head. */
  readonly weights: number;
}

export function tolerancesKernel(spec: TolerancesKernelSpec): Kernel {
  const { lanes, length, features, weights } = spec;
  const body = wgsl`  let d = group % D;
  let first = group / D * N;
  var most = 0.0;
  for (var n = lane; n < N; n += LANES) { most = max(most, features[(first + n) * D + d]); }
  partials[lane] = most;
${LARGEST_OF_LANES}
  most = partials[0];
  workgroupBarrier();
  // Relative to the largest, so that squares stay in range.
  var sum = 0.0;
  var squares = 0.0;
  for (var n = lane; n < N && most > 0.0; n += LANES) {
    let feature = features[(first + n) * D + d] / most;
    sum += feature;
    squares = fma(feature, feature, squares);
  }
  partials[lane] = sum;
${SUM_LANES}
  sum = partials[0];
  workgroupBarrier();
  partials[lane] = squares;
${SUM_LANES}
  if (lane == 0u) {
    let record = (params.firstHead + group / D) % params.heads * ${u32(KEPT.weights + weights)} - params.keptBase;
    out[group] = ${f32(MARGIN / Math.sqrt(length))} * most * min(kept[record + ${u32(KEPT.sum)}] * sqrt(partials[0]), kept[record + ${u32(KEPT.norm)}] * sum);
  }
`;
  return makeKernel({
    id: "attention/multiplicative/tolerances",
    label: `tolerances of ${features} features, ${length} rows`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "features", access: "read", element: "f32" },
      { name: "kept", access: "read", element: "f32" },
      { name: "out", access: "read_write", element: "f32" },
    ],
    params: ["firstHead", "heads", "keptBase"],
    declarations: [
      wgsl`const N = ${u32(length)};
const D = ${u32(features)};`,
      partials("f32", lanes),
    ],
    body,
  });
}
