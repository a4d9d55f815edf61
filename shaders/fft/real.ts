/** What the one-pass transforms of real data share. Their complex transform has half the length of the real data, L = N/2. */
import { scaleFunction } from "../wgsl/complex.ts";
import { type Declarations, type Precision, storedElement } from "../wgsl/kernel.ts";
import { rootFunction, type RootTable } from "./roots.ts";
import {
  declareRegisters,
  type eachInput,
  stockhamColumn,
  stockhamDeclarations,
  stockhamRegisters,
  type StockhamShape,
  type StockhamTransform,
} from "./stockham.ts";
import { f32, u32, wgsl } from "../wgsl/wgsl.ts";

export interface RealFftKernelSpec extends StockhamTransform {
  /** Elements from one point to the next. */
  readonly inner: number;
  readonly sourcePrecision: Precision;
  readonly destinationPrecision: Precision;
  /** Roots of order N. */
  readonly roots: RootTable;
  /** Offset of the scale in the table. */
  readonly scaleOffset: number;
  /** A factor on X_k of 0 < k < L, of which each stands for two; 1 when left out. */
  readonly pairFactor?: number;
}

/** WGSL that follows the value of X_k, k = `point` < L, and multiplies it by the factor. */
export function pairFactor({ pairFactor = 1 }: RealFftKernelSpec): string {
  return pairFactor === 1 ? "" : ` * select(${f32(pairFactor)}, 1.0, point == 0u)`;
}

/** Element of a binding of real data: neighbouring points are one complex value where they are neighbours in memory. */
export function realElement(spec: RealFftKernelSpec, precision: Precision): ReturnType<typeof storedElement> {
  return storedElement(spec.inner === 1 ? "pair" : "single", precision);
}

/** Parameters of a real transform. */
export const REAL_FFT_PARAMS = ["columns", "sourceBase", "destinationBase"] as const;

/** Declarations of a real transform. */
export function realFftDeclarations({ shape, roots, scaleOffset }: RealFftKernelSpec): Declarations {
  return [`const L = ${u32(shape.length)};`, ...stockhamDeclarations(shape, true), `${rootFunction(roots)}${scaleFunction(scaleOffset)}`];
}

/** Statements that start a real transform: where a column begins, given the points of source and destination. */
export function realFftStart({ shape, inner }: RealFftKernelSpec, sourcePoints: number, destinationPoints: number): string {
  return wgsl`${stockhamRegisters(shape)}
${stockhamColumn(shape)}
  let inner = column % ${u32(inner)};
  let outer = column / ${u32(inner)};
  let source_start = outer * ${u32(sourcePoints * inner)} + inner - params.sourceBase;
  let destination_start = outer * ${u32(destinationPoints * inner)} + inner - params.destinationBase;`;
}

/**
 * Statements that declare `m0`, `m1`, …: for each register the value of the point on the other side, (length − point) mod length. They hold barriers.
 *
 * @param each `eachInput` or `eachOutput` of fft/stockham.ts: where the registers stand
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
