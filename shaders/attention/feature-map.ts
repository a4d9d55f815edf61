/**
 * Feature maps of linear attention, and the state that keys and values are reduced to.
 *
 * SIKF: φ(x) = exp(x). The result of an attention does not change when all keys' feature d is divided by exp(m_d) and the query's
 * feature d multiplied by it, nor when all features of one query share a factor, so with m_d = max_j k_jd
 *   φ(k_jd) → exp(k_jd − m_d) ≤ 1   and   φ(q_id) → exp(q_id + m_d − r_i),   r_i ≈ max_e(q_ie + m_e),
 * nothing overflows and the denominator stays above exp(−1). q + m is added in whole and fractional parts, because the rounding of a
 * large sum would go through exp as a relative error; any r_i near the maximum serves, so it is that of the whole parts.
 *
 * elu+1 (Katharopoulos et al. 2020): φ(x) = x + 1 for x > 0, exp(x) otherwise. relu: max(x, 0). Both are relative to powers of two in the same way, which
 * rounds nothing: with 2^m_d as large as the largest φ(k_jd), φ(k_jd) → φ(k_jd)·2^−m_d and φ(q_id) → φ(q_id)·2^(m_d − r_i). So features may be from
 * 1e-38 to 1e38, or exponentials of numbers far below −90, and the denominator is about 1 or more, or 0 where nothing is seen.
 *
 * The others are these of other rows: random features are projected first (attention/random-features.ts), and then SIKF; those of DPFP are made first
 * (attention/dpfp.ts), and then ReLU; Efficient Attention is SIKF that divides the key state by its sums (attention/linear/combine.ts).
 */
import { EXPONENTIAL, EXPONENTIAL4, POWERS4, SMALLEST_NORMAL, SPLIT_EXPONENTIAL4 } from "../wgsl/exponential.ts";
import { paddedToVec4 } from "../wgsl/kernel.ts";
import { f32, LOWEST, u32, wgsl } from "../wgsl/wgsl.ts";

/** The feature maps that kernels compute; all others are one of these of other rows. */
export type KernelFeatureMap = "sikf" | "elu+1" | "relu";

/** `fn feature4(x)`, φ of four numbers, after {@link EXPONENTIAL4}, where it needs that; of SIKF, whose φ is relative to references, only that. */
export function featureFunctions(featureMap: KernelFeatureMap): string {
  if (featureMap === "sikf") return EXPONENTIAL4;
  if (featureMap === "relu") return "\nfn feature4(x: vec4f) -> vec4f { return max(x, vec4f()); }\n";
  return wgsl`${EXPONENTIAL4}
fn feature4(x: vec4f) -> vec4f {
  return select(exponential4(min(x, vec4f())), x + 1.0, x > vec4f());
}
`;
}

/** Below this, exponentials of elu+1 are as if they were of it. */
const LEAST_EXPONENT = -(2 ** 14);

/**
 * WGSL functions of the features of rows that are relative to references. Of SIKF they are those of {@link EXPONENTIAL4}. Of the others
 * `fn feature_exponent4(x)`, the whole number n with φ(x) about 2^n, the lowest float32 where φ is 0, and `fn relative_feature4(x, n)`, φ(x)·2^n.
 */
export function relativeFunctions(featureMap: KernelFeatureMap): string {
  if (featureMap === "sikf") return EXPONENTIAL4;
  if (featureMap === "relu") {
    return wgsl`${POWERS4}
fn feature_exponent4(x: vec4f) -> vec4f { return select(vec4f(${LOWEST}), exponent4(x), x >= vec4f(${f32(SMALLEST_NORMAL)})); }
fn relative_feature4(x: vec4f, n: vec4f) -> vec4f { return times_power4(x, n); }
`;
  }
  return wgsl`${POWERS4}
fn feature_exponent4(x: vec4f) -> vec4f {
  return select(round(max(x, vec4f(${f32(LEAST_EXPONENT)})) * ${f32(Math.LOG2E)}), exponent4(x + 1.0), x > vec4f());
}

fn relative_feature4(all: vec4f, power: vec4f) -> vec4f {
  let x = clamp(all, vec4f(${f32(LEAST_EXPONENT)}), vec4f());
${SPLIT_EXPONENTIAL4}
  return times_power4(select(p, all + 1.0, all > vec4f()), power + n);
}
`;
}

/** WGSL expression, a vec4f, of what the maxima of a {@link KeyStateLayout} are taken of: of SIKF the numbers themselves. It needs {@link relativeFunctions}. */
export function featureSize(featureMap: KernelFeatureMap, x: string): string {
  return featureMap === "sikf" ? x : `feature_exponent4(${x})`;
}

/** WGSL expression of φ(x) relative to `size`, a vec4f that {@link featureSize} is not above. It needs {@link relativeFunctions}. */
export function featureBelow(featureMap: KernelFeatureMap, x: string, size: string): string {
  return featureMap === "sikf" ? `exponential4(${x} - ${size})` : `relative_feature4(${x}, -${size})`;
}

