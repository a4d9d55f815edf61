/**
 * Sums over features of channels (attention/multiplicative/expand.ts) times features: out[h, n, e] (+)= Σ_d φ_nd y[h, n, (d, e)], for e < columns.
 *
 * Layout: features [heads of the dispatch, N, D], channels [heads of the dispatch, N, channels]
 * (attention/multiplicative/channels.ts) of the features first … first + F, out rows of `columns` numbers. One lane per number.
 * Bindings: 0 features, 1 channels, 2 out, 3 params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import type { ChannelKernelSpec } from "./channels.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";

export interface MultiplicativeContractKernelSpec extends Omit<ChannelKernelSpec, "length"> {
  /** Numbers of a row of the output: E + 1, or E to leave the last out. */
  readonly columns: number;
  /** Add to what `out` holds instead of overwriting it. */
  readonly accumulate: boolean;
}

export function multiplicativeContractKernel(spec: MultiplicativeContractKernelSpec): Kernel {
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let row = index / COLUMNS; // of the dispatch
  let e = index % COLUMNS;
  let plain = e == E;
  let first = row * params.channels + select(e, params.firstPlain, plain);
  let stride = select(E, 1u, plain);
  var sum = 0.0;
  for (var d = 0u; d < params.features; d++) {
    sum = fma(features[row * D + params.firstFeature + d], channels[first + d * stride], sum);
  }
#if ${spec.accumulate}
  out[params.firstRow * COLUMNS + index - params.outBase] += sum;
#else
  out[params.firstRow * COLUMNS + index - params.outBase] = sum;
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
    ],
    params: ["count", "features", "channels", "firstPlain", "firstFeature", "firstRow", "outBase"],
    declarations: wgsl`const D = ${u32(spec.features)};
const E = ${u32(spec.valueDim)};
const COLUMNS = ${u32(spec.columns)};
`,
    body,
  });
}
