import type { HeadKind } from "../cpu.ts";
import { createSoftmax } from "./cpu.ts";

/** Softmax attention of a head, causal or not. */
export const softmaxHead: HeadKind = {
  create: createSoftmax,
  flops: ({ length, keyLength = length, headDim, valueDim, causal, window = keyLength }) =>
    (Math.min(keyLength, window * (causal ? 1 : 2)) * 2 * length * (headDim + valueDim)) / (causal && window === length ? 2 : 1),
};
