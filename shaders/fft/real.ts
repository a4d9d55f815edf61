/** What the one-pass transforms of real data share. */
import { type Precision, storedElement } from "../wgsl/kernel.ts";
import type { RootTable } from "./roots.ts";
import { declareRegisters, type eachInput, type StockhamShape } from "./stockham.ts";
import { f32, u32 } from "../wgsl/wgsl.ts";

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
  /** On X_k of 0 < k < L, of which each stands for two; 1 when left out. */
  readonly pairFactor?: number;
}

/** What follows the value of X_k, k = `point` < L. */
export function pairFactor({ pairFactor = 1 }: RealFftKernelSpec): string {
  return pairFactor === 1 ? "" : ` * select(${f32(pairFactor)}, 1.0, point == 0u)`;
}

/** Neighbouring points are one complex value where they are neighbours in memory. */
export function realElement(spec: RealFftKernelSpec, precision: Precision): ReturnType<typeof storedElement> {
  return storedElement(spec.inner === 1 ? "pair" : "single", precision);
}

/**
 * `m0`, `m1`, …: for each register the value of the point on the other side, (length − point) mod length. Holds barriers.
 *
 * @param each `eachInput` or `eachOutput` of stockham.ts: where the registers stand
 */
export function stockhamMirror(shape: StockhamShape, each: typeof eachInput): string {
  const components = shape.exchange === "split" ? [".x", ".y"] : [""];
  const steps = components.map(
    (component) => `${each(shape, (i) => `exchange[exchange_index(point, slot)] = v${i}${component};`)}
  workgroupBarrier();
${each(shape, (i) => `m${i}${component} = exchange[exchange_index((${u32(shape.length)} - point) % ${u32(shape.length)}, slot)];`)}
  workgroupBarrier();`,
  );
  return `${declareRegisters(shape, "m")}\n${steps.join("\n")}`;
}
