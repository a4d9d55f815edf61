/**
 * Pairs of real channels as complex sequences of their own: of the pairs first … first + count of each head,
 *
 *   packed[h, n, c] = (rows[h, n, 2·pair], rows[h, n, 2·pair + 1]), pair = first + c, or zero from the length of the sequence on.
 *
 * Layout: values [B·H, N, channels] → packed [heads of the dispatch, N, pairs] complex. One lane per number.
 * Bindings: 0 values, 1 packed, 2 lengths where there are such; then params.
 */
import { type ChannelRows, loadPair, pairElement } from "./channel-pairs.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams, tokensOf } from "../wgsl/lengths.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface ToeplitzPackKernelSpec extends ChannelRows {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  /** Tokens of a head, `N`. */
  readonly length: number;
  readonly variableLengths: boolean;
}

export function toeplitzPackKernel(spec: ToeplitzPackKernelSpec): Kernel {
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let n = index / params.pairs % N;
  let bh = params.firstHead + index / params.pairs / N;
  var value = vec2f();
  if (n < ${tokensOf(spec)}) { value = load_pair(bh * N + n, params.firstPair + index % params.pairs); }
  packed[index] = value;
`;
  return makeKernel({
    id: "toeplitz/pack",
    label: `toeplitz pack ${spec.length} × ${spec.channels}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "values", access: "read", element: pairElement(spec, "values") },
      { name: "packed", access: "read_write", element: "vec2f" },
      ...lengthBinding(spec),
    ],
    params: ["count", "pairs", "firstPair", "firstHead", "valuesBase", ...lengthParams(spec)],
    declarations: wgsl`const N = ${u32(spec.length)};
${lengthFunction(spec)}${loadPair(spec)}`,
    body,
  });
}
