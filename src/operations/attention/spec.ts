import { checkBoolean, checkElements, checkEnum, checkOptions, checkSize } from "../../core/check.ts";
import { FastRpbError, refuse } from "../../core/errors.ts";
import { type AttentionLayout, type JoinedQueries, packedWidth, rowCounts } from "./layout.ts";
import {
  BIAS_FORM_OPTIONS,
  type BiasFormOptions,
  checkPositions,
  type RelativePositions,
  type SequenceOptions,
  type TokenOptions,
  type ToeplitzSpec,
  weightsShape,
} from "../toeplitz/spec.ts";

/**
 * Feature maps φ of linear attention, for which out_i = Σ_j φ(q_i)·φ(k_j) v_j / Σ_j φ(q_i)·φ(k_j):
 *
 * - `"sikf"`: exp(x), the Shift-Invariant Kernel Function (Zubkov and Gavrilov, arXiv 2202.11364).
 * - `"elu+1"`: elu(x) + 1 (Katharopoulos et al. 2020).
 * - `"relu"`: max(x, 0), as in cosFormer (Qin et al. 2022). A query that has no positive feature in common with any key gets zero.
 * - `"softmax"`: Efficient Attention (Shen et al. 2018): softmax over the features of q and, for each feature, over the positions of k;
 *   out_i = Σ_d softmax(q_i)_d Σ_j softmax_j(k_jd) v_j. Causal: the second softmax runs over j ≤ i.
 * - `"favor+"`: positive orthogonal random features of the Performer (Choromanski et al. 2020), an estimate of softmax attention:
 *   φ(x)_r = exp(w_r·x′ − |x′|²/2) with x′ = √scale·x.
 * - `"dpfp"`: the deterministic parameter-free projection (Schlag, Irie and Schmidhuber 2021): with x′ = [max(x, 0), max(−x, 0)], the products of x′
 *   with itself rolled by j = 1 … ν, x′_i x′_{(i − j) mod 2D}: 2Dν features. A query that has none in common with any key gets zero.
 *
 * Features are relative to the largest, so that sums neither overflow nor vanish: of `"elu+1"` numbers may be as low as −300, of `"relu"` and `"elu+1"` from
 * 1e-30 to 1e30 in size, of `"dpfp"`, whose features are products, from 1e-15 to 1e15. The gradient with respect to x of `"relu"` is as large as 1 / x, and
 * infinite where that is beyond float32; gradients below 1e-30 may become 0, and causally those of keys that are 1e-35 times an earlier key. With a bias
 * `"multiplicative"` gradients keep to the range of float32 on their way.
 */
export type FeatureMap = "sikf" | "elu+1" | "relu" | "softmax" | "favor+" | "dpfp";

/** How weights of relative positions come into attention: {@link AttentionOptions}. */
export type BiasKind = "none" | "fastrpb" | "multiplicative" | "logits";

/** The random features of `"favor+"`. */
export interface RandomFeatures {
  /** How many features a row has. Default: ⌈D ln D⌉, at least D. */
  count?: number;
  /** Seed of the generator: the same gives the same features on every device. An integer from 0 to 2³² − 1. Default 0. */
  seed?: number;
}

