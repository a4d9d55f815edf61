/** Plans for the gradient of attention, in O(N) memory: what the forward direction had in between is computed again. */
import type { PlannerLimits } from "../spec/limits.ts";
import type { AttentionGradientSpec } from "../spec/operations.ts";
import { notYet, type Program } from "./program.ts";

export function planAttentionGradient(caller: string, _spec: AttentionGradientSpec, _limits: PlannerLimits): Program {
  throw notYet(caller, "the gradient of this attention");
}
