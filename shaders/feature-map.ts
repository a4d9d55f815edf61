/**
 * Feature maps of linear attention.
 *
 * SIKF: φ(x) = exp(x). The result of an attention does not change when all keys' feature d is divided by exp(m_d) and the query's
 * feature d multiplied by it, nor when all features of one query share a factor, so with m_d = max_j k_jd
 *   φ(k_jd) → exp(k_jd − m_d) ≤ 1   and   φ(q_id) → exp(q_id + m_d − r_i),   r_i ≈ max_e(q_ie + m_e),
 * nothing overflows and the denominator stays above exp(−1). q + m is added in whole and fractional parts, because the rounding of a
 * large sum would go through exp as a relative error; any r_i near the maximum serves, so it is that of the whole parts.
 *
 * elu+1 (Katharopoulos et al. 2020): φ(x) = x + 1 for x > 0, exp(x) otherwise.
 */
import { f32, range, u32, wgsl } from "./wgsl.ts";

/** ln 2 in two parts; the first has 9 significant bits, so its product with an exponent is exact. */
const LN2_HIGH = 0.693359375;
const LN2_LOW = Math.LN2 - LN2_HIGH;
/** Below this exp(x) is not a normal float32. */
const SMALLEST_EXPONENT = -87;

/** Taylor coefficients 1/7!, …, 1/0!: on |r| ≤ ln2/2 the first one left out is 5e-9. */
const COEFFICIENTS = range(8)
  .reverse()
  .map((n) => 1 / range(n).reduce((product, i) => product * (i + 1), 1));

/**
 * `fn exponential(x)` for x ≤ 1: exp by range reduction, to about one unit in the last place; exactly 0 below exp(−87). WGSL's own exp
 * may be off by 3 + 2|x| units, which is more than the sums after it.
 */
export const EXPONENTIAL = wgsl`
fn exponential(x: f32) -> f32 {
  let n = round(x * ${f32(Math.LOG2E)});
  let r = fma(n, ${f32(-LN2_LOW)}, fma(n, ${f32(-LN2_HIGH)}, x));
  var p = ${f32(COEFFICIENTS[0]!)};
${COEFFICIENTS.slice(1)
  .map((c) => `  p = fma(p, r, ${f32(c)});`)
  .join("\n")}
  return select(ldexp(p, i32(n)), 0.0, x < ${f32(SMALLEST_EXPONENT)});
}
`;

export const ELU_PLUS_ONE = wgsl`
fn elu_plus_one(x: f32) -> f32 {
  return select(exponential(min(x, 0.0)), x + 1.0, x > 0.0);
}
`;

/** Leading floats of a key state: room for `headDim` values at a multiple of 4, so that the rows after it can be read as vec4f. */
export function paddedToVec4(n: number): number {
  return 4 * Math.ceil(n / 4);
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