/** Options of attention over q, k `[batch, heads, N, D]` and v `[batch, heads, N, E]`, or k and v `[batch, keyHeads, keyLength, ·]`. */
export type AttentionOptions = SequenceOptions &
  BiasFormOptions &
  TokenOptions & {
    /** Default 1. */
    batch?: number;
    heads: number;
    /** Dimension D of the queries and keys. */
    headDim: number;
    /** Dimension of the values and the output. Default: `headDim`. */
    valueDim?: number;
    /**
     * `"linear"` (default) is O(N) and takes a `featureMap`. `"softmax"` is the original, out_i = Σ_j softmax_j(scale·q_i·k_j) v_j: O(N²)
     * time in tiles with online softmax, O(N) memory. Products q·k may be as large as 1e45; beyond that the result is NaN.
     */
    kind?: "linear" | "softmax";
    /** The feature map of linear attention, which needs one; `kind: "softmax"` has none. */
    featureMap?: FeatureMap;
    /** How the features of `"favor+"` are drawn; only with that feature map. */
    randomFeatures?: RandomFeatures;
    /** ν of `"dpfp"`, an integer from 1 to 2·headDim − 1: a row has 2·headDim·ν features. Only with that feature map. Default 1. */
    nu?: number;
    /** Factor of q·k for `kind: "softmax"` and `"favor+"`, a positive float32. Default 1/√D. */
    scale?: number;
    /** Sums run over j ≤ i. Default `false`; not on a grid. */
    causal?: boolean;
    /**
     * A sliding window of w, an integer from 1, for `kind: "softmax"`: query i sees the keys j with |i − j| < w, or with `causal` i − w < j ≤ i, which
     * is w keys with its own. That is Mistral's `sliding_window`, and FlashAttention's `window_size` of (w − 1, w − 1) or (w − 1, 0). O(N·w) time. A
     * bias `"fastrpb"` is not in the window. Default: all keys; not on a grid.
     */
    window?: number;
    /**
     * - `"none"` (default)
     * - `"fastrpb"` adds the Toeplitz product of learned weights and the values, outside the normalisation.
     * - `"multiplicative"` (Luo et al. 2021): every term of the numerator and the denominator has a factor exp(b_{j−i}), by FFT. Linear
     *   attention only, and not for `"softmax"` features.
     * - `"logits"`, for `kind: "softmax"` only: the logits are scale·q_i·k_j + b_{j−i} (T5, Raffel et al. 2020; ALiBi, Press et al. 2022; on a grid
     *   Swin, Liu et al. 2021). −∞ is a mask; a query that sees no key gets zeros.
     */
    bias?: BiasKind;
    /** `run` takes `lengths`, one for each batch row; tokens beyond have no influence, and zeros as output. Default `false`; not on a grid. */
    variableLengths?: boolean;
    /**
     * `run` takes `keyMask`, which says for each batch row which keys are seen; the others contribute nothing, and their values nothing through a bias
     * either. A row that sees no key gets zero. It takes scratch for a copy of keys and values. Not with a bias `"logits"` and
     * `variableLengths` at once: a mask can leave out what lies beyond a length. Default `false`.
     */
    keyMask?: boolean;
    /**
     * Cross-attention: keys and values are those of M other tokens, `[batch, heads, M, ·]`, and a key mask is `[batch, M]`. Weights of a bias are
     * `[heads, N + M − 1]`, W_ij = w[j − i + N − 1], or symmetric ones `[heads, max(N, M)]`, w[|j − i|]. Other than `length`, it goes with no grid, no
     * tokens outside, no `causal`, `window`, `variableLengths` or `biasLength`, and no bias `"multiplicative"`. With FastRPB it takes scratch for rows of
     * the longer side. Default: `length`.
     */
    keyLength?: number;
    /**
     * Grouped queries (Ainslie et al. 2023): keys and values have G heads, `[batch, G, N, ·]`, a divisor of `heads`, and head h takes those of head
     * ⌊h·G / heads⌋, as `enable_gqa` of PyTorch does. Weights of a bias stay those of `heads`. With a bias, `causal`, `window` or `variableLengths` it takes
     * scratch for keys and values of all heads. Default: `heads`.
     */
    keyHeads?: number;
    /**
     * How q, k, v and the output are stored; sums are in f32. `"f16"` halves their bytes, on devices with `shader-f16`; forward only, and not with
     * a multiplicative bias. Default `"f32"`.
     */
    storage?: "f32" | "f16";
    /**
     * In which order tensors have their numbers; kernels read them where they lie, and nothing is copied to turn them around.
     *
     * - `"bhnd"` (default): q, k `[batch, heads, N, D]`, v and the output `[batch, heads, N, E]`, as PyTorch's `scaled_dot_product_attention` has them.
     * - `"bnhd"`: `[batch, N, heads, D]` and `[batch, N, heads, E]`, as FlashAttention and JAX have them.
     * - `"packed"`: q, k and v are one tensor `qkv`, `[batch, N, heads·(2D + E)]`, as one matrix product makes them: in the row of a token the
     *   queries of all heads, then the keys, then the values (`qkv.reshape(B, N, 3, H, D)` in PyTorch, where E = D). The output is
     *   `[batch, N, heads, E]`; the gradient is `dqkv`, of the shape of `qkv`.
     *
     * Gradients have the order of their tensors. Another order than the default goes with no multiplicative bias and no `gridChannels`, and a tensor may
     * not be larger than one binding (`maxStorageBufferBindingSize`); `"packed"` does not go with `keyLength` or `keyHeads` either.
     */
    layout?: AttentionLayout;
  };

