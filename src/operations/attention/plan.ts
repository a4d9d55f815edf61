/** Plans for attention: the bias goes first, into `out`, and what follows adds to it. */
import { ELEMENT_BYTES } from "../../../shaders/wgsl/kernel.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import { type AttentionShape, type AttentionSpec, biasSpec } from "../specs.ts";
import { need, needAll, type PartName } from "../parts.ts";
import { type Program, ProgramBuilder } from "../../program/program.ts";
import { FLOAT_BYTES } from "../../program/units.ts";

export function planAttention(caller: string, spec: AttentionSpec, limits: PlannerLimits): Program {
  needAll(partOf(spec), ...biasParts(spec));
  const program = new ProgramBuilder(caller, `attention ${attentionName(spec)} ${spec.length}`, limits);
  declareInputs(program, spec, limits);
  program.buffer("out", "output", rowBytes(spec, spec.valueDim));
  // Other workspaces are declared first: the product takes what these leave.
  const addBias = () => {
    if (spec.bias === "fastrpb") need("toeplitz").addToeplitz(program, biasSpec(spec));
  };
  const accumulate = spec.bias === "fastrpb";
  if (spec.bias === "multiplicative") {
    need("multiplicative").addMultiplicativeAttention(program, spec);
    return program.finish();
  }
  const placement = { accumulate, before: addBias };
  if (spec.kind === "softmax") need("softmax").addSoftmaxAttention(program, spec, placement);
  else if (spec.causal) need("causal").addCausalAttention(program, spec, placement);
  else need("linear").addLinearAttention(program, spec, placement);
  return program.finish();
}

function partOf({ kind, bias, causal }: AttentionSpec): PartName {
  if (bias === "multiplicative") return "multiplicative";
  if (kind === "softmax") return "softmax";
  return causal ? "causal" : "linear";
}

/** What the bias and the features take, in both directions. */
export function biasParts({ bias, featureMap }: AttentionShape): readonly PartName[] {
  return [...(bias === "none" ? [] : (["toeplitz"] as const)), ...(featureMap === "favor+" ? (["randomFeatures"] as const) : [])];
}

/** Declares `q`, `k`, `v`, and `spectrum` and `lengths` where there are such. */
export function declareInputs(program: ProgramBuilder, spec: AttentionShape, limits: PlannerLimits): void {
  program.buffer("q", "input", rowBytes(spec, spec.headDim));
  program.buffer("k", "input", rowBytes(spec, spec.headDim));
  program.buffer("v", "input", rowBytes(spec, spec.valueDim));
  if (spec.bias !== "none") program.buffer("spectrum", "input", need("toeplitz").spectrumBytes(biasSpec(spec), limits));
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
