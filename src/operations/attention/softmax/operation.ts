import { attentionOperation } from "../operation.ts";
import { planSoftmaxAttentionGradient } from "./gradient.ts";
import { planSoftmaxAttention } from "./plan.ts";

/** Softmax attention, causal or not. */
export const softmaxAttention = attentionOperation({
  plan: planSoftmaxAttention,
  planGradient: planSoftmaxAttentionGradient,
  loadHead: async () => (await import("./cpu-kind.ts")).softmaxHead,
});
