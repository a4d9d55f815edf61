/**
 * The spectrum of a sum of correlations: for every head h of a batch entry, over the batch and pairs of channels,
 *
 *   sum[h, k] (+)= Σ_b Σ_c conj(G[b, h, k, c]) V[b, h, k, c],
 *
 * of which the transform back is Σ_i conj(g_i) v_{i+n}: its real part is the sum over both channels of each pair.
 *
 * Layout: gradients, values [heads of the group, points, pairs] complex, sum [swept heads, points] complex, from −`sumBase` on. One lane
 * per (h, k), with h from `firstSwept` on; the heads of the group are `firstHead` … in [B, H], and each lane adds those that are its own, in order.
 * Bindings: gradients unless the values are products, values, sum, params.
 */
import { COMPLEX } from "../wgsl/complex.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface ToeplitzCorrelateKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  /** Points of the spectrum of a head. */
  readonly points: number;
  /** Add to what `sum` holds instead of overwriting it. */
  readonly accumulate: boolean;
  /** The values are sums of such products already, of parts that stand as batch entries of one pair. */
  readonly multiplied: boolean;
}

export function toeplitzCorrelateKernel(spec: ToeplitzCorrelateKernelSpec): Kernel {
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.swept * POINTS) { return; }
  let k = index % POINTS;
  let h = params.firstSwept + index / POINTS;
  let at_sum = index - params.sumBase;
  var total = vec2f(${spec.accumulate ? "sum[at_sum]" : ""});
  // The first head of the group that stands at h in its batch entry.
  let skipped = (h + params.heads - params.firstHead % params.heads) % params.heads;
  for (var local = skipped; local < params.count; local += params.heads) {
    let first = (local * POINTS + k) * params.pairs;
    var part = vec2f();
    for (var at = first; at < first + params.pairs; at++) {
#if ${spec.multiplied}
      part += values[at];
#else
      let g = gradients[at];
      part += complex_multiply(vec2f(g.x, -g.y), values[at]);
#endif
    }
    total += part;
  }
  sum[at_sum] = total;
`;
  return makeKernel({
    id: "toeplitz/correlate",
    label: `toeplitz correlate ${spec.points} points${spec.accumulate ? ", adding" : ""}${spec.multiplied ? ", parts" : ""}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      ...(spec.multiplied ? [] : [{ name: "gradients", access: "read", element: "vec2f" } as const]),
      { name: "values", access: "read", element: "vec2f" },
      { name: "sum", access: "read_write", element: "vec2f" },
    ],
    params: ["count", "pairs", "firstHead", "heads", "swept", "firstSwept", "sumBase"],
    declarations: wgsl`const POINTS = ${u32(spec.points)};
${COMPLEX}`,
    body,
  });
}
