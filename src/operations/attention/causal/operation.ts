import { attentionOperation } from "../operation.ts";
import { planCausalAttentionGradient } from "./gradient.ts";
import { planCausalAttention } from "./plan.ts";

/** Causal linear attention. */
export const causalAttention = attentionOperation({
  plan: planCausalAttention,
  planGradient: planCausalAttentionGradient,
  loadHead: async () => (await import("../linear/cpu-kind.ts")).linearHead,
});
