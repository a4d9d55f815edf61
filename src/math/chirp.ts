/** Chirps: a transform of any length is a convolution with one. */
import { createFft } from "./fft.ts";

/** n² mod 2N for 0 ≤ n < N, without squares too large for a float64. */
export function* squares(points: number): Generator<number> {
  for (let n = 0, square = 0; n < points; n++) {
    yield square;
    square = (square + 2 * n + 1) % (2 * points);
  }
}

/**
 * Spectrum of exp(+iπn²/points), |n| < points, in a period a·b, divided by it: what a convolution with a chirp multiplies by (Bluestein 1970).
 *
 * @returns complex numbers; index k = k_a + a·k_b at [k_a, k_b]
 */
export function chirpSpectrum(points: number, [a, b]: readonly [number, number]): Float32Array {
  const period = a * b;
  const chirp = new Float64Array(2 * period);
  let n = 0;
  for (const square of squares(points)) {
    const angle = (Math.PI * square) / points;
    for (const at of [n, (period - n) % period]) {
      chirp[2 * at] = Math.cos(angle) / period;
      chirp[2 * at + 1] = Math.sin(angle) / period;
    }
    n++;
  }
  createFft(period).transform(chirp, "forward");
  const rows = new Float32Array(2 * period);
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) rows.set(chirp.subarray(2 * (i + a * j), 2 * (i + a * j) + 2), 2 * (i * b + j));
  }
  return rows;
}
