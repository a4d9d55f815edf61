import { createRandom } from "../cpu-random-features.ts";
import type { HeadKind } from "../cpu.ts";
import { linearHead, rowFeatures } from "../linear/cpu-kind.ts";
import { createMultiplicative } from "./cpu.ts";

/** Linear attention of a head with a multiplicative bias, causal or not. */
export const multiplicativeHead: HeadKind = {
  create(shape, multiplier) {
    const { featureMap, headDim } = shape;
    const linear = createMultiplicative(rowFeatures(shape), shape, multiplier!);
    return featureMap === "favor+" ? createRandom(headDim, shape, linear) : linear;
  },
  flops: linearHead.flops,
};
