import { attentionOperation } from "../operation.ts";
import { biasGradient } from "./bias-gradient.ts";
import { planSoftmaxAttentionGradient } from "./gradient.ts";
import { planSoftmaxAttention } from "./plan.ts";

/** Softmax attention with a bias in its logits. */
export const logitBiasAttention = attentionOperation({
  plan: planSoftmaxAttention,
  planGradient: (program, shape, tensors, scratch) => planSoftmaxAttentionGradient(program, shape, tensors, scratch, biasGradient),
  loadHead: async () => (await import("./cpu-kind.ts")).softmaxHead,
});
