/** Random inputs, medians and errors. */

/** A prime: repeated so, no two transforms of a batch are the same. */
const PERIOD = 1048573;

/** `n` standard normal numbers: the same on every machine. They repeat after a million, because drawing many takes long. */
export function normals(seed: number, n: number): Float32Array {
  const result = new Float32Array(n);
  const drawn = draw(seed, Math.min(n, PERIOD));
  for (let i = 0; i < n; i += PERIOD) result.set(drawn.subarray(0, n - i), i);
  return result;
}

/** Box–Muller over mulberry32. */
function draw(seed: number, n: number): Float32Array {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const result = new Float32Array(n);
  for (let i = 0; i < n; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform())); // of a number in (0, 1]
    const angle = 2 * Math.PI * uniform();
    result[i] = radius * Math.cos(angle);
    if (i + 1 < n) result[i + 1] = radius * Math.sin(angle);
  }
  return result;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** ‖actual − expected‖ / ‖expected‖, in float64. */
export function relativeL2(actual: Float32Array, expected: Float32Array): number {
  if (actual.length !== expected.length) throw new RangeError(`${actual.length} numbers where ${expected.length} were expected`);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}
