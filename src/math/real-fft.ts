import type { Fft, FftOf } from "./fft.ts";
import { float64Array } from "./memory.ts";
import { writeRoot } from "./roots.ts";

/** A float64 transform of N real numbers and its inverse, both unscaled and in place. */
export interface RealFft {
  readonly length: number;
  /** `line`: 2⌊N/2⌋ + 2 floats, of which the first N are x; overwritten with X_0 … X_⌊N/2⌋, interleaved. */
  forward(line: Float64Array): void;
  /** The other way round. The imaginary parts of X_0 and, for even N, of X_N/2 count as zero. */
  inverse(line: Float64Array): void;
}

/** @param fftOf gives complex transforms; they may be shared, as they run one at a time */
export function createRealFft(length: number, fftOf: FftOf): RealFft {
  return length % 2 === 0 ? createEven(length, fftOf(length / 2)) : createOdd(length, fftOf(length));
}

/**
 * Even and odd x as the parts of a sequence z of half the length. With E and O their transforms and w = exp(−2πi/N): Z_k = E_k + i O_k,
 * X_k = E_k + w^k O_k and, as x is real, conj(X_{N/2−k}) = E_k − w^k O_k.
 */
function createEven(length: number, fft: Fft): RealFft {
  const half = length / 2;
  const z = float64Array("fft", length);
  const roots = float64Array("fft", 2 * (half + 1));
  for (let k = 0; k <= half; k++) writeRoot(roots, 2 * k, k, length);
  return {
    length,
    forward(line) {
      for (let at = 0; at < length; at++) z[at] = line[at]!;
      fft.transform(z, "forward");
      for (let k = 0; k <= half; k++) {
        const low = 2 * (k === half ? 0 : k);
        const high = 2 * (k === 0 ? 0 : half - k);
        const er = (z[low]! + z[high]!) / 2;
        const ei = (z[low + 1]! - z[high + 1]!) / 2;
        const or = (z[low + 1]! + z[high + 1]!) / 2;
        const oi = (z[high]! - z[low]!) / 2;
        const wr = roots[2 * k]!;
        const wi = roots[2 * k + 1]!;
        line[2 * k] = er + or * wr - oi * wi;
        line[2 * k + 1] = ei + or * wi + oi * wr;
      }
    },
    inverse(line) {
      line[1] = 0;
      line[length + 1] = 0;
      for (let k = 0; k < half; k++) {
        const low = 2 * k;
        const high = 2 * (half - k);
        const er = line[low]! + line[high]!;
        const ei = line[low + 1]! - line[high + 1]!;
        const dr = line[low]! - line[high]!;
        const di = line[low + 1]! + line[high + 1]!;
        const wr = roots[low]!;
        const wi = -roots[low + 1]!;
        z[low] = er - (dr * wi + di * wr);
        z[low + 1] = ei + (dr * wr - di * wi);
      }
      fft.transform(z, "inverse");
      for (let at = 0; at < length; at++) line[at] = z[at]!;
    },
  };
}

function createOdd(length: number, fft: Fft): RealFft {
  const half = (length - 1) / 2;
  const full = float64Array("fft", 2 * length);
  return {
    length,
    forward(line) {
      for (let n = 0; n < length; n++) {
        full[2 * n] = line[n]!;
        full[2 * n + 1] = 0;
      }
      fft.transform(full, "forward");
      for (let at = 0; at < 2 * (half + 1); at++) line[at] = full[at]!;
      // But for rounding it is that already.
      line[1] = 0;
    },
    inverse(line) {
      full[0] = line[0]!;
      full[1] = 0;
      for (let k = 1; k <= half; k++) {
        full[2 * k] = line[2 * k]!;
        full[2 * k + 1] = line[2 * k + 1]!;
        full[2 * (length - k)] = line[2 * k]!;
        full[2 * (length - k) + 1] = -line[2 * k + 1]!;
      }
      fft.transform(full, "inverse");
      for (let n = 0; n < length; n++) line[n] = full[2 * n]!;
    },
  };
}
