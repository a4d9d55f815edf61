import { attentionPropertySuite } from "./attention-properties.ts";
import { attentionSuite } from "./attention.ts";
import { biasFormSuite } from "./bias-forms.ts";
import { bytesSuite } from "./bytes.ts";
import type { Case, Suite } from "./case.ts";
import { causalAttentionSuite } from "./causal-attention.ts";
import { complexMultiplySuite } from "./complex-multiply.ts";
import { compositionSuite, reuseSuite } from "./composition.ts";
import { concurrencySuite } from "./concurrency.ts";
import { convolveSuite } from "./convolve.ts";
import { crossAttentionSuite } from "./cross-attention.ts";
import { decodeSuite } from "./decode.ts";
import { extremeNumbersSuite } from "./extreme-numbers.ts";
import { faultsSuite } from "./faults.ts";
import { fftGradientSuite } from "./fft-gradient.ts";
import { fftSuite } from "./fft.ts";
import { halfAttentionSuite } from "./half-attention.ts";
import { halfSuite } from "./half.ts";
import { keyMaskSuite } from "./key-mask.ts";
import { kernelSuite } from "./kernels.ts";
import { linearAttentionSuite } from "./linear-attention.ts";
import { layoutSuite } from "./layouts.ts";
import { lifecycleSuite, selfTestSuite } from "./lifecycle.ts";
import { nnOptimizerSuite } from "./nn-optimizers.ts";
import { nnMatmulSuite } from "./nn-matmul.ts";
import { modelSuite } from "./nn-models.ts";
import { nonFiniteSuite } from "./non-finite.ts";
import { refusalSuite } from "./refusals.ts";
import { repeatedSuite } from "./repeated.ts";
import { elementwiseSuite } from "./nn-elementwise.ts";
import { layerNormSuite } from "./nn-layer-norm.ts";
import { meanOverTokensSuite } from "./nn-mean-over-tokens.ts";
import { reductionSuite } from "./nn-reductions.ts";
import { multiplicativeAttentionSuite } from "./multiplicative-attention.ts";
import { multiplicativeExtremesSuite } from "./multiplicative-extremes.ts";
import { crossEntropySuite } from "./nn-cross-entropy.ts";
import { dropoutSuite } from "./nn-dropout.ts";
import { embeddingSuite } from "./nn-embedding.ts";
import { toeplitzGradientSuite } from "./toeplitz-gradient.ts";
import { softmaxAttentionSuite } from "./softmax-attention.ts";
import { toeplitzSuite } from "./toeplitz.ts";
import { tuningSuite } from "./tuning.ts";

export const SUITES: readonly Suite[] = [
  refusalSuite,
  lifecycleSuite,
  selfTestSuite,
  compositionSuite,
  reuseSuite,
  repeatedSuite,
  faultsSuite,
  concurrencySuite,
  nonFiniteSuite,
  tuningSuite,
  fftSuite,
  fftGradientSuite,
  halfSuite,
  complexMultiplySuite,
  convolveSuite,
  toeplitzSuite,
  toeplitzGradientSuite,
  biasFormSuite,
  kernelSuite,
  attentionSuite,
  linearAttentionSuite,
  causalAttentionSuite,
  extremeNumbersSuite,
  decodeSuite,
  multiplicativeAttentionSuite,
  multiplicativeExtremesSuite,
  attentionPropertySuite,
  softmaxAttentionSuite,
  keyMaskSuite,
  crossAttentionSuite,
  layoutSuite,
  halfAttentionSuite,
  nnOptimizerSuite,
  crossEntropySuite,
  dropoutSuite,
  embeddingSuite,
  reductionSuite,
  nnMatmulSuite,
  modelSuite,
  elementwiseSuite,
  layerNormSuite,
  meanOverTokensSuite,
  bytesSuite,
];

/** The suites in three parts that take about as long, for processes side by side: faults, which mostly wait, what else the runtime does, and kernels. */
export type Part = "faults" | "runtime" | "kernels";

export function partOf(suite: Suite): Part {
  if (suite === faultsSuite) return "faults";
  // What finds numbers that are not finite is a kernel, too.
  return suite.sample && suite !== nonFiniteSuite ? "runtime" : "kernels";
}

/** Whether Node with Dawn has a case, or its sample. */
export function runsInNode(suite: Suite, entry: Case, sample: boolean): boolean {
  return !entry.slow && entry.skip?.node === undefined && (!sample || isSampled(suite, entry));
}

export function isSampled(suite: Suite, entry: Case): boolean {
  return (suite.sample ?? false) || (entry.sample ?? false);
}
