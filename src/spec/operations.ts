/**
 * The operations, as validated and frozen data. A spec holds shapes and choices, never a device or a buffer: the planner turns it
 * into GPU work, the CPU backend runs it as it stands.
 */
import { checkBoolean, checkElements, checkEnum, checkFinite, checkOptions, checkShape, checkSize, elementCount } from "./check.ts";
import { FastRpbError, refuse } from "./errors.ts";
import { isSmooth } from "./smooth.ts";

export interface FftOptions {
  /** Logical shape of the input; any number of axes. */
  shape: readonly number[];
  /** Axes to transform; negative ones count from the end. One axis in this version. Default: the last. */
  axes?: readonly number[];
  /** Complex to complex is what this version has. */
  kind?: "c2c";
  /** Sign of the exponent: `"forward"` has exp(−2πi kn/N). Default `"forward"`. */
  direction?: "forward" | "inverse";
  /** Where the factor 1/N goes, as in numpy: on the inverse (`"backward"`), its root on both, or on the forward transform. */
  norm?: "backward" | "ortho" | "forward";
}

export interface FftSpec {
  readonly operation: "fft";
  readonly shape: readonly number[];
  /** The shape as `[outer, length, inner]`: the transform runs along the middle. */
  readonly outer: number;
  readonly length: number;
  readonly inner: number;
  readonly direction: "forward" | "inverse";
  /** Factor on every output. */
  readonly scale: number;
}

export interface ComplexMultiplyOptions {
  /** Shape of the first operand and of the result. The second operand has this shape, or loses leading axes and is repeated along them. */
  shape: readonly number[];
  /** Use the conjugate of the second operand. Default `false`. */
  conjugate?: boolean;
  /** Real factor on every product. Default 1. */
  scale?: number;
}

export interface ComplexMultiplySpec {
  readonly operation: "complexMultiply";
  /** Whether the second operand lacks leading axes and is repeated. */
  readonly repeats: boolean;
  readonly shape: readonly number[];
  readonly conjugate: boolean;
  readonly scale: number;
}

export interface ToeplitzOptions {
  /** Default 1. */
  batch?: number;
  heads: number;
  /** Sequence length N. */
  length: number;
  /** Real channels per head, the D of `v: [batch, heads, N, D]`. */
  channels: number;
  /** Only `false` in this version. */
  causal?: boolean;
}

/** The FastRPB product: out_i = Σ_j w[j − i + N − 1] v_j in every head, for every channel. */
export interface ToeplitzSpec {
  readonly operation: "toeplitz";
  readonly batch: number;
  readonly heads: number;
  readonly length: number;
  readonly channels: number;
}

/** Weights to spectrum; `heads` and `length` are all that a spectrum depends on. */
export interface SpectrumSpec {
  readonly operation: "spectrum";
  readonly heads: number;
  readonly length: number;
}

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

export interface AttentionSpec {
  readonly operation: "attention";
  readonly batch: number;
  readonly heads: number;
  readonly length: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly featureMap: FeatureMap;
  readonly bias: "none" | "fastrpb";
}

export type OperationSpec = FftSpec | ComplexMultiplySpec | ToeplitzSpec | SpectrumSpec | AttentionSpec;

/** @throws FastRpbError codes `"value"`, `"unavailable"` */
export function fftSpec(options: FftOptions): FftSpec {
  const caller = "runtime.fft";
  checkOptions(caller, "options", options, ["shape", "axes", "kind", "direction", "norm"]);
  const shape = checkShape(caller, "options.shape", options.shape);
  const kind = options.kind ?? "c2c";
  if ((kind as string) === "r2c" || (kind as string) === "c2r")
    throw notYet(caller, `options.kind "${kind as string}"`, 'use "c2c" with zero imaginary parts');
  checkEnum(caller, "options.kind", kind, ["c2c"]);
  const direction = checkEnum(caller, "options.direction", options.direction ?? "forward", ["forward", "inverse"]);
  const norm = checkEnum(caller, "options.norm", options.norm ?? "backward", ["backward", "ortho", "forward"]);
  const axis = checkAxis(caller, options.axes ?? [-1], shape.length);
  const length = shape[axis]!;
  if (!isSmooth(length)) {
    throw notYet(caller, `options.shape[${axis}] = ${length}: a length with a prime factor above 7`, "pad to a product of 2, 3, 5 and 7");
  }
  return Object.freeze({
    operation: "fft",
    shape,
    outer: elementCount(shape.slice(0, axis)),
    length,
    inner: elementCount(shape.slice(axis + 1)),
    direction,
    scale: normFactor(norm, direction, length),
  });
}

