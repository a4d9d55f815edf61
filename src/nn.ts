/** `fastrpb/nn`: models and their training. */
export { attention, type AttentionLayerOptions, type LayerBiasForm, toeplitz, type ToeplitzLayerOptions } from "./nn/attention.ts";
export type { Batch, Feed } from "./nn/feed.ts";
export {
  add,
  dropout,
  embedding,
  gelu,
  layerNorm,
  linear,
  type LinearOptions,
  meanOverTokens,
  multiply,
  type NormOptions,
  relu,
  reshape,
  rmsNorm,
  tokenAt,
} from "./nn/layers.ts";
export { crossEntropy, IGNORED, type Loss, type LossOptions, meanSquaredError } from "./nn/losses.ts";
export { type Build, defineModel, type Model, type ModelOptions, type ModelOutputs } from "./nn/model.ts";
export type { GenerateOptions } from "./nn/generate.ts";
export { type LoadOptions, loadModel, type Net } from "./nn/net.ts";
export { adamW, type Optimizer, type OptimizerGroup, type OptimizerOptions, sgd } from "./nn/optimizers.ts";
export type { ModelInput, Parameter, Value } from "./nn/recorder.ts";
export {
  parseSafetensors,
  type SafetensorsDType,
  type SafetensorsFile,
  type SafetensorsTensor,
  toFloat32,
  writeSafetensors,
} from "./nn/safetensors.ts";
export { constant, inverseSquareRoot, type Schedule, warmupCosine } from "./nn/schedules.ts";
export {
  createTrainer,
  type Evaluation,
  type FitOptions,
  type FitProgress,
  type Reading,
  type StepResult,
  type Trainer,
  type TrainerOptions,
} from "./nn/trainer.ts";
export { transformer, type TransformerOptions } from "./nn/transformer.ts";