/** Sizes and choices of an attention, which its gradient shares. */
export interface AttentionShape extends RelativePositions {
  readonly batch: number;
  readonly heads: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly kind: "linear" | "softmax";
  /** `undefined` for `kind: "softmax"`. */
  readonly featureMap: FeatureMap | undefined;
  /** Number of features of a key: D, that of the random features, or 2Dν of `"dpfp"`. */
  readonly features: number;
  /** Seed of the random features. */
  readonly seed: number;
  /** Factor of q·k, where there is one; else 1. */
  readonly scale: number;
  /** Of how many keys the sliding window is; `undefined` where it leaves out none. */
  readonly window: number | undefined;
  readonly bias: BiasKind;
  readonly variableLengths: boolean;
  /** Whether there is a tensor `keyMask`, [batch, length]. */
  readonly keyMask: boolean;
  /** Keys and values of a head, and of a mask; left out: `length`. */
  readonly keyLength?: number | undefined;
  /** Heads of keys and values; left out: `heads`. */
  readonly keyHeads?: number | undefined;
  /** How q, k, v and the output are stored. */
  readonly storage: "f32" | "f16";
  /** In which order they are. */
  readonly layout: AttentionLayout;
  /** Of queries that are joined for a plan (key-heads.ts), how they lie. */
  readonly joined?: JoinedQueries | undefined;
}

/** `q`, `k`, `v`, `spectrum` with a bias, or `bias` where it is in the logits, `lengths` with variable lengths, `keyMask` with a mask → `out`. */
export interface AttentionSpec extends AttentionShape {
  readonly operation: "attention";
}

/** `q`, `k`, `v`, `spectrum`, `lengths`, `keyMask` as of the attention, and `dOut` → `dq`, `dk`, `dv`, and `dBias` with a bias. */
export interface AttentionGradientSpec extends AttentionShape {
  readonly operation: "attentionGradient";
}

const SIZES = ["batch", "heads", "length", "grid", "headDim", "valueDim"] as const;
const CHOICES = [
  ...([
    "kind",
    "featureMap",
    "randomFeatures",
    "nu",
    "scale",
    "causal",
    "window",
    "bias",
    "variableLengths",
    "keyMask",
    "storage",
    "layout",
    "keyLength",
    "keyHeads",
  ] as const),
  ...BIAS_FORM_OPTIONS,
] as const;

