import { attentionOperation } from "../operation.ts";
import { planLinearAttentionGradient } from "./gradient.ts";
import { planLinearAttention } from "./plan.ts";

/** Linear attention that is not causal. */
export const linearAttention = attentionOperation({
  plan: planLinearAttention,
  planGradient: planLinearAttentionGradient,
  loadHead: async () => (await import("./cpu-kind.ts")).linearHead,
});
