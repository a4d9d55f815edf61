/** Attention: its options and plan, and the kinds of it, each with kernels of its own that a page loads when it first plans one. */
import { type AttentionSpec, isProjected } from "../operations/attention/spec.ts";
import type { Operation } from "../operations/operation.ts";
import { loadForm } from "../operations/toeplitz/separable-plans.ts";

export { attentionSpec } from "../operations/attention/spec.ts";
export { makeAttention } from "./attention-plan.ts";

/** The operation for a spec. */
export async function loadKind(spec: AttentionSpec): Promise<Operation<AttentionSpec>> {
  await loadForm(spec);
  let attention = await loadUnmasked(spec);
  if (spec.keyLength !== undefined && spec.bias === "fastrpb") {
    attention = (await import("../operations/attention/cross-bias.ts")).withCrossBias(attention);
  }
  if (spec.keyHeads !== undefined) attention = (await import("../operations/attention/key-heads.ts")).withKeyHeads(attention);
  if (isProjected(spec)) await (await import("../operations/attention/projection.ts")).loadProjection(spec.featureMap);
  return spec.keyMask ? (await import("../operations/attention/key-mask.ts")).withKeyMask(attention) : attention;
}

async function loadUnmasked({ kind, bias, causal }: AttentionSpec): Promise<Operation<AttentionSpec>> {
  if (bias === "multiplicative") return (await import("../operations/attention/multiplicative/operation.ts")).multiplicativeAttention;
  if (bias === "logits") return (await import("../operations/attention/softmax/logits.ts")).logitBiasAttention;
  if (kind === "softmax") return (await import("../operations/attention/softmax/operation.ts")).softmaxAttention;
  if (causal) return (await import("../operations/attention/causal/operation.ts")).causalAttention;
  return (await import("../operations/attention/linear/operation.ts")).linearAttention;
}
