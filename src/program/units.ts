/** What the planner counts in. */
import { ELEMENT_BYTES } from "../../shaders/wgsl/kernel.ts";

export const FLOAT_BYTES = ELEMENT_BYTES.f32;
/** Of indices and lengths. */
export const WORD_BYTES = ELEMENT_BYTES.u32;
export const COMPLEX_BYTES = ELEMENT_BYTES.vec2f;
export function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}

/** Bytes of buffers, each counted once. */
export function bytesOf(...buffers: readonly ({ readonly bytes: number } | undefined)[]): number {
  return sum([...new Set(buffers)], (buffer) => buffer?.bytes ?? 0);
}
