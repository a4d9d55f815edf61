/** IEEE 754 binary16 in JavaScript, where many platforms have no `Float16Array`. */

/** Value of a unit in the last place, by the exponent field; fields 0 and 1 share theirs. */
const UNITS = Float64Array.from({ length: 31 }, (_, exponent) => 2 ** (Math.max(1, exponent) - 25));

/** The numbers that the bits stand for; exact. */
export function decodeHalf(bits: Uint16Array, target: Float32Array): void {
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i]!;
    const exponent = (word >>> 10) & 31;
    const fraction = word & 1023;
    let size: number;
    if (exponent === 31) size = fraction === 0 ? Infinity : NaN;
    else size = (exponent === 0 ? fraction : 1024 + fraction) * UNITS[exponent]!;
    target[i] = word >= 0x8000 ? -size : size;
  }
}

/**
 * A `Float16Array`, which not every platform and not every TypeScript library has. The name tells it from all other arrays.
 */
export interface HalfArray extends ArrayBufferView {
  readonly length: number;
  readonly BYTES_PER_ELEMENT: number;
  readonly [Symbol.toStringTag]: "Float16Array";
}

/** The same memory as bits, or `undefined` for what is neither a `Uint16Array` nor a `Float16Array`. */
export function halfBits(value: unknown): Uint16Array | undefined {
  if (value instanceof Uint16Array) return value;
  if (!ArrayBuffer.isView(value) || (value as Partial<HalfArray>)[Symbol.toStringTag] !== "Float16Array") return undefined;
  return new Uint16Array(value.buffer, value.byteOffset, value.byteLength / 2);
}
