/** Plans for the gradient of attention, in O(N) memory: what the forward direction had in between is computed again. */
import { elementCount } from "../spec/check.ts";
import type { PlannerLimits } from "../spec/limits.ts";
import { type AttentionGradientSpec, biasSpec, weightsShape } from "../spec/operations.ts";
import { attentionName, declareInputs, rowBytes } from "./attention.ts";
import { addCausalAttentionGradient } from "./causal-attention.ts";
import { addLinearAttentionGradient } from "./linear-attention-gradient.ts";
import { addMultiplicativeGradient } from "./multiplicative-gradient.ts";
import { type Program, ProgramBuilder } from "./program.ts";
import { addSoftmaxAttentionGradient } from "./softmax-attention-gradient.ts";
import { addToeplitzGradient } from "./toeplitz-gradient.ts";
import { FLOAT_BYTES } from "./units.ts";

export function planAttentionGradient(caller: string, spec: AttentionGradientSpec, limits: PlannerLimits): Program {
  const program = new ProgramBuilder(caller, `attention gradient ${attentionName(spec)} ${spec.length}`, limits);
  declareInputs(program, spec, limits);
  program.buffer("dOut", "input", rowBytes(spec, spec.valueDim));
  program.buffer("dq", "output", rowBytes(spec, spec.headDim));
  program.buffer("dk", "output", rowBytes(spec, spec.headDim));
  program.buffer("dv", "output", rowBytes(spec, spec.valueDim));
  const biased = spec.bias === "fastrpb";
  if (spec.bias !== "none") program.buffer("dBias", "output", elementCount(weightsShape(spec)) * FLOAT_BYTES);
  if (spec.bias === "multiplicative") {
    addMultiplicativeGradient(program, spec);
    return program.finish();
  }
  // Other workspaces are declared first: these take what is left.
  const before = () => {
    if (biased) addToeplitzGradient(program, biasSpec(spec), "dBias");
  };
  const add = spec.kind === "softmax" ? addSoftmaxAttentionGradient : spec.causal ? addCausalAttentionGradient : addLinearAttentionGradient;
  add(program, spec, { accumulate: biased, before });
  return program.finish();
}
