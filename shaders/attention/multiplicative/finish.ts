/**
 * From numerators and denominators to the result, or to the gradient of both:
 *
 *   out_ne = total_ne / total_nE,   or   inner_ne = g_ne / δ,   inner_nE = −Σ_e g_ne total_ne / δ², δ = total_nE.
 *
 * Both are zero where no key that a query sees shares a feature with it (attention/multiplicative/first-feature.ts): there the total is noise. In
 * a causal sequence a query sees the keys up to its own.
 *
 * Layout: totals, inner [heads of the dispatch, N, E + 1], features (of queries) [heads of the dispatch, N, D], firsts [heads of the dispatch,
 * D], gradients, out [B·H, N, E]. One lane per row.
 * Bindings: 0 totals, 1 features, 2 firsts, 3 out (or gradients), 4 lengths where there are such; then params. `totals` becomes `inner`.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams } from "../../wgsl/lengths.ts";
import type { ChannelKernelSpec } from "./channels.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";

export interface MultiplicativeFinishKernelSpec extends ChannelKernelSpec {
  readonly causal: boolean;
  /** `"out"`: the result. `"inner"`: the gradient of numerators and denominators. */
  readonly into: "out" | "inner";
  /** Matters for gradients only: their rows beyond the length may be NaN. */
  readonly variableLengths: boolean;
}

export function multiplicativeFinishKernel(spec: MultiplicativeFinishKernelSpec): Kernel {
  const forward = spec.into === "out";
  const masked = { variableLengths: spec.variableLengths && !forward };
  const body = wgsl`  let row = group * LANES + lane; // of the dispatch
  if (row >= params.rows) { return; }
  let n = row % N;
  let head = row / N;
  let total = row * (E + 1u);
  let at = (params.firstHead * N + row) * E - params.${forward ? "outBase" : "gradientsBase"};
  var seen = false;
  for (var d = 0u; d < D; d++) {
    let first = firsts[head * D + d];
    if (features[row * D + d] > 0.0 && first ${spec.causal ? "<= n" : "< N"}) { seen = true; }
  }
  var share = 0.0;
  if (seen) { share = 1.0 / totals[total + E]; }
#if ${forward}
  for (var e = 0u; e < E; e++) { out[at + e] = totals[total + e] * share; }
#else
#if ${masked.variableLengths}
  let inside = n < length_of(params.firstHead + head);
#else
  let inside = true;
#endif
  var product = 0.0;
  for (var e = 0u; e < E; e++) {
    var g = 0.0;
    if (inside) { g = gradients[at + e]; }
    product = fma(g, totals[total + e] * share, product);
    totals[total + e] = g * share;
  }
  totals[total + E] = -product * share;
#endif
`;
  return makeKernel({
    id: "attention/multiplicative/finish",
    label: `multiplicative finish ${spec.features} × ${spec.valueDim}${forward ? "" : ", backward"}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "totals", access: forward ? "read" : "read_write", element: "f32" },
      { name: "features", access: "read", element: "f32" },
      { name: "firsts", access: "read", element: "u32" },
      forward ? { name: "out", access: "read_write", element: "f32" } : { name: "gradients", access: "read", element: "f32" },
      ...lengthBinding(masked),
    ],
    params: ["rows", "firstHead", forward ? "outBase" : "gradientsBase", ...lengthParams(masked)],
    declarations: wgsl`const N = ${u32(spec.length)};
const D = ${u32(spec.features)};
const E = ${u32(spec.valueDim)};
${lengthFunction(masked)}`,
    body,
  });
}
