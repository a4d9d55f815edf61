export { createRuntime, type Progress, type RuntimeOptions } from "./runtime/create-runtime.ts";
export type { RestoreOptions, Runtime } from "./runtime/runtime.ts";
export { type BiasAxis, type BiasShape, biasFromFunction, decayBias, manhattanBias, separableBias } from "./operations/toeplitz/weights.ts";
export type {
  AttentionBackwardOptions,
  AttentionGradientInputs,
  AttentionGradientPlan,
  AttentionGradients,
  AttentionInputs,
  AttentionPlan,
  AttentionSideInputs,
  PackedAttentionGradients,
  PackedAttentionInputs,
  PackedAttentionPlan,
} from "./runtime/attention-plan.ts";
export type { ComplexMultiplyPlan } from "./runtime/complex-multiply-plan.ts";
export type { ConvolvePlan } from "./runtime/convolve-plan.ts";
export type { Decoder, DecoderAsyncOptions, DecoderInputs, DecoderState } from "./runtime/decoder.ts";
export type { FftPlan } from "./runtime/fft-plan.ts";
export type { GradientPlan } from "./runtime/gradient-plan.ts";
export type { AsyncRunOptions, CheckedRunOptions, Preparation, Profile, ResultTarget, RunOptions } from "./runtime/plan.ts";
export type { Bias, Spectrum } from "./runtime/spectrum.ts";
export type {
  ToeplitzBackwardOptions,
  ToeplitzGradientInputs,
  ToeplitzGradientPlan,
  ToeplitzGradients,
  ToeplitzPlan,
} from "./runtime/toeplitz-plan.ts";
export type { SelfTestCheck, SelfTestOptions, SelfTestProgress, SelfTestReport } from "./runtime/self-test.ts";
export type { Cost, DispatchInfo, DispatchTiming, MemoryUse, RunProgress } from "./core/backend.ts";
export type { Choices } from "./core/choices.ts";
export { FastRpbError, type FastRpbErrorCode } from "./core/errors.ts";
export type { LimitName, PlannerLimits, Speed } from "./core/limits.ts";
export type { AttentionLayout } from "./operations/attention/layout.ts";
export type { AttentionOptions, BiasKind, FeatureMap, RandomFeatures } from "./operations/attention/spec.ts";
export type { DecoderOptions } from "./operations/attention/decode/spec.ts";
export type { ComplexMultiplyOptions } from "./operations/complex-multiply/spec.ts";
export type { ConvolveMode, ConvolveOptions } from "./operations/convolve/spec.ts";
export type { FftKind, FftNorm, FftOptions, FftStorage } from "./operations/fft/spec.ts";
export type { BiasForm, BiasFormOptions, TokenOptions, ToeplitzOptions } from "./operations/toeplitz/spec.ts";
export type { HalfArray } from "./core/half.ts";
export type { DType, Tensor } from "./core/tensor.ts";
export type { TuneOptions, TuneProgress, TuneRequest, Tuning } from "./runtime/tuning.ts";
