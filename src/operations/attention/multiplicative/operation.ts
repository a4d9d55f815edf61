import type { HeadKind } from "../cpu.ts";
import { createRandom } from "../cpu-random-features.ts";
import { linearHead, rowFeatures } from "../linear/operation.ts";
import { attentionOperation } from "../operation.ts";
import { createMultiplicative } from "./cpu.ts";
import { planMultiplicativeGradient } from "./gradient.ts";
import { planMultiplicativeAttention } from "./plan.ts";

/** Attention of a head. */
export const multiplicativeHead: HeadKind = {
  create(shape, multiplier) {
    const { featureMap, features, headDim, valueDim, causal } = shape;
    const linear = createMultiplicative(rowFeatures(shape), features, valueDim, causal, multiplier!);
    return featureMap === "favor+" ? createRandom(headDim, shape, linear) : linear;
  },
  flops: linearHead.flops,
};

/** Linear attention with a multiplicative bias, causal or not. */
export const multiplicativeAttention = attentionOperation({
  plan: planMultiplicativeAttention,
  planGradient: planMultiplicativeGradient,
  head: multiplicativeHead,
});
