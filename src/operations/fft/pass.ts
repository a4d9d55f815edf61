/** A pass, one dispatch of an FFT: where its columns lie, and what happens to them. */
import { type ColumnDigit, type ColumnEnd, endElement, type Window } from "../../../shaders/fft/column-end.ts";
import { type Chirp, fftKernel, type Product } from "../../../shaders/fft/pass.ts";
import { ELEMENT_BYTES, type Precision } from "../../../shaders/wgsl/kernel.ts";
import type { StockhamShape } from "../../../shaders/fft/stockham.ts";
import { elementCount } from "../../core/check.ts";
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import type { Slice } from "../../program/ranges.ts";
import { addColumns, columnTransform } from "./columns.ts";
import { chirpLength } from "./split.ts";
import { fits } from "./stockham.ts";
import type { TableLayout } from "../../program/tables.ts";
import { fftFlops, MULTIPLY_FLOPS } from "../../math/flops.ts";

/** Transforms in a buffer, from which a pass reads or to which it writes. */
export interface BufferEnd {
  readonly buffer: Handle;
  /** Range to bind; the whole buffer when `undefined`. */
  readonly slice: Slice | undefined;
  /** Index of the first transform in the buffer. */
  readonly firstOuter: number;
  /** How the numbers in the buffer are stored; f32 when left out, as in every workspace. */
  readonly precision?: Precision;
}

/** One end of a pass: the columns of its source, or of its destination. */
export interface PassEnd extends BufferEnd, ColumnEnd {
  /** Elements that are read or written for each outer index. */
  readonly elements: number;
  /** The first of the elements side by side that columns are of, where not all are. */
  readonly firstInner?: number;
}

/** How many of `size` indices have an element in a window; where it wraps, all but the first element have two. */
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
      /** Outer index of the first column, of which the kernel is that modulo `kernels`; the source may be a slice that counts from 0. */
      readonly firstOuter: number;
      readonly reads: number;
    }
  /** The spectrum of the chirp of a transform of `points` points, in the rows [a, b] of a four-step transform. */
  | { readonly kind: "chirp"; readonly points: number; readonly rows: readonly [number, number] };

/** A pass over the columns of [outer, …digits]. */
export interface PassRequest {
  readonly outer: number;
  readonly digits: readonly ColumnDigit[];
  /** Lengths of the axes that the pass transforms, the slowest first. */
  readonly lengths: readonly number[];
  readonly source: PassEnd;
  readonly destination: PassEnd;
  /** Order of the roots that follow the transform. */
  readonly rootsOrder?: number;
  readonly product?: PassProduct;
  /** Chirp of a transform of so many points, which the pass begins or ends. */
  readonly chirp?: { readonly points: number; readonly end: "source" | "destination" };
  /** Whether to swap re and im of what is read, as the first pass of an inverse transform does. Default `false`. */
  readonly swapInput?: boolean;
  /** Whether to undo the swap of a product in this pass or in an earlier one. Default `false`. */
  readonly back?: boolean;
  /** Whether to swap re and im of what is written, as the last pass of an inverse transform does. Default `false`. */
  readonly swapOutput?: boolean;
  /** Factor on every output. Default 1. */
  readonly scale?: number;
}

/** Adds a pass of an FFT to a program. @throws FastRpbError code `"limit"` where the device is too small for it */
export function addPass(program: ProgramBuilder, pass: PassRequest): void {
  const { limits } = program;
  const { source, destination, lengths, swapInput = false, back = false, swapOutput = false, scale = 1 } = pass;
  const points = elementCount(lengths);
  const columns = pass.outer * elementCount(pass.digits.map((digit) => digit.size));
  // A length without codelets, or too long for the radices that it has, is a convolution inside the workgroup.
  const convolved = !fits(limits, ...lengths);
  const transform = columnTransform({ lengths: convolved ? [chirpLength(points, limits)] : lengths, columns, lanes: lanesOf(pass) }, limits)!;
  const { shape, twiddles, tables } = transform;
  const inPlace = source.buffer === destination.buffer;
  const kernel = fftKernel({
    shape,
    twiddles,
    points,
    digits: pass.digits,
    source,
    destination,
    inPlace,
    roots: pass.rootsOrder === undefined ? undefined : tables.roots(pass.rootsOrder, pass.rootsOrder),
    ...(convolved ? innerChirp(tables, points, shape.length) : { chirp: chirpOf(tables, pass), product: productOf(tables, pass) }),
    swapInput,
    back: back || convolved,
    swapOutput,
    scaleOffset: scale === 1 ? undefined : tables.scale(scale),
  });
  const reads = pass.outer * source.elements * ELEMENT_BYTES[endElement(source)];
  const writes = pass.outer * destination.elements * ELEMENT_BYTES[endElement(destination)];
  const base = (end: PassEnd) =>
    (end.slice?.offset ?? 0) / ELEMENT_BYTES[endElement(end)] - end.firstOuter * end.rows * end.inner - (end.firstInner ?? 0);
  const spectrum = pass.product?.kind === "tensor" ? pass.product : undefined;
  const twice = convolved || pass.product !== undefined;
  // Of every point: by the roots, by a chirp (within a workgroup at both ends), by the spectrum.
  const multiplied = Number(pass.rootsOrder !== undefined) + Number(pass.chirp !== undefined) + (convolved ? 2 : 0) + Number(twice);
  addColumns(program, transform, columns, {
    kernel,
    params: { sourceBase: base(source), destinationBase: base(destination), firstOuter: spectrum?.firstOuter ?? 0 },
    uses: {
      // Bound as one where the pass is done in place.
      data: { buffer: source.buffer, slice: source.slice, reads, writes },
      source: { buffer: source.buffer, slice: source.slice, reads },
      destination: { buffer: destination.buffer, slice: destination.slice, writes },
      spectrum: spectrum && { buffer: spectrum.spectrum.buffer, slice: spectrum.spectrum.slice, reads: spectrum.reads },
    },
    flops: columns * ((twice ? 2 : 1) * fftFlops(shape.length) + multiplied * MULTIPLY_FLOPS * points),
  });
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
