export { createRuntime, type Progress, type Runtime, type RuntimeOptions } from "./runtime.ts";
export type {
  AttentionInputs,
  AttentionPlan,
  Bias,
  ComplexMultiplyPlan,
  FftPlan,
  Preparation,
  Profile,
  RunOptions,
  Spectrum,
  ToeplitzPlan,
} from "./plans.ts";
export type { SelfTestCheck, SelfTestReport } from "./self-test.ts";
export type { Cost, DispatchInfo, DispatchTiming, MemoryUse } from "./spec/backend.ts";
export { FastRpbError, type FastRpbErrorCode } from "./spec/errors.ts";
export type { LimitName, PlannerLimits } from "./spec/limits.ts";
export type { AttentionOptions, ComplexMultiplyOptions, FeatureMap, FftOptions, ToeplitzOptions } from "./spec/operations.ts";
export type { DType, Tensor } from "./spec/tensor.ts";
