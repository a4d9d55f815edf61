/**
 * Feature maps of linear attention.
 *
 * SIKF: φ(x) = exp(x). The result of an attention does not change when all keys' feature d is divided by exp(m_d) and the query's
 * feature d multiplied by it, nor when all features of one query share a factor, so with m_d = max_j k_jd
 *   φ(k_jd) → exp(k_jd − m_d) ≤ 1   and   φ(q_id) → exp(q_id + m_d − r_i),   r_i ≈ max_e(q_ie + m_e),
 * nothing overflows and the denominator stays above exp(−1). q + m is added in whole and fractional parts, because the rounding of a
 * large sum would go through exp as a relative error; any r_i near the maximum serves, so it is that of the whole parts.
 *
 * elu+1 (Katharopoulos et al. 2020): φ(x) = x + 1 for x > 0, exp(x) otherwise. relu: max(x, 0).
 *
 * The others are SIKF of other rows: random features are projected first (random-features.ts), and Efficient Attention divides the key
 * state by its sums (linear-attention-combine.ts).
 */
import { paddedToVec4 } from "../wgsl/kernel.ts";
import { f32, range, u32, wgsl } from "../wgsl/wgsl.ts";

/** ln 2 in two parts; the first has 9 significant bits, so its product with an exponent is exact. */
const LN2_HIGH = 0.693359375;
const LN2_LOW = Math.LN2 - LN2_HIGH;
/** Below this exp(x) is not a normal float32. */
const SMALLEST_EXPONENT = -87;

/** Taylor coefficients 1/7!, …, 1/0!: on |r| ≤ ln2/2 the first one left out is 5e-9. */
const COEFFICIENTS = range(8)
  .reverse()
  .map((n) => 1 / range(n).reduce((product, i) => product * (i + 1), 1));

/** Added to an integer below 2^22, leaves it in the low bits of the float. */
const INTEGER_BITS = 1.5 * 2 ** 23;

/**
 * `fn exponential(x)` for x ≤ 1: exp by range reduction, to about one unit in the last place; exactly 0 below exp(−87). WGSL's own exp
 * may be off by 3 + 2|x| units, which is more than the sums after it.
 */
function exponential(name: string, float: "f32" | "vec4f", unsigned: "u32" | "vec4u"): string {
  const constant = (value: number) => `${float}(${f32(value)})`;
  return wgsl`
fn ${name}(x: ${float}) -> ${float} {
  let n = round(x * ${f32(Math.LOG2E)});
  let r = fma(n, ${constant(-LN2_LOW)}, fma(n, ${constant(-LN2_HIGH)}, x));
  var p = ${constant(COEFFICIENTS[0]!)};
${COEFFICIENTS.slice(1)
  .map((c) => `  p = fma(p, r, ${constant(c)});`)
  .join("\n")}
  // p·2^n, by n added to the exponent: ldexp and conversions to integers are slow on GPUs.
  let scaled = bitcast<${unsigned}>(p) + (bitcast<${unsigned}>(n + ${f32(INTEGER_BITS)}) << ${unsigned}(23u));
  return select(bitcast<${float}>(scaled), ${float}(), x < ${constant(SMALLEST_EXPONENT)});
}
`;
}

export const EXPONENTIAL = exponential("exponential", "f32", "u32");
/** `fn exponential4(x)`: of four numbers. */
export const EXPONENTIAL4 = exponential("exponential4", "vec4f", "vec4u");

/** The maps that kernels compute. */
export type KernelFeatureMap = "sikf" | "elu+1" | "relu";

/** `fn feature4(x)` of a map without references, and {@link EXPONENTIAL4}, which it may need; for SIKF only that. */
export function featureFunctions(featureMap: KernelFeatureMap): string {
  if (featureMap === "sikf") return EXPONENTIAL4;
  if (featureMap === "relu") return "\nfn feature4(x: vec4f) -> vec4f { return max(x, vec4f()); }\n";
  return wgsl`${EXPONENTIAL4}
fn feature4(x: vec4f) -> vec4f {
  return select(exponential4(min(x, vec4f())), x + 1.0, x > vec4f());
}
`;
}

/** φ′ in terms of φ, in WGSL: a derivative needs no more than the feature itself. */
export function featureSlope(featureMap: KernelFeatureMap, feature: string): string {
  if (featureMap === "sikf") return feature;
  return featureMap === "relu" ? `select(vec4f(), vec4f(1.0), ${feature} > vec4f())` : `min(${feature}, vec4f(1.0))`;
}

/**
 * Layout of a key state, the sums over keys for one head: [m: D′] (SIKF only), [z: D′], [s: D × E′], with D′ and E′ the dimensions
 * rounded up to 4. z_d = Σ_j φ(k_jd), s_de = Σ_j φ(k_jd) v_je, both relative to exp(m_d).
 */
export interface KeyStateLayout {
  readonly maximum: number | undefined;
  readonly sum: number;
  readonly products: number;
  /** E′ */
  readonly stride: number;
  /** Floats in all. */
  readonly size: number;
}

export function keyStateLayout(headDim: number, valueDim: number, shiftInvariant: boolean): KeyStateLayout {
  const head = paddedToVec4(headDim);
  const stride = paddedToVec4(valueDim);
  const sum = shiftInvariant ? head : 0;
  return { maximum: shiftInvariant ? 0 : undefined, sum, products: sum + head, stride, size: sum + head + headDim * stride };
}

export function keyStateConstants(layout: KeyStateLayout): string {
  return wgsl`const STATE = ${u32(layout.size)};
const STATE_SUM = ${u32(layout.sum)};
const STATE_PRODUCTS = ${u32(layout.products)};
const STATE_STRIDE = ${u32(layout.stride)};
`;
}
