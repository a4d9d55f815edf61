/** Plans for complex FFTs along one axis: one pass where a transform fits into a workgroup, two beyond. */
import { type ColumnDigit, fftKernel } from "../../shaders/fft.ts";
import type { StockhamShape } from "../../shaders/stockham.ts";
import { FastRpbError } from "../spec/errors.ts";
import type { PlannerLimits } from "../spec/limits.ts";
import type { FftSpec } from "../spec/operations.ts";
import { bindableUnits, limitError, type Program, ProgramBuilder, type Slice, sliceBase, sliceBytes } from "./program.ts";
import { chooseShape, chooseSplit, fftFlops, fits } from "./stockham.ts";
import { TableLayout } from "./tables.ts";

const COMPLEX_BYTES = 8;

export function planFft(caller: string, spec: FftSpec, limits: PlannerLimits): Program {
  const program = new ProgramBuilder(caller, `fft ${spec.direction} ${spec.length}`, limits);
  const slab = spec.length * spec.inner * COMPLEX_BYTES; // bytes of one outer index
  const x = program.buffer("x", "input", spec.outer * slab);
  const out = program.buffer("out", "output", spec.outer * slab);
  const single = fits(spec.length, limits);
  // As many outer indices at a time as bindings (and, in two passes, the workspace) can hold.
  const bindable = bindableUnits(limits, slab, spec.outer);
  if (bindable < 1)
    throw limitError(caller, "maxStorageBufferBindingSize", slab, limits.maxStorageBufferBindingSize, "one transform with its inner axes");
  const affordable = single ? bindable : Math.floor(limits.workspaceBytes / slab);
  if (affordable < 1) throw limitError(caller, "workspaceBytes", slab, limits.workspaceBytes, "one transform with its inner axes");
  const outer = Math.min(bindable, affordable, spec.outer);
  const whole = bindable === spec.outer;
  if (!single) program.buffer("columns", "workspace", outer * slab);
  for (let first = 0; first < spec.outer; first += outer) {
    const count = Math.min(outer, spec.outer - first);
    const slice = whole ? undefined : sliceBytes(limits, first * slab, (first + count) * slab);
    addFft(program, {
      outer: count,
      length: spec.length,
      inner: spec.inner,
      source: { buffer: x, slice, firstOuter: first },
      columns: "columns",
      destination: { buffer: out, slice, firstOuter: first },
      inverse: spec.direction === "inverse",
      scale: spec.scale,
      order: "natural",
    });
  }
  return program.finish();
}

/** Where transforms come from or go to. */
export interface FftEnd {
  readonly buffer: string;
  /** Range to bind; the whole buffer when `undefined`. */
  readonly slice: Slice | undefined;
  /** Index of the first transform in the buffer. */
  readonly firstOuter: number;
}

export interface FftRequest {
  /** The transform runs along the middle of [outer, length, inner]. */
  readonly outer: number;
  readonly length: number;
  readonly inner: number;
  readonly source: FftEnd;
  /** Workspace between two passes, [outer, length, inner] from index 0. Unused where one pass does. */
  readonly columns: string;
  readonly destination: FftEnd;
  readonly inverse: boolean;
  readonly scale: number;
  /** `"transposed"` leaves a two-pass result as [k_a, k_b], k = k_a + A·k_b, which saves scattered stores. */
  readonly order: "natural" | "transposed";
}

