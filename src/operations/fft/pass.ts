/** One dispatch of an FFT: where its columns lie, and what happens to them. */
import { type ColumnDigit, type ColumnEnd, endElement, type Window } from "../../../shaders/fft/column-end.ts";
import { type Chirp, fftKernel, type Product } from "../../../shaders/fft/pass.ts";
import { ELEMENT_BYTES, type Precision } from "../../../shaders/wgsl/kernel.ts";
import type { StockhamShape } from "../../../shaders/fft/stockham.ts";
import { elementCount } from "../../core/check.ts";
import type { BindingUse, Handle, ProgramBuilder } from "../../program/builder.ts";
import { type Slice, sliceBase } from "../../program/ranges.ts";
import { chirpLength } from "./split.ts";
import { chooseShape, fits } from "./stockham.ts";
import { TableLayout } from "../../program/tables.ts";
import { fftFlops, MULTIPLY_FLOPS } from "../../math/flops.ts";

/** Where transforms come from or go to. */
export interface BufferEnd {
  readonly buffer: Handle;
  /** Range to bind; the whole buffer when `undefined`. */
  readonly slice: Slice | undefined;
  /** Index of the first transform in the buffer. */
  readonly firstOuter: number;
  /** Of the numbers in the buffer; f32 when left out, as in every workspace. */
  readonly precision?: Precision;
}

export interface PassEnd extends BufferEnd, ColumnEnd {
  /** Elements that are read or written for each outer index. */
  readonly elements: number;
}

/** How many of `size` indices lead to an element; where a window wraps, all but the first element have two. */
export function windowPoints({ wrap, limit }: Window, size: number): number {
  if (limit === undefined) return size;
  return wrap ? 2 * limit - 1 : limit;
}

/** The factors of a pass that is a convolution, over the transformed axes in reversed order. */
export type PassProduct =
  | {
      readonly kind: "tensor";
      readonly spectrum: BufferEnd;
      readonly kernels: number;
      /** Outer index of the first column, of which the kernel is that modulo `kernels`; the source may be a part that counts from 0. */
      readonly firstOuter: number;
      readonly reads: number;
    }
  /** Of the chirp of a transform of `points` points, in rows of two passes. */
  | { readonly kind: "chirp"; readonly points: number; readonly rows: readonly [number, number] };

export interface PassRequest {
  readonly outer: number;
  readonly digits: readonly ColumnDigit[];
  /** Of the axes that the pass transforms, the slowest first. */
  readonly lengths: readonly number[];
  readonly source: PassEnd;
  readonly destination: PassEnd;
  /** Order of the roots that follow the transform. */
  readonly rootsOrder?: number;
  readonly product?: PassProduct;
  /** Chirp of a transform of so many points, which the pass begins or ends. */
  readonly chirp?: { readonly points: number; readonly end: "source" | "destination" };
  readonly swapInput: boolean;
  /** Undo the swap of a product in an earlier pass. */
  readonly back: boolean;
  readonly swapOutput: boolean;
  readonly scale: number;
}

export function addPass(program: ProgramBuilder, pass: PassRequest): void {
  const { limits } = program;
  const { source, destination, lengths } = pass;
  const points = elementCount(lengths);
  const columns = pass.outer * elementCount(pass.digits.map((digit) => digit.size));
  // A length without codelets, or too long for the radices that it has, is a convolution inside the workgroup.
  const convolved = !fits(limits, ...lengths);
  const shape = chooseShape({ lengths: convolved ? [chirpLength(points, limits)] : lengths, columns, lanes: lanesOf(pass) }, limits)!;
  const tables = new TableLayout(limits.choices);
  const inPlace = source.buffer === destination.buffer;
  const kernel = fftKernel({
    shape,
    twiddles: tables.twiddles(shape.axes),
    points,
    digits: pass.digits,
    source,
    destination,
    inPlace,
    roots: pass.rootsOrder === undefined ? undefined : tables.roots(pass.rootsOrder, pass.rootsOrder),
    ...(convolved ? innerChirp(tables, points, shape.length) : { chirp: chirpOf(tables, pass), product: productOf(tables, pass) }),
    swapInput: pass.swapInput,
    back: pass.back || convolved,
    swapOutput: pass.swapOutput,
    scaleOffset: pass.scale === 1 ? undefined : tables.scale(pass.scale),
  });
  const reads = pass.outer * source.elements * ELEMENT_BYTES[endElement(source)];
  const writes = pass.outer * destination.elements * ELEMENT_BYTES[endElement(destination)];
  const base = (name: string, end: PassEnd) => sliceBase(kernel, name, end.slice) - end.firstOuter * end.rows * end.inner;
  const spectrum = pass.product?.kind === "tensor" ? pass.product : undefined;
  const twice = convolved || pass.product !== undefined;
  // Of every point: by the roots, by a chirp (within a workgroup at both ends), by the spectrum.
  const multiplied = Number(pass.rootsOrder !== undefined) + Number(pass.chirp !== undefined) + (convolved ? 2 : 0) + Number(twice);
  program.dispatch({
    kernel,
    groups: Math.ceil(columns / shape.columns),
    params: {
      columns,
      sourceBase: base(inPlace ? "data" : "source", source),
      destinationBase: base(inPlace ? "data" : "destination", destination),
      ...(spectrum && { firstOuter: spectrum.firstOuter, spectrumBase: sliceBase(kernel, "spectrum", spectrum.spectrum.slice) }),
    },
    uses: {
      ...(inPlace ? { data: bind(source, { reads, writes }) } : { source: bind(source, { reads }), destination: bind(destination, { writes }) }),
      tables: { buffer: program.table(tables.parts) },
      ...(spectrum && { spectrum: bind(spectrum.spectrum, { reads: spectrum.reads }) }),
    },
    flops: columns * ((twice ? 2 : 1) * fftFlops(shape.length) + multiplied * MULTIPLY_FLOPS * points),
  });
}

function bind(end: BufferEnd, traffic: { readonly reads?: number; readonly writes?: number }): BindingUse {
  return { buffer: end.buffer, ...(end.slice && { slice: end.slice }), ...traffic };
}

/** The chirp on both sides of a convolution inside the workgroup, and the spectrum of the chirp between them. */
function innerChirp(tables: TableLayout, points: number, period: number): { readonly chirp: Chirp; readonly product: Product } {
  return {
    chirp: { offset: tables.add({ kind: "chirp", points }), along: "point", ends: ["source", "destination"] },
    product: { kind: "table", offset: tables.add({ kind: "chirpSpectrum", points, rows: [1, period] }), byRow: false },
  };
}

function chirpOf(tables: TableLayout, { chirp }: PassRequest): Chirp | undefined {
  return chirp && { offset: tables.add({ kind: "chirp", points: chirp.points }), along: "at", ends: [chirp.end] };
}

function productOf(tables: TableLayout, { product }: PassRequest): Product | undefined {
  if (product?.kind !== "chirp") return product && { kind: "tensor", kernels: product.kernels };
  return { kind: "table", offset: tables.add({ kind: "chirpSpectrum", points: product.points, rows: product.rows }), byRow: true };
}

/** Neighbouring lanes take what is contiguous: columns where these lie side by side, points where a column is a row of memory. */
function lanesOf({ source, destination }: PassRequest): StockhamShape["lanes"] {
  const contiguous = (end: PassEnd) => end.inner === 1 && end.points[0]!.stride === 1;
  return contiguous(source) && (contiguous(destination) || destination.points.length > 1) ? "points" : "columns";
}
