export { createRuntime, type Progress, type RestoreOptions, type Runtime, type RuntimeOptions } from "./runtime.ts";
export { type BiasShape, biasFromFunction, decayBias, manhattanBias, separableBias } from "./bias.ts";
export type { AttentionBackwardOptions, AttentionGradientInputs, AttentionGradients, AttentionInputs, AttentionPlan } from "./plans/attention.ts";
export type { ComplexMultiplyPlan } from "./plans/complex-multiply.ts";
export type { ConvolvePlan } from "./plans/convolve.ts";
export type { FftPlan } from "./plans/fft.ts";
export type { AsyncRunOptions, CheckedRunOptions, Preparation, Profile, RunOptions } from "./plans/plan.ts";
export type { Bias, Spectrum } from "./plans/spectrum.ts";
export type { ToeplitzBackwardOptions, ToeplitzGradientInputs, ToeplitzGradients, ToeplitzPlan } from "./plans/toeplitz.ts";
export type { SelfTestCheck, SelfTestOptions, SelfTestProgress, SelfTestReport } from "./self-test.ts";
export type { Cost, DispatchInfo, DispatchTiming, MemoryUse, RunProgress } from "./spec/backend.ts";
export type { Choices } from "./spec/choices.ts";
export { FastRpbError, type FastRpbErrorCode } from "./spec/errors.ts";
export type { LimitName, PlannerLimits, Speed } from "./spec/limits.ts";
export type {
  AttentionOptions,
  BiasKind,
  ComplexMultiplyOptions,
  ConvolveMode,
  ConvolveOptions,
  FeatureMap,
  FftKind,
  FftNorm,
  FftOptions,
  FftStorage,
  RandomFeatures,
  ToeplitzOptions,
} from "./spec/operations.ts";
export type { HalfArray } from "./spec/half.ts";
export type { DType, Tensor } from "./spec/tensor.ts";
export type { TuneOptions, TuneProgress, TuneRequest, Tuning } from "./tuning.ts";
