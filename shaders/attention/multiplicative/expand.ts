/**
 * Products of features and values, as channels of a sequence (Luo et al. 2021): out[h, n, (d, e)] = φ_nd v_ne, with v_nE = 1, so that a sum
 * over positions with e = E makes the denominator. Where the channel (d, e) lies, attention/multiplicative/channels.ts says.
 *
 * Layout: features [heads of the dispatch, N, D]; values [B·H, N, E], or `wide` the totals [heads of the dispatch, N, totals]
 * (attention/multiplicative/channels.ts); out [heads of the
 * dispatch, N, channels], of the features from `first` on. One lane per number; rows from a length on have no features.
 * Bindings: 0 features, 1 values, 2 out, 3 lengths where there are such and values are not wide; then params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams } from "../../wgsl/lengths.ts";
import { type ChannelKernelSpec, totalsWidth } from "./channels.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";

export interface MultiplicativeExpandKernelSpec extends ChannelKernelSpec {
  /** The values are totals, with a number for e = E, of the heads of the dispatch. */
  readonly wide: boolean;
  readonly variableLengths: boolean;
}

export function multiplicativeExpandKernel(spec: MultiplicativeExpandKernelSpec): Kernel {
  const masked = { variableLengths: spec.variableLengths && !spec.wide };
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let c = index % params.channels;
  let row = index / params.channels; // of the dispatch
  let plain = c >= params.firstPlain;
  let d = select(c / E, c - params.firstPlain, plain);
  if (d >= params.channels - params.firstPlain) { // padding
    out[index] = 0.0;
    return;
  }
  let e = select(c % E, E, plain);
  let feature = features[row * D + params.firstFeature + d];
#if ${spec.wide}
  out[index] = feature * values[row * ${u32(totalsWidth(spec.valueDim))} + e];
#else
  var value = 1.0;
  if (!plain) {
#if ${masked.variableLengths}
    value = 0.0; // what lies beyond a length may be NaN
    if (row % N < length_of(params.firstHead + row / N)) { value = values[(params.firstHead * N + row) * E + e - params.valuesBase]; }
#else
    value = values[(params.firstHead * N + row) * E + e - params.valuesBase];
#endif
  }
  out[index] = feature * value;
#endif
`;
  return makeKernel({
    id: "attention/multiplicative/expand",
    label: `multiplicative expand ${spec.features} × ${spec.wide ? "gradients" : "values"} ${spec.valueDim}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "features", access: "read", element: "f32" },
      { name: "values", access: "read", element: "f32" },
      { name: "out", access: "read_write", element: "f32" },
      ...lengthBinding(masked),
    ],
    params: ["count", "channels", "firstPlain", "firstFeature", "firstHead", "valuesBase", ...lengthParams(masked)],
    declarations: wgsl`const N = ${u32(spec.length)};
const D = ${u32(spec.features)};
const E = ${u32(spec.valueDim)};
${lengthFunction(masked)}`,
    body,
  });
}
