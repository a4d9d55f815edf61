/**
 * The gradient of a mean over tokens: dX[b, n, c] = dOut[b, c] / (number of tokens of b) for tokens that count, 0 for those beyond.
 *
 * Layout: dOut [batch, width], dX [batch, N, width]; one lane per element of dX, which is four numbers where `vectors`. A dispatch covers `count`
 * elements from `first` on. Bindings: 0 dOut, 1 dX, 2 lengths where there are such; then params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams, tokensOf } from "../wgsl/lengths.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";
import { elementOf, type ElementsSpec } from "./elements.ts";

export interface MeanOverTokensGradientKernelSpec extends ElementsSpec {
  /** N: tokens of a sequence, at most. */
  readonly length: number;
  readonly variableLengths: boolean;
}

export function meanOverTokensGradientKernel(spec: MeanOverTokensGradientKernelSpec): Kernel {
  const element = elementOf(spec);
  const body = wgsl`  let local = group * LANES + lane;
  if (local >= params.count) { return; }
  let i = params.first + local;
  let token = i / params.columns;
  let b = token / N;
  let tokens = ${tokensOf(spec, "b")};
  let share = select(0.0, 1.0, token % N < tokens) / f32(max(tokens, 1u));
  dX[i - params.dXBase] = share * dOut[b * params.columns + i % params.columns];
`;
  return makeKernel({
    id: "nn/mean-over-tokens-gradient",
    label: "mean over tokens gradient",
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [{ name: "dOut", access: "read", element }, { name: "dX", access: "read_write", element }, ...lengthBinding(spec)],
    params: ["first", "count", "columns", "dXBase", ...lengthParams(spec)],
    declarations: `const N = ${u32(spec.length)};${lengthFunction(spec)}`,
    body,
  });
}
