/** What planners count in: bytes of elements, and sums. */
import { ELEMENT_BYTES } from "../../shaders/wgsl/kernel.ts";

/** Bytes of a float32 number. */
export const FLOAT_BYTES = ELEMENT_BYTES.f32;
/** Bytes of an index or a length. */
export const WORD_BYTES = ELEMENT_BYTES.u32;
/** Bytes of a complex number of two float32 numbers. */
export const COMPLEX_BYTES = ELEMENT_BYTES.vec2f;

/** The sum of a value of each item. */
export function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}

/** Bytes of buffers, each counted once. */
export function bytesOf(...buffers: readonly ({ readonly bytes: number } | undefined)[]): number {
  return sum([...new Set(buffers)], (buffer) => buffer?.bytes ?? 0);
}
