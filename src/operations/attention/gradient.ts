/** Plans for the gradient of attention, in O(N) memory: what the forward direction had in between is computed again. */
import { elementCount } from "../../core/check.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import { type AttentionGradientSpec, biasSpec, weightsShape } from "../specs.ts";
import { attentionName, biasParts, declareInputs, rowBytes } from "./plan.ts";
import { need, needAll, type PartName } from "../parts.ts";
import { type Program, ProgramBuilder } from "../../program/program.ts";
import { FLOAT_BYTES } from "../../program/units.ts";

export function planAttentionGradient(caller: string, spec: AttentionGradientSpec, limits: PlannerLimits): Program {
  needAll(partOf(spec), ...biasParts(spec), ...(spec.bias === "none" ? [] : (["toeplitzGradient"] as const)));
  const program = new ProgramBuilder(caller, `attention gradient ${attentionName(spec)} ${spec.length}`, limits);
  declareInputs(program, spec, limits);
  program.buffer("dOut", "input", rowBytes(spec, spec.valueDim));
  program.buffer("dq", "output", rowBytes(spec, spec.headDim));
  program.buffer("dk", "output", rowBytes(spec, spec.headDim));
  program.buffer("dv", "output", rowBytes(spec, spec.valueDim));
  const biased = spec.bias === "fastrpb";
  if (spec.bias !== "none") program.buffer("dBias", "output", elementCount(weightsShape(spec)) * FLOAT_BYTES);
  if (spec.bias === "multiplicative") {
    need("multiplicativeGradient").addMultiplicativeGradient(program, spec);
    return program.finish();
  }
  // Other workspaces are declared first: these take what is left.
  const before = () => {
    if (biased) need("toeplitzGradient").addToeplitzGradient(program, biasSpec(spec), "dBias");
  };
  const placement = { accumulate: biased, before };
  if (spec.kind === "softmax") need("softmaxGradient").addSoftmaxAttentionGradient(program, spec, placement);
  else if (spec.causal) need("causalGradient").addCausalAttentionGradient(program, spec, placement);
  else need("linearGradient").addLinearAttentionGradient(program, spec, placement);
  return program.finish();
}

function partOf({ kind, bias, causal }: AttentionGradientSpec): PartName {
  if (bias === "multiplicative") return "multiplicativeGradient";
  if (kind === "softmax") return "softmaxGradient";
  return causal ? "causalGradient" : "linearGradient";
}
