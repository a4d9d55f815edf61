/** Attention that is planned around another attention, whose plan gets other tensors, or goes on from what has been added before. */
import type { ProgramBuilder } from "../../program/builder.ts";
import { type Handles, type Operation, task } from "../operation.ts";
import type { AttentionGradientSpec, AttentionShape, AttentionSpec } from "./spec.ts";

/** Plans an attention or its gradient, which has `dOut` among the tensors. */
type PlanAttention = (program: ProgramBuilder, shape: AttentionShape, tensors: Handles, scratch: number) => void;

/** An attention with the tensors and all else of another, and with its own plan, which gets that of the other, for it and for its gradient. */
export function around(
  attention: Operation<AttentionSpec>,
  plan: (inner: PlanAttention, ...rest: Parameters<PlanAttention>) => void,
): Operation<AttentionSpec> {
  return {
    ...attention,
    plan: (...rest) => plan(attention.plan as PlanAttention, ...rest),
    gradient(spec) {
      const inner = attention.gradient!(spec);
      if (!inner) return undefined;
      const operation = inner.operation as Operation<AttentionGradientSpec>;
      const own: Operation<AttentionGradientSpec> = { ...operation, plan: (...rest) => plan(operation.plan as PlanAttention, ...rest) };
      return task(own, inner.spec as AttentionGradientSpec);
    },
  };
}
