import { attentionOperation } from "../operation.ts";
import { planMultiplicativeGradient } from "./gradient.ts";
import { planMultiplicativeAttention } from "./plan.ts";

/** Linear attention with a multiplicative bias, causal or not. */
export const multiplicativeAttention = attentionOperation({
  plan: planMultiplicativeAttention,
  planGradient: planMultiplicativeGradient,
  loadHead: async () => (await import("./cpu-kind.ts")).multiplicativeHead,
});
