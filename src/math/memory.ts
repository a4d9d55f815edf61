import { FastRpbError } from "../core/errors.ts";

/** Zeros. @throws FastRpbError code `"limit"` where the machine has no room for them */
export function float64Array(owner: string, length: number): Float64Array {
  return reserve(owner, 8 * length, () => new Float64Array(length));
}

/** Zero bytes. @throws FastRpbError code `"limit"` where the machine has no room for them */
export function byteArray(owner: string, length: number): Uint8Array<ArrayBuffer> {
  return reserve(owner, length, () => new Uint8Array(length));
}

/** Memory that float32, float64 and 32-bit integers can all view as a whole. @throws FastRpbError code `"limit"` where there is no room */
export function viewableBuffer(owner: string, byteLength: number): ArrayBuffer {
  return reserve(owner, byteLength, () => new ArrayBuffer(8 * Math.ceil(byteLength / 8)));
}

/** What `allocate` gives. @throws FastRpbError code `"limit"` where it throws */
function reserve<T>(owner: string, byteLength: number, allocate: () => T): T {
  try {
    return allocate();
  } catch (cause) {
    throw new FastRpbError("limit", `${owner}: no room for ${byteLength} bytes in main memory.`, { cause });
  }
}