/** The reference of a row that sees no key with its features, of maps other than SIKF: beside it every number is 0, and no maximum over rows is its. */
export const UNSEEING = f32(2 ** 15);

/** WGSL expression of φ(x)·2^n for {@link featureSlope}, which must know it from 0 also where it is less than a float. */
export function slopedFeature(featureMap: Exclude<KernelFeatureMap, "sikf">, x: string, n: string): string {
  const feature = `relative_feature4(${x}, ${n})`;
  return featureMap === "relu" ? `max(${feature}, select(vec4f(), vec4f(${f32(SMALLEST_NORMAL)}), ${x} > vec4f()))` : feature;
}

/** WGSL expression of the factor between features whose sizes differ by `difference`, a vec4f that is not above 0. It needs {@link relativeFunctions}. */
export function sizeFactor(featureMap: KernelFeatureMap, difference: string): string {
  return featureMap === "sikf" ? `exponential4(${difference})` : `times_power4(vec4f(1.0), ${difference})`;
}

/** The same of one number, and the functions that it needs. */
export function scalarSizeFactor(featureMap: KernelFeatureMap) {
  return featureMap === "sikf"
    ? { functions: EXPONENTIAL, factor: (difference: string) => `exponential(${difference})` }
    : { functions: POWERS4, factor: (difference: string) => `${sizeFactor(featureMap, `vec4f(${difference})`)}.x` };
}

/**
 * WGSL expression of φ′ from that of φ, both vec4f: a derivative needs no more than the feature itself. Where features are φ·2^n, `n` is the WGSL
 * expression of that power, and so is the derivative.
 */
export function featureSlope(featureMap: KernelFeatureMap, feature: string, n: string): string {
  if (featureMap === "sikf") return feature;
  const one = `times_power4(vec4f(1.0), min(${n}, vec4f(127.0)))`;
  return featureMap === "relu" ? `select(vec4f(), ${one}, ${feature} > vec4f())` : `min(${feature}, ${one})`;
}

/** A vec4f in WGSL as its whole numbers and the rest. */
interface WholeAndRest {
  readonly whole: string;
  readonly rest: string;
}

/** WGSL expressions of the whole numbers in a vec4f, and of the rest. */
export function wholeAndRest(x: string, whole = `round(${x})`): WholeAndRest {
  return { whole, rest: `(${x} - ${whole})` };
}

/** Statements that take a vec4f `maximum` apart into {@link MAXIMUM}. */
export function takeMaximum(maximum: string): string {
  return `    let maximum = ${maximum};
    let whole_maximum = round(maximum);
    let rest = maximum - whole_maximum;`;
}

/** The maximum that {@link takeMaximum} takes apart. */
export const MAXIMUM: WholeAndRest = { whole: "whole_maximum", rest: "rest" };

/** WGSL expression of exp(x + y − reference), the sum in whole and fractional parts: how SIKF takes all sums. It needs {@link EXPONENTIAL4}. */
export function exponentialOfSum(x: WholeAndRest, y: WholeAndRest, reference: string): string {
  return `exponential4((${x.whole} + ${y.whole} - ${reference}) + (${x.rest} + ${y.rest}))`;
}

/**
 * Layout of a key state, the sums over keys for one head: [m: D′], [z: D′], [s: D × E′], with D′ and E′ the dimensions
 * rounded up to 4. z_d = Σ_j φ(k_jd), s_de = Σ_j φ(k_jd) v_je, both relative to exp(m_d), or 2^m_d.
 */
export interface KeyStateLayout {
  /** Where z begins, in floats. */
  readonly sum: number;
  /** Where s begins, in floats. */
  readonly products: number;
  /** Floats from one row of s to the next, E′. */
  readonly stride: number;
  /** Floats in all. */
  readonly size: number;
}

/** Where everything is in a key state of these dimensions. */
export function keyStateLayout(headDim: number, valueDim: number): KeyStateLayout {
  const head = paddedToVec4(headDim);
  const stride = paddedToVec4(valueDim);
  return { sum: head, products: 2 * head, stride, size: 2 * head + headDim * stride };
}

/** WGSL constants of a {@link KeyStateLayout}: STATE, its size, and where in it STATE_SUM and STATE_PRODUCTS begin. */
export function keyStateConstants(layout: KeyStateLayout): string {
  return wgsl`const STATE = ${u32(layout.size)};
const STATE_SUM = ${u32(layout.sum)};
const STATE_PRODUCTS = ${u32(layout.products)};
const STATE_STRIDE = ${u32(layout.stride)};
`;
}

/** Key states of a sequence in chunks: runs of rows that have a state each. */
export interface ChunkedStates {
  readonly state: KeyStateLayout;
  /** Rows of a chunk; fewer in the last one. */
  readonly chunkRows: number;
  /** Chunks of a head. */
  readonly chunks: number;
}

/** WGSL constants of {@link ChunkedStates}, besides those of their layout. */
export function chunkConstants({ chunks, chunkRows }: Omit<ChunkedStates, "state">): string {
  return `const CHUNKS = ${u32(chunks)};
const CHUNK_ROWS = ${u32(chunkRows)};`;
}
