import { createProjected } from "../cpu-projection.ts";
import type { HeadKind } from "../cpu.ts";
import { linearHead, rowFeatures } from "../linear/cpu-kind.ts";
import { isProjected } from "../spec.ts";
import { createMultiplicative } from "./cpu.ts";

/** Linear attention of a head with a multiplicative bias, causal or not. */
export const multiplicativeHead: HeadKind = {
  create(shape, multiplier) {
    const linear = createMultiplicative(rowFeatures(shape), shape, multiplier!);
    return isProjected(shape) ? createProjected(shape, linear) : linear;
  },
  flops: linearHead.flops,
};
