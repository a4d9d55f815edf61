import type { HeadKind } from "../cpu.ts";
import { attentionOperation } from "../operation.ts";
import { createSoftmax } from "./cpu.ts";
import { planSoftmaxAttentionGradient } from "./gradient.ts";
import { planSoftmaxAttention } from "./plan.ts";

/** Attention of a head. */
export const softmaxHead: HeadKind = {
  create: ({ headDim, valueDim, causal, scale }) => createSoftmax(headDim, valueDim, causal, scale),
  flops: ({ length, headDim, valueDim, causal }) => (2 * length * length * (headDim + valueDim)) / (causal ? 2 : 1),
};

/** Softmax attention, causal or not. */
export const softmaxAttention = attentionOperation({ plan: planSoftmaxAttention, planGradient: planSoftmaxAttentionGradient, head: softmaxHead });
