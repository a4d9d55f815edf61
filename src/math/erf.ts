/** Of Gauss's error function what is left to 1: erfc(x) = 2/√π ∫ exp(−t²) from x on, to 1e-13 of itself. */
export function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x);
  return x < 2 ? 1 - erfOfSeries(x) : erfcOfFraction(x);
}

/** erf(x) = 2/√π exp(−x²) Σ 2ⁿ x^(2n+1) / (2n + 1)!!, whose terms have one sign (Abramowitz and Stegun 7.1.6). */
function erfOfSeries(x: number): number {
  let [term, sum] = [x, x];
  for (let n = 1; term > 1e-17 * sum; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** The continued fraction x + ½/(x + 1/(x + 3⁄2/(x + …))) below exp(−x²)/√π (Abramowitz and Stegun 7.1.14), from far inside. */
function erfcOfFraction(x: number): number {
  const TERMS = 120;
  let fraction = x;
  for (let n = TERMS; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}
