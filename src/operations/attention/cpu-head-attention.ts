import type { AttentionShape } from "../specs.ts";
import { createEfficient } from "./linear/cpu-efficient.ts";
import type { HeadAttention } from "./cpu-head.ts";
import { createLinear } from "./linear/cpu.ts";
import { createMultiplicative, type Multiplier } from "./multiplicative/cpu.ts";
import { createRandom } from "./cpu-random-features.ts";
import { createSoftmax } from "./softmax/cpu.ts";
import type { RowFeatures } from "./linear/cpu-state.ts";

/** Attention of one head as the shape says, but for an additive bias. */
export function createHeadAttention(shape: AttentionShape, multiplier: Multiplier | undefined): HeadAttention {
  const { kind, featureMap, features, headDim, valueDim, causal, scale } = shape;
  if (kind === "softmax") return createSoftmax(headDim, valueDim, causal, scale);
  if (featureMap === "softmax") return createEfficient(headDim, valueDim, causal);
  const map: RowFeatures = featureMap === "elu+1" || featureMap === "relu" ? featureMap : "exponential";
  const linear = multiplier ? createMultiplicative(map, features, valueDim, causal, multiplier) : createLinear(map, features, valueDim, causal);
  return featureMap === "favor+" ? createRandom(headDim, shape, linear) : linear;
}

/** Of one head, roughly: an exponential counts as one. */
export function headFlops({ kind, length, features, headDim, valueDim, featureMap, causal }: AttentionShape): number {
  if (kind === "softmax") return (2 * length * length * (headDim + valueDim)) / (causal ? 2 : 1);
  return 4 * length * features * (valueDim + 1) + (featureMap === "favor+" ? 4 * length * headDim * features : 0);
}
