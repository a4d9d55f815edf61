/** FFTs of real lines to Hermitian ones, x[N − k] = conj(x[k]), and back: with half the points, or half the columns between passes. */
import type { ColumnDigit } from "../../../shaders/fft/column-end.ts";
import { complexToRealKernel } from "../../../shaders/fft/complex-to-real.ts";
import { ELEMENT_BYTES, storedElement } from "../../../shaders/wgsl/kernel.ts";
import { realToComplexKernel } from "../../../shaders/fft/real-to-complex.ts";
import { addColumns, columnTransform } from "./columns.ts";
import { lineEnd, type LineRequest } from "./line-ends.ts";
import { addFft, lineRounds } from "./lines.ts";
import { addPass, type BufferEnd, type PassEnd } from "./pass.ts";
import type { ProgramBuilder } from "../../program/builder.ts";
import { sliceBase } from "../../program/ranges.ts";
import { choosePasses } from "./split.ts";
import { hasRadices } from "./stockham.ts";
import { fftFlops } from "../../math/flops.ts";

/** Lines that are real on one side, and half of a Hermitian line on the other. */
export interface RealLineRequest extends LineRequest {
  /** Factor on the bins that stand for two. */
  readonly pairFactor: number;
}

/** The factor on bins, for the end that holds half a line. */
function pairsOf({ layout, pairFactor }: RealLineRequest): Pick<PassEnd, "pairs"> {
  return pairFactor === 1 ? {} : { pairs: { order: layout.length, factor: pairFactor } };
}

/** Adds the transforms of real lines, of which the first half is written. */
export function addRealToComplex(program: ProgramBuilder, request: RealLineRequest, scratch: number): void {
  const { layout } = request;
  const { length, inner } = layout;
  const rows = Math.floor(length / 2) + 1;
  if (addHalfLength(program, request, "r2c")) return;
  const passes = choosePasses(length, program.limits);
  if (passes?.length !== 2) {
    const ends = { source: { element: "real" }, destination: { rows, limit: rows, ...pairsOf(request) } } as const;
    addFft(program, { ...request, order: "natural", ends }, scratch);
    return;
  }
  // Columns of real points have transforms of which the first half of the rows is enough.
  const [a, b] = passes as [number, number];
  const kept = Math.floor(a / 2) + 1;
  lineRounds(program, request, kept * b, scratch, ({ layout: { outer }, source, destination }, work) => {
    const half = { length: kept * b, inner };
    const innerDigit: ColumnDigit = { name: "inner", size: inner };
    const columns = { point: b, digits: [0, 1] };
    addPass(program, {
      outer,
      digits: [innerDigit, { name: "row", size: b }],
      lengths: [a],
      source: { ...lineEnd(source, layout, columns), element: "real" },
      destination: { ...lineEnd(work, half, columns), limit: kept * b },
      rootsOrder: length,
    });
    addPass(program, {
      outer,
      digits: [innerDigit, { name: "row", size: kept }],
      lengths: [b],
      source: lineEnd(work, half, { point: 1, digits: [0, b] }),
      destination: {
        ...lineEnd(destination, layout, { point: a, digits: [0, 1] }),
        rows,
        fold: length,
        mirroredRows: a,
        elements: rows * inner,
        ...pairsOf(request),
      },
      scale: request.scale,
    });
  });
}

/** Adds the real transforms of Hermitian lines, of which the first half is read. */
export function addComplexToReal(program: ProgramBuilder, request: RealLineRequest, scratch: number): void {
  const { layout } = request;
  const { length, inner } = layout;
  const rows = Math.floor(length / 2) + 1;
  if (addHalfLength(program, request, "c2r")) return;
  const passes = choosePasses(length, program.limits);
  if (passes?.length !== 2) {
    const ends = { source: { rows, fold: length, ...pairsOf(request) }, destination: { element: "real" } } as const;
    addFft(program, { ...request, order: "natural", ends }, scratch);
    return;
  }
  // Columns row and b − row are conjugate, before and after the first pass: half of them is enough.
  const [a, b] = passes as [number, number];
  const kept = Math.floor(b / 2) + 1;
  lineRounds(program, request, a * kept, scratch, ({ layout: { outer }, source, destination }, work) => {
    const half = { length: a * kept, inner };
    const innerDigit: ColumnDigit = { name: "inner", size: inner };
    const common = { outer, swapInput: true, swapOutput: true };
    addPass(program, {
      ...common,
      digits: [innerDigit, { name: "row", size: kept }],
      lengths: [a],
      source: { ...lineEnd(source, layout, { point: b, digits: [0, 1] }), rows, fold: length, elements: half.length * inner, ...pairsOf(request) },
      destination: lineEnd(work, half, { point: kept, digits: [0, 1] }),
      rootsOrder: length,
    });
    addPass(program, {
      ...common,
      digits: [innerDigit, { name: "done", size: a }],
      lengths: [b],
      source: {
        ...lineEnd(work, half, { point: 1, digits: [0, 0] }),
        outside: [1, kept * inner],
        fold: b,
        elements: length * inner,
      },
      destination: { ...lineEnd(destination, layout, { point: a, digits: [0, 1] }), element: "real" },
      scale: request.scale,
    });
  });
}

/** One pass at half the length, where the length is even and the workgroup large enough. */
function addHalfLength(program: ProgramBuilder, request: RealLineRequest, kind: "r2c" | "c2r"): boolean {
  const { layout, source, destination } = request;
  const { length, inner, outer } = layout;
  const points = length / 2;
  const columns = outer * inner;
  if (length % 2 !== 0 || !hasRadices(points)) return false;
  const transform = columnTransform({ lengths: [points], columns, lanes: inner === 1 ? "points" : "columns", mirrors: true }, program.limits);
  if (!transform) return false;
  const { shape, twiddles, tables } = transform;
  const kernel = (kind === "r2c" ? realToComplexKernel : complexToRealKernel)({
    shape,
    twiddles,
    inner,
    sourcePrecision: source.precision ?? "f32",
    destinationPrecision: destination.precision ?? "f32",
    roots: tables.roots(length, points),
    // "r2c" splits even and odd parts, each of which is half a sum.
    scaleOffset: tables.scale(kind === "r2c" ? request.scale / 2 : request.scale),
    pairFactor: request.pairFactor,
  });
  const real = { count: length, values: "single", row: inner === 1 ? points : length * inner } as const;
  const half = { count: points + 1, values: "pair", row: (points + 1) * inner } as const;
  const [input, output] = kind === "r2c" ? [real, half] : [half, real];
  const elementBytes = (values: "single" | "pair", { precision }: BufferEnd) => ELEMENT_BYTES[storedElement(values, precision)];
  addColumns(program, transform, columns, {
    kernel,
    params: {
      sourceBase: sliceBase(kernel, "source", source.slice) - source.firstOuter * input.row,
      destinationBase: sliceBase(kernel, "destination", destination.slice) - destination.firstOuter * output.row,
    },
    uses: {
      source: { buffer: source.buffer, slice: source.slice, reads: columns * input.count * elementBytes(input.values, source) },
      destination: {
        buffer: destination.buffer,
        slice: destination.slice,
        writes: columns * output.count * elementBytes(output.values, destination),
      },
    },
    flops: columns * (fftFlops(points) + 16 * points),
  });
  return true;
}