function checkAxis(caller: string, axes: readonly number[], rank: number): number {
  const expected = `an array of integers from ${-rank} to ${rank - 1}`;
  if (!Array.isArray(axes) || axes.length === 0) throw refuse("value", { caller, argument: "options.axes", expected, got: axes });
  for (const axis of axes as number[]) {
    if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
      throw refuse("value", { caller, argument: "options.axes", expected, got: axes });
    }
  }
  if (axes.length > 1) throw notYet(caller, "a transform along more than one axis", "run one plan per axis");
  const axis = (axes as number[])[0]!;
  return axis < 0 ? axis + rank : axis;
}

function normFactor(norm: "backward" | "ortho" | "forward", direction: "forward" | "inverse", length: number): number {
  if (norm === "ortho") return 1 / Math.sqrt(length);
  const scaled = norm === "forward" ? "forward" : "inverse";
  return direction === scaled ? 1 / length : 1;
}

/** @throws FastRpbError code `"value"` */
export function complexMultiplySpec(options: ComplexMultiplyOptions, repeats = false): ComplexMultiplySpec {
  const caller = "runtime.complexMultiply";
  checkOptions(caller, "options", options, ["shape", "conjugate", "scale"]);
  return Object.freeze({
    operation: "complexMultiply",
    repeats,
    shape: checkShape(caller, "options.shape", options.shape),
    conjugate: checkBoolean(caller, "options.conjugate", options.conjugate ?? false),
    scale: checkFinite(caller, "options.scale", options.scale ?? 1),
  });
}

/** @throws FastRpbError codes `"value"`, `"unavailable"` */
export function toeplitzSpec(options: ToeplitzOptions): ToeplitzSpec {
  const caller = "runtime.toeplitz";
  refuseGrid(caller, options);
  checkOptions(caller, "options", options, ["batch", "heads", "length", "channels", "causal"]);
  refuseCausal(caller, options.causal);
  const spec: ToeplitzSpec = {
    operation: "toeplitz",
    batch: checkSize(caller, "options.batch", options.batch ?? 1),
    heads: checkSize(caller, "options.heads", options.heads),
    length: checkSize(caller, "options.length", options.length),
    channels: checkSize(caller, "options.channels", options.channels),
  };
  checkElements(caller, "batch × heads × length × channels", [spec.batch, spec.heads, spec.length, spec.channels]);
  checkElements(caller, "heads × (2·length − 1)", [spec.heads, 2 * spec.length - 1]);
  return Object.freeze(spec);
}

export function spectrumSpec(product: { readonly heads: number; readonly length: number }): SpectrumSpec {
  return Object.freeze({ operation: "spectrum", heads: product.heads, length: product.length });
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
    headDim,
    valueDim: checkSize(caller, "options.valueDim", options.valueDim ?? headDim),
    featureMap: checkEnum(caller, "options.featureMap", options.featureMap, ["sikf", "elu+1"]),
    bias: checkEnum(caller, "options.bias", options.bias ?? "none", ["none", "fastrpb"]),
  };
  const widest = Math.max(spec.headDim, spec.valueDim);
  checkElements(caller, "batch × heads × length × the larger dimension", [spec.batch, spec.heads, spec.length, widest]);
  if (spec.bias === "fastrpb") checkElements(caller, "heads × (2·length − 1)", [spec.heads, 2 * spec.length - 1]);
  return Object.freeze(spec);
}

/** The FastRPB part of an attention with bias. */
export function biasSpec(spec: AttentionSpec): ToeplitzSpec {
  return Object.freeze({ operation: "toeplitz", batch: spec.batch, heads: spec.heads, length: spec.length, channels: spec.valueDim });
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
