/** What the one-pass transforms of real data share. */
import { type Precision, storedElement } from "./kernel.ts";
import type { RootTable } from "./roots.ts";
import type { StockhamShape } from "./stockham.ts";

export interface RealFftKernelSpec {
  /** Transform of length L = N/2. */
  readonly shape: StockhamShape;
  /** Offset of each axis's twiddles. */
  readonly twiddles: readonly number[];
  /** Elements from one point to the next. */
  readonly inner: number;
  readonly sourcePrecision: Precision;
  readonly destinationPrecision: Precision;
  /** Roots of order N. */
  readonly roots: RootTable;
  /** Offset of the scale in the table. */
  readonly scaleOffset: number;
}

/** Neighbouring points are one complex value where they are neighbours in memory. */
export function realElement(spec: RealFftKernelSpec, precision: Precision): ReturnType<typeof storedElement> {
  return storedElement(spec.inner === 1 ? "pair" : "single", precision);
}
