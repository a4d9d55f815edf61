/** Plans for attention: the bias goes first, into `out`, and what follows adds to it. */
import { ELEMENT_BYTES } from "../../shaders/kernel.ts";
import type { PlannerLimits } from "../spec/limits.ts";
import { type AttentionShape, type AttentionSpec, biasSpec } from "../spec/operations.ts";
import { addCausalAttention } from "./causal-attention.ts";
import { addLinearAttention } from "./linear-attention.ts";
import { addMultiplicativeAttention } from "./multiplicative-attention.ts";
import { type Program, ProgramBuilder } from "./program.ts";
import { addSoftmaxAttention } from "./softmax-attention.ts";
import { addToeplitz, spectrumBytes } from "./toeplitz.ts";
import { FLOAT_BYTES } from "./units.ts";

export function planAttention(caller: string, spec: AttentionSpec, limits: PlannerLimits): Program {
  const program = new ProgramBuilder(caller, `attention ${attentionName(spec)} ${spec.length}`, limits);
  declareInputs(program, spec, limits);
  program.buffer("out", "output", rowBytes(spec, spec.valueDim));
  // Other workspaces are declared first: the product takes what these leave.
  const addBias = () => {
    if (spec.bias === "fastrpb") addToeplitz(program, biasSpec(spec));
  };
  const accumulate = spec.bias === "fastrpb";
  if (spec.bias === "multiplicative") {
    addMultiplicativeAttention(program, spec);
    return program.finish();
  }
  const add = spec.kind === "softmax" ? addSoftmaxAttention : spec.causal ? addCausalAttention : addLinearAttention;
  add(program, spec, { accumulate, before: addBias });
  return program.finish();
}

/** Declares `q`, `k`, `v`, and `spectrum` and `lengths` where there are such. */
export function declareInputs(program: ProgramBuilder, spec: AttentionShape, limits: PlannerLimits): void {
  program.buffer("q", "input", rowBytes(spec, spec.headDim));
  program.buffer("k", "input", rowBytes(spec, spec.headDim));
  program.buffer("v", "input", rowBytes(spec, spec.valueDim));
  if (spec.bias !== "none") program.buffer("spectrum", "input", spectrumBytes(biasSpec(spec), limits));
  if (spec.variableLengths) program.buffer("lengths", "input", spec.batch * FLOAT_BYTES);
}

/** For the labels of programs and kernels. */
export function attentionName(spec: AttentionShape): string {
  return `${spec.causal ? "causal " : ""}${spec.featureMap ?? spec.kind}`;
}

/** Bytes of [batch, heads, N, dim]. */
export function rowBytes(spec: AttentionShape, dim: number): number {
  return spec.batch * spec.heads * spec.length * dim * ELEMENT_BYTES[spec.storage];
}
