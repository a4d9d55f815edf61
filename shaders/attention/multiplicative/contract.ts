/**
 * Sums over features of channels (attention/multiplicative/expand.ts) times features: out[h, n, e] (+)= Σ_d φ_nd y[h, n, (d, e)], for e < columns,
 * with the tolerances of the features (attention/multiplicative/tolerances.ts) for e = E + 1: the largest of each and of those beside it, because channels
 * of neighbours may be pairs, of which rounding mixes the two.
 *
 * Layout: features [heads of the dispatch, N, D], channels [heads of the dispatch, N, channels]
 * (attention/multiplicative/channels.ts) of the features first … first + F, tolerances [heads of the dispatch, D], out rows of `stride` numbers. One
 * lane per number.
 * Bindings: 0 features, 1 channels, 2 out, 3 tolerances where columns are E + 2; then params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import type { ChannelKernelSpec } from "./channels.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";

export interface MultiplicativeContractKernelSpec extends ChannelKernelSpec {
  /** Numbers of a row of the output that are made: E + 2, or E to leave out the denominator and its bound. */
  readonly columns: number;
  /** Numbers of a row of the output. */
  readonly stride: number;
  /** Add to what `out` holds instead of overwriting it. */
  readonly accumulate: boolean;
}

export function multiplicativeContractKernel(spec: MultiplicativeContractKernelSpec): Kernel {
  const bounded = spec.columns > spec.valueDim;
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let row = index / COLUMNS; // of the dispatch
  let e = index % COLUMNS;
  let plain = e == E;
  let first = row * params.channels + select(e, params.firstPlain, plain);
  let stride = select(E, 1u, plain);
  var sum = 0.0;
#if ${bounded}
  if (e > E) {
    let last = params.features - 1u;
    let tolerance = row / N * D + params.firstFeature;
    for (var d = 0u; d <= last; d++) {
      let beside = max(tolerances[tolerance + max(d, 1u) - 1u], tolerances[tolerance + min(d + 1u, last)]);
      sum = fma(features[row * D + params.firstFeature + d], max(tolerances[tolerance + d], beside), sum);
    }
  } else {
#endif
  for (var d = 0u; d < params.features; d++) {
    sum = fma(features[row * D + params.firstFeature + d], channels[first + d * stride], sum);
  }
#if ${bounded}
  }
#endif
  let at = (params.firstRow + row) * STRIDE + e - params.outBase;
#if ${spec.accumulate}
  out[at] += sum;
#else
  out[at] = sum;
#endif
`;
  return makeKernel({
    id: "attention/multiplicative/contract",
    label: `multiplicative contract ${spec.features} × ${spec.columns}${spec.accumulate ? ", adding" : ""}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "features", access: "read", element: "f32" },
      { name: "channels", access: "read", element: "f32" },
      { name: "out", access: "read_write", element: "f32" },
      ...(bounded ? [{ name: "tolerances", access: "read", element: "f32" } as const] : []),
    ],
    params: ["count", "features", "channels", "firstPlain", "firstFeature", "firstRow", "outBase"],
    declarations: wgsl`const N = ${u32(spec.length)};
const D = ${u32(spec.features)};
const E = ${u32(spec.valueDim)};
const COLUMNS = ${u32(spec.columns)};
const STRIDE = ${u32(spec.stride)};
`,
    body,
  });
}
