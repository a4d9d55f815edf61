import { nextSmooth } from "../smooth.ts";
import { float64Array } from "../memory.ts";
import { writeRoot } from "../roots.ts";
import type { InPlace } from "./smooth.ts";

/**
 * A transform of any length as a convolution (Bluestein 1970): with kn = (k² + n² − (k − n)²)/2 and the chirp c_n = exp(−πi n²/N),
 * X_k = c_k Σ_n (x_n c_n) conj(c_{k−n}).
 *
 * @param smooth gives the transform of the convolution
 */
export function createBluestein(length: number, smooth: (length: number) => InPlace): InPlace {
  const period = nextSmooth(2 * length - 1);
  const convolve = smooth(period);
  const chirp = float64Array("fft", 2 * length);
  const kernel = float64Array("fft", 2 * period);
  // n² mod 2N by n² = (n − 1)² + 2n − 1: the square itself would lose its last digits.
  let square = 0;
  for (let n = 0; n < length; n++) {
    writeRoot(chirp, 2 * n, square, 2 * length);
    square += 2 * n + 1;
    if (square >= 2 * length) square -= 2 * length;
    for (const at of n === 0 ? [0] : [2 * n, 2 * (period - n)]) {
      kernel[at] = chirp[2 * n]! / period;
      kernel[at + 1] = -chirp[2 * n + 1]! / period;
    }
  }
  convolve(kernel, 0);
  const sequence = float64Array("fft", 2 * period);
  return (data, part) => {
    sequence.fill(0, 2 * length);
    multiply(sequence, data, part, chirp);
    convolve(sequence, 0);
    multiply(sequence, sequence, 0, kernel);
    convolve(sequence, 1);
    for (let at = 0; at < 2 * length; at += 2) {
      const re = sequence[at]!;
      const im = sequence[at + 1]!;
      data[at + part] = re * chirp[at]! - im * chirp[at + 1]!;
      data[(at + part) ^ 1] = re * chirp[at + 1]! + im * chirp[at]!;
    }
  };
}

/** target = a · b for all of `b`; `part` tells which float of a pair of `a` is the real one. */
function multiply(target: Float64Array, a: Float64Array, part: number, b: Float64Array): void {
  for (let at = 0; at < b.length; at += 2) {
    const ar = a[at + part]!;
    const ai = a[(at + part) ^ 1]!;
    const br = b[at]!;
    const bi = b[at + 1]!;
    target[at] = ar * br - ai * bi;
    target[at + 1] = ar * bi + ai * br;
  }
}
