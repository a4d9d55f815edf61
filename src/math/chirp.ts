/** Chirps: a transform of any length is a convolution with one. */
import { writeRoot } from "./roots.ts";

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
    const [re, im] = [Math.cos(angle) / period, Math.sin(angle) / period];
    for (const at of [n, (period - n) % period]) {
      chirp[2 * at] = re;
      chirp[2 * at + 1] = im;
    }
    n++;
  }
  // Columns of a points, which stay in their places, times exp(−2πi·k_a·n_b/period), then rows of b points (Bailey 1990).
  const column = new Float64Array(2 * a);
  const turn = new Float64Array(2);
  const transformColumn = createTransform(a);
  for (let j = 0; j < b; j++) {
    for (let i = 0; i < 2 * a; i++) column[i] = chirp[2 * ((i >> 1) * b + j) + (i & 1)]!;
    const result = transformColumn(column);
    for (let i = 0; i < a; i++) {
      writeRoot(turn, 0, i * j, period);
      const at = 2 * (i * b + j);
      chirp[at] = result[2 * i]! * turn[0]! - result[2 * i + 1]! * turn[1]!;
      chirp[at + 1] = result[2 * i]! * turn[1]! + result[2 * i + 1]! * turn[0]!;
    }
  }
  const rows = new Float32Array(2 * period);
  const transformRow = createTransform(b);
  for (let start = 0; start < 2 * period; start += 2 * b) rows.set(transformRow(chirp.subarray(start, start + 2 * b)), start);
  return rows;
}

/**
 * X_k = Σ_n x_n exp(−2πi nk/N) for N without large prime factors; overwrites x and may return it. The plainest form of Stockham's algorithm:
 * tables are made once, and pages that compute on a GPU need not load the fast transforms of the CPU for them.
 */
function createTransform(points: number): (x: Float64Array) => Float64Array {
  const roots = new Float64Array(2 * points);
  for (let k = 0; k < points; k++) writeRoot(roots, 2 * k, k, points);
  const other = new Float64Array(2 * points);
  return (x) => {
    let [from, to]: [Float64Array, Float64Array] = [x, other];
    for (let before = 1, radix = 2; before < points; before *= radix) {
      radix = 2;
      while ((points / before) % radix !== 0) radix++;
      const blocks = points / (before * radix);
      let written = 0;
      for (let block = 0; block < blocks; block++) {
        for (let k = 0; k < before * radix; k++) {
          let re = 0;
          let im = 0;
          for (let r = 0, at = 2 * (block * before + (k % before)), turn = 0; r < radix; r++) {
            re += from[at]! * roots[turn]! - from[at + 1]! * roots[turn + 1]!;
            im += from[at]! * roots[turn + 1]! + from[at + 1]! * roots[turn]!;
            at += 2 * blocks * before;
            turn = (turn + 2 * k * blocks) % (2 * points);
          }
          to[written++] = re;
          to[written++] = im;
        }
      }
      [from, to] = [to, from];
    }
    return from;
  };
}
