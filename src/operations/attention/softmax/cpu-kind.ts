import type { HeadKind } from "../cpu.ts";
import { createSoftmax } from "./cpu.ts";

/** Softmax attention of a head, causal or not. */
export const softmaxHead: HeadKind = {
  create: ({ headDim, valueDim, causal, scale }) => createSoftmax(headDim, valueDim, causal, scale),
  flops: ({ length, headDim, valueDim, causal }) => (2 * length * length * (headDim + valueDim)) / (causal ? 2 : 1),
};