/** Adds the pass or passes of an FFT to a program. */
export function addFft(program: ProgramBuilder, request: FftRequest): void {
  const { length, inner, outer } = request;
  const slab = length * inner;
  if (fits(length, program.limits)) {
    addPass(program, {
      ...request,
      passLength: length,
      slab,
      columnCount: outer * inner,
      digits: [{ name: "inner", size: inner, sourceStride: 1, destinationStride: 1 }],
      sourceStride: inner,
      destinationStride: inner,
      rootsOrder: undefined,
      swapInput: request.inverse,
      swapOutput: request.inverse,
    });
    return;
  }
  const { a, b } = splitLength(program, length);
  const columns: FftEnd = { buffer: request.columns, slice: undefined, firstOuter: 0 };
  addPass(program, {
    ...request,
    destination: columns,
    passLength: a,
    slab,
    digits: [
      { name: "inner", size: inner, sourceStride: 1, destinationStride: 1 },
      { name: "row", size: b, sourceStride: inner, destinationStride: inner },
    ],
    columnCount: outer * b * inner,
    sourceStride: b * inner,
    destinationStride: b * inner,
    rootsOrder: length,
    swapInput: request.inverse,
    swapOutput: false,
    scale: 1,
  });
  const natural = request.order === "natural";
  addPass(program, {
    ...request,
    source: columns,
    passLength: b,
    slab,
    digits: [
      { name: "inner", size: inner, sourceStride: 1, destinationStride: 1 },
      { name: "row", size: a, sourceStride: b * inner, destinationStride: natural ? inner : b * inner },
    ],
    columnCount: outer * a * inner,
    sourceStride: inner,
    destinationStride: natural ? a * inner : inner,
    rootsOrder: undefined,
    swapInput: false,
    swapOutput: request.inverse,
  });
}

/** @throws FastRpbError code `"limit"` for a length beyond two passes */
export function splitLength(program: ProgramBuilder, length: number): { readonly a: number; readonly b: number } {
  const split = chooseSplit(length, program.limits);
  if (!split) {
    throw new FastRpbError(
      "limit",
      `${program.caller}: a transform of ${length} points takes more than two passes with ${program.limits.maxComputeWorkgroupStorageSize} bytes of workgroup memory (maxComputeWorkgroupStorageSize) and ${program.limits.maxComputeInvocationsPerWorkgroup} invocations; use a shorter length.`,
    );
  }
  return split;
}

/** One pass; outer indices are `slab` elements apart at both ends. */
interface PassRequest extends Pick<FftRequest, "source" | "destination" | "scale"> {
  readonly passLength: number;
  readonly columnCount: number;
  readonly slab: number;
  readonly digits: readonly ColumnDigit[];
  readonly sourceStride: number;
  readonly destinationStride: number;
  readonly rootsOrder: number | undefined;
  readonly swapInput: boolean;
  readonly swapOutput: boolean;
}

function addPass(program: ProgramBuilder, pass: PassRequest): void {
  const shape = chooseShape(pass.passLength, pass.columnCount, lanesFor(pass), program.limits)!;
  const tables = new TableLayout();
  const kernel = fftKernel({
    shape,
    twiddleOffset: tables.twiddles(shape.radices),
    digits: pass.digits,
    outer: { sourceStride: pass.slab, destinationStride: pass.slab },
    sourceStride: pass.sourceStride,
    destinationStride: pass.destinationStride,
    roots: pass.rootsOrder === undefined ? undefined : tables.roots(pass.rootsOrder, pass.rootsOrder),
    swapInput: pass.swapInput,
    swapOutput: pass.swapOutput,
    scaleOffset: pass.scale === 1 ? undefined : tables.scale(pass.scale),
  });
  const moved = pass.columnCount * pass.passLength * COMPLEX_BYTES;
  program.dispatch({
    kernel,
    groups: Math.ceil(pass.columnCount / shape.columns),
    params: {
      columns: pass.columnCount,
      sourceBase: sliceBase(kernel, "source", pass.source.slice) - pass.source.firstOuter * pass.slab,
      destinationBase: sliceBase(kernel, "destination", pass.destination.slice) - pass.destination.firstOuter * pass.slab,
    },
    uses: {
      source: { buffer: pass.source.buffer, reads: moved, ...(pass.source.slice && { slice: pass.source.slice }) },
      destination: { buffer: pass.destination.buffer, writes: moved, ...(pass.destination.slice && { slice: pass.destination.slice }) },
      tables: { buffer: program.table(tables.parts) },
    },
    flops: pass.columnCount * (fftFlops(pass.passLength) + (pass.rootsOrder === undefined ? 0 : 6 * pass.passLength)),
  });
}

/** Neighbouring lanes take what is contiguous: columns where these lie side by side, points where a column is a row of memory. */
function lanesFor(pass: PassRequest): StockhamShape["lanes"] {
  const contiguous = pass.sourceStride === 1 && pass.destinationStride === 1;
  return contiguous ? "points" : "columns";
}
