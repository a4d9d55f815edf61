/** Plans for the gradient of attention, in O(N) memory: what the forward direction had in between is computed again. */
import type { PlannerLimits } from "../spec/limits.ts";
import type { AttentionGradientSpec } from "../spec/operations.ts";
import { attentionName, declareInputs, rowBytes } from "./attention.ts";
import { addCausalAttentionGradient } from "./causal-attention.ts";
import { addLinearAttentionGradient } from "./linear-attention-gradient.ts";
import { notYet, type Program, ProgramBuilder } from "./program.ts";

export function planAttentionGradient(caller: string, spec: AttentionGradientSpec, limits: PlannerLimits): Program {
  const program = new ProgramBuilder(caller, `attention gradient ${attentionName(spec)} ${spec.length}`, limits);
  declareInputs(program, spec, limits);
  program.buffer("dOut", "input", rowBytes(spec, spec.valueDim));
  program.buffer("dq", "output", rowBytes(spec, spec.headDim));
  program.buffer("dk", "output", rowBytes(spec, spec.headDim));
  program.buffer("dv", "output", rowBytes(spec, spec.valueDim));
  if (spec.kind === "softmax") throw notYet(caller, 'the gradient of kind "softmax"');
  if (spec.causal && spec.featureMap === "softmax") throw notYet(caller, "the gradient of causal Efficient Attention");
  if (spec.bias !== "none") throw notYet(caller, "the gradient of a bias");
  const add = spec.causal ? addCausalAttentionGradient : addLinearAttentionGradient;
  add(program, spec, { accumulate: false, before: () => {} });
  return program.finish();
}