/** Checks the options of an attention. @throws FastRpbError codes `"value"`, `"unavailable"` */
export function attentionSpec(options: AttentionOptions, caller = "runtime.attention"): AttentionSpec {
  checkOptions(caller, "options", options, [...SIZES, ...CHOICES]);
  const positions = checkPositions(caller, options);
  const kind = checkEnum(caller, "options.kind", options.kind ?? "linear", ["linear", "softmax"]);
  const headDim = checkSize(caller, "options.headDim", options.headDim);
  const featureMap = checkFeatureMap(caller, kind, options.featureMap);
  const { count, seed } = checkRandomFeatures(caller, featureMap, options.randomFeatures, headDim);
  const nu = checkNu(caller, featureMap, options.nu, headDim);
  const variableLengths = checkBoolean(caller, "options.variableLengths", options.variableLengths ?? false);
  if (variableLengths && positions.grid) {
    throw refuse("value", caller, "options.variableLengths", "false on a grid, which is always full", true);
  }
  const bias = checkEnum(caller, "options.bias", options.bias ?? "none", ["none", "fastrpb", "multiplicative", "logits"]);
  const storage = checkEnum(caller, "options.storage", options.storage ?? "f32", ["f32", "f16"]);
  const layout = checkEnum(caller, "options.layout", options.layout ?? "bhnd", ["bhnd", "bnhd", "packed"]);
  if (bias === "multiplicative") checkMultiplicative(caller, kind, featureMap, storage, layout);
  if (layout !== "bhnd" && positions.gridChannels) throw refuse("unavailable", caller, "options.layout", '"bhnd" with gridChannels', layout);
  const keyMask = checkBoolean(caller, "options.keyMask", options.keyMask ?? false);
  if (bias === "logits") checkLogits(caller, kind, variableLengths && keyMask);
  if (bias !== "fastrpb") {
    const expected = 'left out without bias: "fastrpb"';
    if (positions.form) {
      throw refuse("value", caller, "options.biasForm or options.biasLength", expected, options.biasForm ?? options.biasLength);
    }
    if (positions.outside) throw refuse("value", caller, "options.outside", expected, options.outside);
    if (positions.gridChannels) throw refuse("value", caller, "options.gridChannels", expected, options.gridChannels);
  }
  const heads = checkSize(caller, "options.heads", options.heads);
  const spec: AttentionSpec = {
    operation: "attention",
    batch: checkSize(caller, "options.batch", options.batch ?? 1),
    heads,
    ...positions,
    ...checkKeyLength(caller, options, positions, bias),
    ...checkKeyHeads(caller, options.keyHeads, heads),
    headDim,
    valueDim: checkSize(caller, "options.valueDim", options.valueDim ?? headDim),
    kind,
    featureMap,
    features: featureMap === "dpfp" ? 2 * headDim * nu : count,
    seed,
    scale: checkScale(caller, kind === "softmax" || featureMap === "favor+", options.scale, headDim),
    window: checkWindow(caller, kind, positions, options.window),
    bias,
    variableLengths,
    keyMask,
    storage,
    layout,
  };
  if (layout === "packed" && (spec.keyLength ?? spec.keyHeads) !== undefined) {
    throw refuse("unavailable", caller, "options.layout", '"bhnd" or "bnhd" with keyLength or keyHeads', layout);
  }
  if (layout === "packed") checkElements(caller, "qkv", [spec.batch, spec.length, packedWidth(spec)]);
  const widest = Math.max(spec.headDim, spec.valueDim, spec.features);
  const longest = Math.max(spec.length, keyLengthOf(spec));
  checkElements(caller, "batch × heads × length × the larger dimension", [spec.batch, spec.heads, longest, widest]);
  if (spec.bias !== "none") checkElements(caller, "the weights", weightsShape(spec));
  return Object.freeze(spec);
}

/** Keys of a head. */
export function keyLengthOf({ length, keyLength = length }: Pick<AttentionShape, "length" | "keyLength">): number {
  return keyLength;
}

/** The attention as those see it who go over its keys: of so many tokens in so many heads. */
export function keyShape<Shape extends AttentionShape>(shape: Shape): Shape {
  return (shape.keyLength ?? shape.keyHeads) === undefined ? shape : { ...shape, ...rowCounts(shape, "k") };
}

/** Whether the weights of the bias go through a spectrum. */
export function hasSpectrum({ bias }: Pick<AttentionShape, "bias">): boolean {
  return bias === "fastrpb" || bias === "multiplicative";
}

