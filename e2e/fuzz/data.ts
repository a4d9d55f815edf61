/** Numbers of the tensors that go in. */
import { random, normals } from "../../src/testing/random.ts";

/**
 * - `"normal"`, `"huge"`, `"tiny"`: normally distributed, times the size.
 * - `"denormal"`: below the smallest normal float32.
 * - `"constant"`: one number near the size, everywhere; `"impulse"`: one number among zeros; `"zero"`: zeros of both signs.
 * - `"mixed"`: normally distributed times powers of two, up to the size and down to its inverse, and some zeros.
 * - `"mask"`: normally distributed, but −∞, or the lowest float32, at about every other place; `"slope"`: falls by the size from one place to the next, again and again.
 * - `"holes"`: the size and zero, as likely: for masks over keys.
 */
export type DataKind = "normal" | "huge" | "tiny" | "denormal" | "constant" | "impulse" | "zero" | "mixed" | "mask" | "slope" | "holes";

/** The smallest normal float32: a GPU may take what is below for zero, and make zero of what comes out below. */
export const SMALLEST_NORMAL = 2 ** -126;
const LARGEST = (2 - 2 ** -23) * 2 ** 127;

/** Kinds whose numbers are independent and alike, so that errors add up at random and nothing cancels but by chance. */
export function isGaussian(kind: DataKind | undefined): boolean {
  return kind === undefined || kind === "normal" || kind === "huge" || kind === "tiny" || kind === "holes";
}

export function fill(kind: DataKind, size: number, seed: number, count: number): Float32Array {
  const uniform = random(seed);
  switch (kind) {
    case "normal":
    case "huge":
    case "tiny":
      return normals(seed, count).map((x) => x * size);
    case "denormal":
      return Float32Array.from({ length: count }, () => (2 * uniform() - 1) * SMALLEST_NORMAL);
    case "constant":
      return new Float32Array(count).fill((uniform() < 0.5 ? -1 : 1) * (0.5 + uniform()) * size);
    case "impulse": {
      const result = new Float32Array(count);
      result[Math.floor(uniform() * count)] = (uniform() < 0.5 ? -1 : 1) * (0.5 + uniform()) * size;
      return result;
    }
    case "zero":
      return Float32Array.from({ length: count }, () => (uniform() < 0.5 ? -0 : 0));
    case "mask": {
      const masked = uniform() < 0.5 ? -Infinity : -LARGEST;
      return normals(seed ^ 0x33333333, count).map((x) => (uniform() < 0.5 ? masked : x * size));
    }
    case "slope": {
      const period = 1 + Math.floor(uniform() * count);
      return Float32Array.from({ length: count }, (_, i) => -(i % period) * size);
    }
    case "holes":
      return Float32Array.from({ length: count }, () => (uniform() < 0.5 ? size : 0));
    case "mixed":
      return normals(seed ^ 0x55555555, count).map((x) => (uniform() < 0.1 ? 0 : x * size ** (2 * uniform() - 1)));
  }
}

/**
 * Integers from 0 to before `size`: all alike (`"constant"`), or any (`"normal"`); of `"holes"` some are −1 or `size` instead, but for the first: what is
 * no index.
 */
export function fillIndices(kind: DataKind, size: number, seed: number, count: number): Float32Array {
  const uniform = random(seed);
  const draw = () => Math.floor(uniform() * size);
  if (kind === "constant") return new Float32Array(count).fill(draw());
  return Float32Array.from({ length: count }, (_, i) => (kind === "holes" && i > 0 && uniform() < 0.3 ? (uniform() < 0.5 ? -1 : size) : draw()));
}

/** Bits of the nearest float16; what is too large becomes the largest. */
export function encodeHalf(numbers: Float32Array): Uint16Array {
  return Uint16Array.from(numbers, (x) => {
    const size = Math.min(Math.abs(x), 65504);
    const exponent = Math.max(-14, Math.floor(Math.log2(size)));
    // A fraction that rounds up to 2 carries into the exponent by itself.
    const bits = size < 2 ** -14 ? Math.round(size * 2 ** 24) : ((exponent + 14) << 10) + Math.round(size * 2 ** (10 - exponent));
    return (x < 0 || Object.is(x, -0) ? 0x8000 : 0) + Math.min(bits, 0x7bff);
  });
}

export function norm(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2;
  return Math.sqrt(sum);
}

/** Σ|x| */
export function sumOf(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += Math.abs(values[i]!);
  return sum;
}

/** The largest size of a number that is one. */
export function largest(values: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) if (Math.abs(values[i]!) > most) most = Math.abs(values[i]!);
  return most;
}

/** The largest of `measure` over slices of `count` numbers. */
export function largestSlice(values: Float32Array, count: number, measure: (slice: Float32Array) => number): number {
  let most = 0;
  for (let from = 0; from < values.length; from += count) most = Math.max(most, measure(values.subarray(from, from + count)));
  return most;
}
