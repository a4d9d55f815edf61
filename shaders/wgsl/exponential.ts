/**
 * Exponentials and logarithms to about one unit in the last place. WGSL's own exp may be off by 3 + 2|x| units, and its log by 2⁻²¹, which is
 * more than the sums that they go into.
 */
import { f32, range, u32, unroll, wgsl } from "./wgsl.ts";

/** ln 2 in two terms; the first has 9 significant bits, so its product with an exponent is exact. */
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

/** Statements that leave in `p` the mantissa of exp of `sum`, whose range is reduced by `reduced`, and in `n` its whole power of two. */
function mantissa(float: "f32" | "vec4f", sum: string, reduced: string): string {
  const constant = (value: number) => `${float}(${f32(value)})`;
  return `  let n = round((${sum}) * ${f32(Math.LOG2E)});
  let r = ${reduced.replaceAll("HIGH", constant(-LN2_HIGH)).replaceAll("LOW", constant(-LN2_LOW))};
  var p = ${constant(COEFFICIENTS[0]!)};
${unroll(COEFFICIENTS.slice(1), (c) => `  p = fma(p, r, ${constant(c)});`)}`;
}

/** A function `name` of the parameters `parameters`: exp of `sum`, whose range is reduced by `reduced`, from the whole number n. */
function exponential(name: string, float: "f32" | "vec4f", [parameters, sum, reduced]: readonly [parameters: string, sum: string, reduced: string]) {
  const unsigned = float === "f32" ? "u32" : "vec4u";
  return wgsl`
fn ${name}(${parameters}) -> ${float} {
${mantissa(float, sum, reduced)}
  // p·2^n, by n added to the exponent: ldexp and conversions to integers are slow on GPUs.
  let scaled = bitcast<${unsigned}>(p) + (bitcast<${unsigned}>(n + ${f32(INTEGER_BITS)}) << ${unsigned}(23u));
  return select(bitcast<${float}>(scaled), ${float}(), ${sum} < ${float}(${f32(SMALLEST_EXPONENT)}));
}
`;
}

const OF_X = ["x", "fma(n, LOW, fma(n, HIGH, x))"] as const;
/** `fn exponential(x: f32)`: exp(x) for x ≤ 1, by range reduction; exactly 0 below exp(−87). */
export const EXPONENTIAL = exponential("exponential", "f32", ["x: f32", ...OF_X]);
/** `fn exponential4(x: vec4f)`: exp of four numbers, each as in {@link EXPONENTIAL}. */
export const EXPONENTIAL4 = exponential("exponential4", "vec4f", ["x: vec4f", ...OF_X]);
const OF_PARTS = ["whole + rest", "fma(n, LOW, fma(n, HIGH, whole) + rest)"] as const;
/**
 * `fn exponential_of_parts4(whole: vec4f, rest: vec4f)`: exp(whole + rest) of four whole numbers, or multiples of 2⁻¹⁷, and what is left, |rest| ≤ 1,
 * for sums ≤ 87. The sum is not rounded where it counts, so a large result is as good as one near 1.
 */
export const EXPONENTIAL_OF_PARTS4 = exponential("exponential_of_parts4", "vec4f", ["whole: vec4f, rest: vec4f", ...OF_PARTS]);
/** `fn exponential_of_parts(whole: f32, rest: f32)`: the same of one. */
export const EXPONENTIAL_OF_PARTS = exponential("exponential_of_parts", "f32", ["whole: f32, rest: f32", ...OF_PARTS]);

/**
 * Statements that leave in `p` the mantissa of exp of four numbers x, |x| below 2^15, and in `n` its whole power of two: exp(x) = p·2^n. Mesa takes
 * n·HIGH + n·LOW for n·ln 2, which it rounds, unless one of the two n comes out of bits: here of some that n + 1.5·2^23 has anyway.
 */
export const SPLIT_EXPONENTIAL4 = mantissa(
  "vec4f",
  "x",
  `fma(bitcast<vec4f>(bitcast<vec4u>(n + ${f32(INTEGER_BITS)}) | vec4u(${u32(0x4b000000)})) - ${f32(INTEGER_BITS)}, LOW, fma(n, HIGH, x))`,
);

/** The smallest normal float32. */
export const SMALLEST_NORMAL = 2 ** -126;

/**
 * Powers of two, of normal numbers that are not negative: `fn exponent4(x: vec4f)`, the whole numbers n with 2^n ≤ x < 2^(n+1), and
 * `fn times_power4(x: vec4f, n: vec4f)`, x·2^n of products below 2^128; 0 where x or the product is below the normal numbers.
 * Neither rounds anything.
 */
export const POWERS4 = wgsl`
fn exponent4(x: vec4f) -> vec4f {
  return bitcast<vec4f>((bitcast<vec4u>(x) >> vec4u(23u)) | vec4u(${u32(0x4b000000)})) - vec4f(${f32(2 ** 23 + 127)});
}

fn times_power4(x: vec4f, n: vec4f) -> vec4f {
  let power = bitcast<vec4u>(clamp(n, vec4f(-256.0), vec4f(255.0)) + vec4f(${f32(INTEGER_BITS)})) << vec4u(23u);
  let product = bitcast<vec4i>(bitcast<vec4u>(x) + power);
  return select(vec4f(), bitcast<vec4f>(product), (product >= vec4i(${0x00800000})) & (x >= vec4f(${f32(SMALLEST_NORMAL)})));
}
`;

/** Bits of √½: numbers from there to √2 have the exponent 0. */
const HALF_ROOT = 0x3f3504f3;

/** `fn logarithm4(x: vec4f)`: log of normal numbers, by 2 atanh((f − 1)/(f + 1)) for f between √½ and √2. */
export const LOGARITHM4 = wgsl`
fn logarithm4(x: vec4f) -> vec4f {
  let bits = bitcast<vec4u>(x) - ${u32(HALF_ROOT)};
  let exponent = vec4f(bitcast<vec4i>(bits) >> vec4u(23u));
  let f = bitcast<vec4f>((bits & vec4u(${u32(2 ** 23 - 1)})) + ${u32(HALF_ROOT)});
  let s = (f - 1.0) / (f + 1.0);
  let square = s * s;
  var p = vec4f(${f32(2 / 9)});
${unroll([7, 5, 3], (n) => `  p = fma(p, square, vec4f(${f32(2 / n)}));`)}
  let small = fma(p * square, s, fma(exponent, vec4f(${f32(LN2_LOW)}), 2.0 * s));
  return fma(exponent, vec4f(${f32(LN2_HIGH)}), small);
}
`;