/** Whether features are made of queries and keys first, as rows of their own, of which the rest is SIKF or ReLU. */
export function isProjected({ featureMap }: Pick<AttentionShape, "featureMap">): boolean {
  return featureMap === "favor+" || featureMap === "dpfp";
}

/** Far below all keys, so that exp of its difference from any of these is 0, and within the range of float32 when numbers are added. */
const LOWEST_KEY = -(2 ** 120);
/** The lowest float16. */
const LOWEST_HALF_KEY = -65504;

/** The number in keys that a mask leaves out: their features are 0, or are when relative to those of any other key. */
export function unseenKey({ kind, featureMap, headDim, scale, storage }: AttentionShape): number {
  if (kind === "softmax" || featureMap === "relu" || featureMap === "dpfp") return 0;
  if (storage === "f16") return LOWEST_HALF_KEY;
  // Of FAVOR+, −scale·|k|²/2 is what has to be low.
  return featureMap === "favor+" ? -(2 ** 58) / Math.sqrt(headDim * Math.max(1, scale)) : LOWEST_KEY;
}

/** The gradient of an attention whose tensors are float32. */
export function attentionGradientSpec(spec: AttentionSpec): AttentionGradientSpec {
  return Object.freeze({ ...spec, operation: "attentionGradient" });
}

function checkFeatureMap(caller: string, kind: "linear" | "softmax", given: unknown): FeatureMap | undefined {
  if (kind === "linear") return checkEnum(caller, "options.featureMap", given, ["sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"]);
  if (given === undefined) return undefined;
  throw refuse("value", caller, "options.featureMap", 'left out with kind: "softmax"', given);
}

const MAX_SEED = 2 ** 32 - 1;

function checkRandomFeatures(
  caller: string,
  featureMap: FeatureMap | undefined,
  given: RandomFeatures | undefined,
  headDim: number,
): { readonly count: number; readonly seed: number } {
  if (featureMap !== "favor+") {
    if (given === undefined) return { count: headDim, seed: 0 };
    throw refuse("value", caller, "options.randomFeatures", 'left out without featureMap: "favor+"', given);
  }
  const { count, seed = 0 } = checkOptions(caller, "options.randomFeatures", given ?? {}, ["count", "seed"]);
  if (!Number.isInteger(seed) || seed < 0 || seed > MAX_SEED) {
    throw refuse("value", caller, "options.randomFeatures.seed", `an integer from 0 to ${MAX_SEED}`, seed);
  }
  const usual = Math.max(headDim, Math.ceil(headDim * Math.log(headDim)));
  return { count: checkSize(caller, "options.randomFeatures.count", count ?? usual), seed };
}

function checkNu(caller: string, featureMap: FeatureMap | undefined, given: number | undefined, headDim: number): number {
  const most = 2 * headDim - 1;
  if (featureMap === "dpfp") {
    const nu: unknown = given ?? 1;
    if (typeof nu === "number" && Number.isInteger(nu) && nu >= 1 && nu <= most) return nu;
    throw refuse("value", caller, "options.nu", `an integer from 1 to ${most}, 2·headDim − 1`, given);
  }
  if (given === undefined) return 1;
  throw refuse("value", caller, "options.nu", 'left out without featureMap: "dpfp"', given);
}

function checkScale(caller: string, scaled: boolean, given: number | undefined, headDim: number): number {
  if (!scaled) {
    if (given === undefined) return 1;
    throw refuse("value", caller, "options.scale", 'left out, but with kind: "softmax" or featureMap: "favor+"', given);
  }
  const asked: unknown = given ?? 1 / Math.sqrt(headDim);
  const scale = typeof asked === "number" ? Math.fround(asked) : NaN;
  if (Number.isFinite(scale) && scale > 0) return scale;
  throw refuse("value", caller, "options.scale", "a positive float32", given);
}

