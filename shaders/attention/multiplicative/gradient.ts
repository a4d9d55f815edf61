/**
 * Gradient of rows from that of their channels (attention/multiplicative/expand.ts): out_nd = φ′(x_nd) Σ_e y[n, (d, e)] w_ne, with w_nE = 1 where
 * values are not wide, for the features first … first + F of every row.
 *
 * Layout: features, out [heads of the dispatch, N, D] (out may be [B·H, N, D]), channels [heads of the dispatch, N, channels]
 * (attention/multiplicative/channels.ts), values as in attention/multiplicative/expand.ts. One lane per (row, feature of the dispatch).
 * Bindings: 0 features, 1 channels, 2 values, 3 out, 4 lengths where there are such and values are not wide; then params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import type { KernelFeatureMap } from "../feature-map.ts";
import { lengthBinding, lengthFunction, lengthParams } from "../../wgsl/lengths.ts";
import { type ChannelKernelSpec, totalsWidth } from "./channels.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";

export interface MultiplicativeGradientKernelSpec extends ChannelKernelSpec {
  readonly featureMap: KernelFeatureMap;
  /** The values are totals, with a number for e = E, of the heads of the dispatch. */
  readonly wide: boolean;
  readonly variableLengths: boolean;
}

export function multiplicativeGradientKernel(spec: MultiplicativeGradientKernelSpec): Kernel {
  const masked = { variableLengths: spec.variableLengths && !spec.wide };
  const slope = { sikf: "feature", "elu+1": "min(feature, 1.0)", relu: "select(0.0, 1.0, feature > 0.0)" }[spec.featureMap];
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let row = index / params.features; // of the dispatch
  let d = index % params.features;
  let channel = row * params.channels + d * E;
  let plain = row * params.channels + params.firstPlain + d;
  var sum = 0.0;
#if ${spec.wide}
  sum = channels[plain] * values[row * ${u32(totalsWidth(spec.valueDim))} + E];
  for (var e = 0u; e < E; e++) { sum = fma(channels[channel + e], values[row * ${u32(totalsWidth(spec.valueDim))} + e], sum); }
#else
#if ${masked.variableLengths}
  let inside = row % N < length_of(params.firstHead + row / N);
#else
  let inside = true;
#endif
  if (inside) {
    sum = channels[plain];
    let value = (params.firstHead * N + row) * E - params.valuesBase;
    for (var e = 0u; e < E; e++) { sum = fma(channels[channel + e], values[value + e], sum); }
  }
#endif
  let feature = features[row * D + params.firstFeature + d];
  out[(params.firstHead * N + row) * D + params.firstFeature + d - params.outBase] = ${slope} * sum;
`;
  return makeKernel({
    id: "attention/multiplicative/gradient",
    label: `multiplicative gradient ${spec.featureMap} ${spec.features} × ${spec.wide ? "gradients" : "values"} ${spec.valueDim}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "features", access: "read", element: "f32" },
      { name: "channels", access: "read", element: "f32" },
      { name: "values", access: "read", element: "f32" },
      { name: "out", access: "read_write", element: "f32" },
      ...lengthBinding(masked),
    ],
    params: ["count", "features", "channels", "firstPlain", "firstFeature", "firstHead", "valuesBase", "outBase", ...lengthParams(masked)],
    declarations: wgsl`const N = ${u32(spec.length)};
const D = ${u32(spec.features)};
const E = ${u32(spec.valueDim)};
${lengthFunction(masked)}`,
    body,
  });
}
