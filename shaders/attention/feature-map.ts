/**
 * Feature maps of linear attention, and the state that keys and values are reduced to.
 *
 * SIKF: φ(x) = exp(x). The result of an attention does not change when all keys' feature d is divided by exp(m_d) and the query's
 * feature d multiplied by it, nor when all features of one query share a factor, so with m_d = max_j k_jd
 *   φ(k_jd) → exp(k_jd − m_d) ≤ 1   and   φ(q_id) → exp(q_id + m_d − r_i),   r_i ≈ max_e(q_ie + m_e),
 * nothing overflows and the denominator stays above exp(−1). q + m is added in whole and fractional parts, because the rounding of a
 * large sum would go through exp as a relative error; any r_i near the maximum serves, so it is that of the whole parts.
 *
 * elu+1 (Katharopoulos et al. 2020): φ(x) = x + 1 for x > 0, exp(x) otherwise. relu: max(x, 0).
 *
 * The others are these of other rows: random features are projected first (attention/random-features.ts), and then SIKF; those of DPFP are made first
 * (attention/dpfp.ts), and then ReLU; Efficient Attention is SIKF that divides the key state by its sums (attention/linear/combine.ts).
 */
import { EXPONENTIAL4 } from "../wgsl/exponential.ts";
import { paddedToVec4 } from "../wgsl/kernel.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

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

/** WGSL expression of φ′ from that of φ, both vec4f: a derivative needs no more than the feature itself. */
export function featureSlope(featureMap: KernelFeatureMap, feature: string): string {
  if (featureMap === "sikf") return feature;
  return featureMap === "relu" ? `select(vec4f(), vec4f(1.0), ${feature} > vec4f())` : `min(${feature}, vec4f(1.0))`;
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
 * Layout of a key state, the sums over keys for one head: [m: D′] (SIKF only), [z: D′], [s: D × E′], with D′ and E′ the dimensions
 * rounded up to 4. z_d = Σ_j φ(k_jd), s_de = Σ_j φ(k_jd) v_je, both relative to exp(m_d).
 */
export interface KeyStateLayout {
  /** Where m begins, in floats. */
  readonly maximum: number | undefined;
  /** Where z begins, in floats. */
  readonly sum: number;
  /** Where s begins, in floats. */
  readonly products: number;
  /** Floats from one row of s to the next, E′. */
  readonly stride: number;
  /** Floats in all. */
  readonly size: number;
}

/** Where everything is in a key state of these dimensions; one with maxima if it is `shiftInvariant`, for SIKF. */
export function keyStateLayout(headDim: number, valueDim: number, shiftInvariant: boolean): KeyStateLayout {
  const head = paddedToVec4(headDim);
  const stride = paddedToVec4(valueDim);
  const sum = shiftInvariant ? head : 0;
  return { maximum: shiftInvariant ? 0 : undefined, sum, products: sum + head, stride, size: sum + head + headDim * stride };
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
