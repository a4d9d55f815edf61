/** The normal distribution in float64. */

/** Where the continued fraction takes over from the series. */
const SERIES_END = 2.5;
/** Terms of the continued fraction that make it right to 1e-15 from there on. */
const FRACTION_TERMS = 60;

/** exp(−x²/2)/√(2π). */
export function normalDensity(x: number): number {
  return Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
}

/**
 * The distribution function Φ(x), with a small relative error also far below 0: by ½ + φ(x) Σ x^(2n+1)/(1·3·…·(2n+1)), and in the tails by
 * Q(x) = φ(x)/(x + 1/(x + 2/(x + 3/(x + …)))) (Abramowitz and Stegun, 26.2.11 and 26.2.14).
 */
export function normalDistribution(x: number): number {
  const t = Math.abs(x);
  if (!(t <= SERIES_END)) {
    let fraction = t;
    for (let n = FRACTION_TERMS; n > 0; n--) fraction = t + n / fraction;
    const tail = normalDensity(t) / fraction;
    return x < 0 ? tail : 1 - tail;
  }
  let sum = 0;
  for (let n = 0, term = x; sum + term !== sum; n++, term *= (x * x) / (2 * n + 1)) sum += term;
  return 0.5 + normalDensity(x) * sum;
}
