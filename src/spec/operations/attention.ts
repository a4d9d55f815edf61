import { checkBoolean, checkElements, checkEnum, checkOptions, checkSize } from "../check.ts";
import { FastRpbError } from "../errors.ts";
import { type RelativePositions, type ToeplitzSpec, weightsShape } from "./toeplitz.ts";

export type FeatureMap = "sikf" | "elu+1";

export interface AttentionOptions {
  /** Default 1. */
  batch?: number;
  heads: number;
  /** Sequence length N. */
  length: number;
  /** Dimension D of the queries and keys. */
  headDim: number;
  /** Dimension of the values and the output. Default: `headDim`. */
  valueDim?: number;
  /** `"sikf"`: φ(x) = exp(x), evaluated so that nothing overflows. `"elu+1"`: φ(x) = elu(x) + 1 (Katharopoulos et al. 2020). */
  featureMap: FeatureMap;
  /** Only `false` in this version. */
  causal?: boolean;
  /** `"fastrpb"` adds the Toeplitz product of learned weights and the values, outside the normalisation. Default `"none"`. */
  bias?: "none" | "fastrpb";
}

export interface AttentionSpec extends RelativePositions {
  readonly operation: "attention";
  readonly batch: number;
  readonly heads: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly featureMap: FeatureMap;
  readonly bias: "none" | "fastrpb";
}

/** @throws FastRpbError codes `"value"`, `"unavailable"` */
export function attentionSpec(options: AttentionOptions): AttentionSpec {
  const caller = "runtime.attention";
  refuseGrid(caller, options);
  checkOptions(caller, "options", options, ["batch", "heads", "length", "headDim", "valueDim", "featureMap", "causal", "bias"]);
  refuseCausal(caller, options.causal);
  const headDim = checkSize(caller, "options.headDim", options.headDim);
  const spec: AttentionSpec = {
    operation: "attention",
    batch: checkSize(caller, "options.batch", options.batch ?? 1),
    heads: checkSize(caller, "options.heads", options.heads),
    length: checkSize(caller, "options.length", options.length),
    grid: undefined,
    causal: false,
    headDim,
    valueDim: checkSize(caller, "options.valueDim", options.valueDim ?? headDim),
    featureMap: checkEnum(caller, "options.featureMap", options.featureMap, ["sikf", "elu+1"]),
    bias: checkEnum(caller, "options.bias", options.bias ?? "none", ["none", "fastrpb"]),
  };
  const widest = Math.max(spec.headDim, spec.valueDim);
  checkElements(caller, "batch × heads × length × the larger dimension", [spec.batch, spec.heads, spec.length, widest]);
  if (spec.bias === "fastrpb") checkElements(caller, "the weights", weightsShape(spec));
  return Object.freeze(spec);
}

/** The FastRPB part of an attention with bias. */
export function biasSpec(spec: AttentionSpec): ToeplitzSpec {
  const { batch, heads, length, grid, causal, valueDim } = spec;
  return Object.freeze({ operation: "toeplitz", batch, heads, length, grid, causal, channels: valueDim });
}

function refuseCausal(caller: string, causal: boolean | undefined): void {
  if (causal !== undefined && checkBoolean(caller, "options.causal", causal)) {
    throw notYet(caller, "options.causal = true", "leave it out");
  }
}

function refuseGrid(caller: string, options: object): void {
  if (typeof options === "object" && options !== null && "grid" in options) {
    throw notYet(caller, "options.grid (two-dimensional bias)", "give options.length");
  }
}

function notYet(caller: string, what: string, remedy: string): FastRpbError {
  return new FastRpbError("unavailable", `${caller}: ${what} is not supported in this version; ${remedy}.`);
}
