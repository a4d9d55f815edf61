/** What the three passes of a long Toeplitz product share. */
import type { RootTable } from "./roots.ts";
import type { StockhamShape } from "./stockham.ts";
import { u32, wgsl } from "./wgsl.ts";

export interface ToeplitzPassSpec {
  /** Transform of length A (columns) or B (rows). */
  readonly shape: StockhamShape;
  readonly twiddleOffset: number;
  /** Roots of order 2M. */
  readonly roots: RootTable;
  /** N */
  readonly length: number;
  /** M = a·b */
  readonly a: number;
  readonly b: number;
  readonly channels: number;
}

export function toeplitzPassConstants(spec: ToeplitzPassSpec): string {
  return wgsl`const N = ${u32(spec.length)};
const A = ${u32(spec.a)};
const B = ${u32(spec.b)};
const PAIRS = ${u32(Math.ceil(spec.channels / 2))};`;
}