function checkWindow(caller: string, kind: "linear" | "softmax", { length, grid }: RelativePositions, given: number | undefined): number | undefined {
  if (given === undefined) return undefined;
  if (kind !== "softmax") throw refuse("value", caller, "options.window", 'left out, but with kind: "softmax"', given);
  if (grid) throw refuse("value", caller, "options.window", "left out on a grid, which has no order", given);
  const window = checkSize(caller, "options.window", given);
  return window < length ? window : undefined;
}

/** The keys of cross-attention, and the form of the weights of its bias. */
function checkKeyLength(
  caller: string,
  options: AttentionOptions,
  { length, form }: RelativePositions,
  bias: BiasKind,
): Pick<AttentionShape, "keyLength" | "form"> | undefined {
  if (options.keyLength === undefined) return undefined;
  const argument = "options.keyLength";
  const keyLength = checkSize(caller, argument, options.keyLength);
  if (keyLength === length && !options.grid) return undefined;
  const conflict =
    (["grid", "outside", "causal", "window", "variableLengths", "biasLength"] as const).find((name) => options[name]) ??
    (bias === "multiplicative" && "bias");
  if (conflict) {
    const remedy = conflict === "variableLengths" ? "A keyMask can leave out keys beyond a length." : "";
    throw refuse("value", caller, argument, `left out, or the length, with options.${conflict}`, keyLength, remedy);
  }
  if (bias === "none") return { keyLength };
  const { symmetric = false } = form ?? {};
  const reach = [Math.max(length, keyLength)];
  return { keyLength, form: Object.freeze({ symmetric, separable: undefined, reach, between: [length, keyLength] as const }) };
}

function checkKeyHeads(caller: string, given: number | undefined, heads: number): Pick<AttentionShape, "keyHeads"> | undefined {
  if (given === undefined) return undefined;
  const keyHeads = checkSize(caller, "options.keyHeads", given);
  if (heads % keyHeads !== 0) throw refuse("value", caller, "options.keyHeads", `a divisor of the ${heads} heads`, keyHeads);
  return keyHeads === heads ? undefined : { keyHeads };
}

function checkMultiplicative(
  caller: string,
  kind: "linear" | "softmax",
  featureMap: FeatureMap | undefined,
  storage: "f32" | "f16",
  layout: AttentionLayout,
): void {
  const conflicts = [
    kind === "softmax" && 'kind: "softmax"',
    featureMap === "softmax" && 'featureMap: "softmax"',
    storage === "f16" && 'storage: "f16"',
    layout !== "bhnd" && `layout: "${layout}"`,
  ];
  const why = conflicts.find((conflict) => conflict !== false);
  if (why === undefined) return;
  throw new FastRpbError("unavailable", `${caller}: options.bias = "multiplicative" does not go with ${why}; use "fastrpb", or change that.`);
}

/** @param both whether there are lengths and a mask: with the weights, the gradient would take more than 8 storage buffers of a kernel */
function checkLogits(caller: string, kind: "linear" | "softmax", both: boolean): void {
  const whys = [
    kind === "linear" && 'kind: "linear"; use "multiplicative", or change that',
    both && "keyMask and variableLengths at once; let the mask leave out what lies beyond a length",
  ];
  const why = whys.find((given) => given !== false);
  if (why !== undefined) throw new FastRpbError("unavailable", `${caller}: options.bias = "logits" does not go with ${why}.`);
}

/** The Toeplitz product of an attention with a FastRPB bias: its weights times the values. */
export function biasSpec(spec: AttentionShape): ToeplitzSpec {
  const { batch, heads, length, grid, causal, form, outside, gridChannels, valueDim, variableLengths, storage } = spec;
  const positions = { length, grid, causal, form, outside, gridChannels };
  return Object.freeze({ operation: "toeplitz", batch, heads, ...positions, channels: valueDim, variableLengths, storage });
}
