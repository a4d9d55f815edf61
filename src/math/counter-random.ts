/** Random words without a state: each by what it is for, so that they come in any order and on any device the same. */

export type FourWords = readonly [number, number, number, number];

/** Four random words, as unsigned integers, of four that count (Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020). */
export function pcg4d(a: number, b: number, c: number, d: number): FourWords {
  const { imul } = Math;
  let x = (imul(a, 1664525) + 1013904223) | 0;
  let y = (imul(b, 1664525) + 1013904223) | 0;
  let z = (imul(c, 1664525) + 1013904223) | 0;
  let w = (imul(d, 1664525) + 1013904223) | 0;
  x = (x + imul(y, w)) | 0;
  y = (y + imul(z, x)) | 0;
  z = (z + imul(x, y)) | 0;
  w = (w + imul(y, z)) | 0;
  x ^= x >>> 16;
  y ^= y >>> 16;
  z ^= z >>> 16;
  w ^= w >>> 16;
  x = (x + imul(y, w)) | 0;
  y = (y + imul(z, x)) | 0;
  z = (z + imul(x, y)) | 0;
  w = (w + imul(y, z)) | 0;
  return [x >>> 0, y >>> 0, z >>> 0, w >>> 0];
}

/** A factor for the upper half of a seed: 2³² divided by the golden ratio. */
export const SEED_FACTOR = 0x9e3779b9;

/** A seed of two words as one; its lower half where the upper is 0. */
export function foldSeed(low: number, high: number): number {
  return (low ^ Math.imul(high, SEED_FACTOR)) >>> 0;
}
