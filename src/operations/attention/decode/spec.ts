import { BLOCK, decodeStateLayout, type DecodeStateLayout } from "../../../../shaders/attention/decode/step.ts";
import { LOWEST } from "../../../../shaders/wgsl/wgsl.ts";
import { checkOptions, elementCount } from "../../../core/check.ts";
import { refuse } from "../../../core/errors.ts";
import type { OperationSpec } from "../../operation.ts";
import { spectrumSpec, type SpectrumSpec, type ToeplitzSpec } from "../../toeplitz/spec.ts";
import { type AttentionOptions, type AttentionSpec, attentionSpec } from "../spec.ts";

/** Options of causal linear attention that takes a sequence token by token. */
export interface DecoderOptions extends Pick<
  AttentionOptions,
  "batch" | "heads" | "headDim" | "valueDim" | "featureMap" | "randomFeatures" | "nu" | "scale"
> {
  /** The most tokens of a sequence, N; the weights of a bias are those of attention of this length. */
  length: number;
  /** `"fastrpb"` adds the Toeplitz product of learned weights and the values. Default `"none"`. */
  bias?: "none" | "fastrpb";
}

/** Some tokens that are taken one after the other, within a block of the bias, and the block product that follows. */
export interface DecodeStage {
  readonly tokens: number;
  /** Values that are multiplied when these tokens are in: a power of two that divides the tokens so far; 0 for none. */
  readonly block: number;
}

/**
 * `q`, `k`, `v` of some tokens, `states`, and with a bias `history`, `weights` of the offsets 1 − BLOCK … 0, `spectrum<block>` of each block product
 * → `out`; `states` and `history` move on.
 */
export interface DecodeSpec extends OperationSpec {
  readonly operation: "decode";
  readonly shape: AttentionSpec;
  /** Tokens of `q`, `k` and `v`. */
  readonly tokens: number;
  readonly stages: readonly DecodeStage[];
}

/** `weights` [heads, 2·length − 1] → `window` [heads, count], those from `first` on; zero where there are none. */
export interface WeightWindowSpec extends OperationSpec {
  readonly operation: "weightWindow";
  readonly heads: number;
  readonly length: number;
  readonly first: number;
  readonly count: number;
}

/** Checks the options of a decoder. @returns the parallel form @throws FastRpbError code `"value"` */
export function decoderShape(options: DecoderOptions): AttentionSpec {
  const caller = "runtime.decoder";
  checkOptions(caller, "options", options, [
    "batch",
    "heads",
    "length",
    "headDim",
    "valueDim",
    "featureMap",
    "randomFeatures",
    "nu",
    "scale",
    "bias",
  ]);
  const { bias = "none" } = options;
  if (bias !== "none" && bias !== "fastrpb") throw refuse("value", caller, "options.bias", '"none" or "fastrpb"', bias);
  return attentionSpec({ ...options, kind: "linear", causal: true } as AttentionOptions, caller);
}

/** The map of features that are not exponentials, and so not relative to the largest. */
export function plainFeatureMap(featureMap: AttentionSpec["featureMap"]): "elu+1" | "relu" | undefined {
  if (featureMap === "dpfp") return "relu"; // of features that are made first
  return featureMap === "elu+1" || featureMap === "relu" ? featureMap : undefined;
}

/** The state of one head. */
export function stateOf({ features, valueDim }: AttentionSpec): DecodeStateLayout {
  return decodeStateLayout({ headDim: features, valueDim });
}

/** The states of all heads before the first token. */
export function firstStates(shape: AttentionSpec): Float32Array {
  const { maximum, sum, size } = stateOf(shape);
  const states = new Float32Array(shape.batch * shape.heads * size);
  for (let at = 0; at < states.length; at += size) states.fill(Number.parseFloat(LOWEST), at + maximum, at + sum);
  return states;
}

/** Numbers of the tensor `history`. */
export function historySize({ batch, heads, length, valueDim }: AttentionSpec): number {
  return elementCount([batch, heads, 2, length, valueDim]);
}

/** The block products of sequences of so many tokens: the shortest first. */
export function blocksOf({ bias, length }: AttentionSpec): readonly number[] {
  const blocks: number[] = [];
  for (let block = BLOCK; bias === "fastrpb" && block < length; block *= 2) blocks.push(block);
  return blocks;
}

/** The stages of `tokens` tokens that follow `position` earlier ones. */
export function stagesOf({ bias, length }: AttentionSpec, position: number, tokens: number): readonly DecodeStage[] {
  if (bias === "none") return [{ tokens, block: 0 }];
  const stages: DecodeStage[] = [];
  for (let at = position, end = position + tokens; at < end;) {
    const next = Math.min(end, at + BLOCK - (at % BLOCK));
    stages.push({ tokens: next - at, block: next % BLOCK === 0 && next < length ? largestPowerOfTwo(next) : 0 });
    at = next;
  }
  return stages;
}

/** The largest power of two that divides `n`. */
function largestPowerOfTwo(n: number): number {
  return n & -n;
}

export function decodeSpec(shape: AttentionSpec, tokens: number, stages: readonly DecodeStage[]): DecodeSpec {
  return Object.freeze({ operation: "decode", shape, tokens, stages });
}

/** The product of a block: its values with those weights of the sequence that reach the next one. */
export function blockProduct({ batch, heads, valueDim }: Pick<AttentionSpec, "batch" | "heads" | "valueDim">, block: number): ToeplitzSpec {
  return Object.freeze({
    operation: "toeplitz",
    batch,
    heads,
    length: block,
    grid: undefined,
    causal: false,
    channels: valueDim,
    variableLengths: false,
    storage: "f32",
  });
}

/** The spectrum that {@link blockProduct} takes. */
export function blockSpectrum(shape: AttentionSpec, block: number): SpectrumSpec {
  return spectrumSpec(blockProduct(shape, block));
}

/**
 * The weights of {@link blockProduct}: the value s of the block and the result t of the next lie M + t − s apart, so that its weight o, of
 * s − t = o − M + 1, is that of the offset o − 2M + 1.
 */
export function blockWeights({ heads, length }: AttentionSpec, block: number): WeightWindowSpec {
  return Object.freeze({ operation: "weightWindow", heads, length, first: length - 2 * block, count: 2 * block - 1 });
}

/** The weights that tokens of one block have for each other, of the offsets 1 − BLOCK … 0. */
export function nearWeights({ heads, length }: AttentionSpec): WeightWindowSpec {
  return Object.freeze({ operation: "weightWindow", heads, length, first: length - BLOCK, count: BLOCK });
}
