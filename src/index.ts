export { createRuntime, type Progress, type RestoreOptions, type Runtime, type RuntimeOptions } from "./runtime/runtime.ts";
export { type BiasShape, biasFromFunction, decayBias, manhattanBias, separableBias } from "./operations/toeplitz/weights.ts";
export type {
  AttentionBackwardOptions,
  AttentionGradientInputs,
  AttentionGradients,
  AttentionInputs,
  AttentionPlan,
} from "./runtime/attention-plan.ts";
export type { ComplexMultiplyPlan } from "./runtime/complex-multiply-plan.ts";
export type { ConvolvePlan } from "./runtime/convolve-plan.ts";
export type { FftPlan } from "./runtime/fft-plan.ts";
export type { AsyncRunOptions, CheckedRunOptions, Preparation, Profile, RunOptions } from "./runtime/plan.ts";
export type { Bias, Spectrum } from "./runtime/spectrum.ts";
export type { ToeplitzBackwardOptions, ToeplitzGradientInputs, ToeplitzGradients, ToeplitzPlan } from "./runtime/toeplitz-plan.ts";
export type { SelfTestCheck, SelfTestOptions, SelfTestProgress, SelfTestReport } from "./runtime/self-test.ts";
export type { Cost, DispatchInfo, DispatchTiming, MemoryUse, RunProgress } from "./core/backend.ts";
export type { Choices } from "./core/choices.ts";
export { FastRpbError, type FastRpbErrorCode } from "./core/errors.ts";
export type { LimitName, PlannerLimits, Speed } from "./core/limits.ts";
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
} from "./operations/specs.ts";
export type { HalfArray } from "./core/half.ts";
export type { DType, Tensor } from "./core/tensor.ts";
export type { TuneOptions, TuneProgress, TuneRequest, Tuning } from "./runtime/tuning.ts";
