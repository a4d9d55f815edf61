import type { HeadKind } from "../cpu.ts";
import { createSoftmax } from "./cpu.ts";

/** Softmax attention of a head, causal or not. */
export const softmaxHead: HeadKind = {
  create: createSoftmax,
  flops: ({ length, headDim, valueDim, causal, window = length }) =>
    (Math.min(length, window * (causal ? 1 : 2)) * 2 * length * (headDim + valueDim)) / (causal && window === length ? 2 : 1),
};
