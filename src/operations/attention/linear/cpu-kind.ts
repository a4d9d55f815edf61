import { createProjected } from "../cpu-projection.ts";
import type { HeadKind } from "../cpu.ts";
import { type AttentionShape, isProjected } from "../spec.ts";
import { createEfficient } from "./cpu-efficient.ts";
import type { RowFeatures } from "./cpu-state.ts";
import { createLinear } from "./cpu.ts";

/** Linear attention of a head, causal or not. */
export const linearHead: HeadKind = {
  create(shape) {
    const { featureMap, features, headDim, valueDim, causal } = shape;
    if (featureMap === "softmax") return createEfficient(headDim, valueDim, causal);
    const linear = createLinear(rowFeatures(shape), features, valueDim, causal);
    return isProjected(shape) ? createProjected(shape, linear) : linear;
  },
  flops: ({ length, features, headDim, valueDim, featureMap }) =>
    4 * length * features * (valueDim + 1) + (featureMap === "favor+" ? 4 * length * headDim * features : 0),
};

/** The features of rows, projected or not. */
export function rowFeatures({ featureMap }: AttentionShape): RowFeatures {
  if (featureMap === "dpfp") return "relu";
  return featureMap === "elu+1" || featureMap === "relu" ? featureMap : "exponential";
}
