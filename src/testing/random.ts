/** Seeded random numbers and the error measure of every test. A test names its seed in the message of a failure. */

import { random } from "../math/random.ts";

export { random };

/** `n` standard normal numbers (Box–Muller), rounded to float32. */
export function normals(seed: number, n: number): Float32Array {
  const uniform = random(seed);
  const result = new Float32Array(n);
  for (let i = 0; i < n; i += 2) {
    // 1 − u lies in (0, 1], so that the logarithm is finite.
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    result[i] = radius * Math.cos(angle);
    if (i + 1 < n) result[i + 1] = radius * Math.sin(angle);
  }
  return result;
}

/**
 * ‖actual − expected‖ / ‖expected‖, in float64. Where `expected` is all zeros: 0 if `actual` is too, else Infinity.
 * NaN where either holds one, so that `toBeLessThan` fails.
 */
export function relativeL2(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) {
    throw new RangeError(`relativeL2: ${actual.length} numbers against ${expected.length}`);
  }
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / norm);
}
