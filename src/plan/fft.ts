/** Plans for complex FFTs along one axis: one pass where a transform fits into a workgroup, two beyond. */
import { type ColumnDigit, fftKernel } from "../../shaders/fft.ts";
import type { StockhamShape } from "../../shaders/stockham.ts";
import { FastRpbError } from "../spec/errors.ts";
import type { PlannerLimits } from "../spec/limits.ts";
import type { FftSpec } from "../spec/operations.ts";
import { limitError, type Program, ProgramBuilder, type Slice, sliceBase, sliceBytes } from "./program.ts";
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
  const bound = limits.maxStorageBufferBindingSize - limits.minStorageBufferOffsetAlignment;
  const whole = spec.outer * slab <= limits.maxStorageBufferBindingSize && (single || spec.outer * slab <= limits.workspaceBytes);
  const outer = whole ? spec.outer : Math.floor((single ? bound : Math.min(bound, limits.workspaceBytes)) / slab);
  if (outer < 1) {
    const [limit, needed] = slab > bound ? (["maxStorageBufferBindingSize", slab] as const) : (["workspaceBytes", slab] as const);
    throw limitError(caller, limit, needed, limits[limit], "one transform with its inner axes");
  }
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
      digits: [
        { name: "inner", size: inner, sourceStride: 1, destinationStride: 1 },
        { name: "outer", size: outer, sourceStride: slab, destinationStride: slab },
      ],
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
    digits: [
      { name: "inner", size: inner, sourceStride: 1, destinationStride: 1 },
      { name: "row", size: b, sourceStride: inner, destinationStride: inner },
      { name: "outer", size: outer, sourceStride: slab, destinationStride: slab },
    ],
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
    digits: [
      { name: "inner", size: inner, sourceStride: 1, destinationStride: 1 },
      { name: "row", size: a, sourceStride: b * inner, destinationStride: natural ? inner : b * inner },
      { name: "outer", size: outer, sourceStride: slab, destinationStride: slab },
    ],
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

interface PassRequest extends Pick<FftRequest, "source" | "destination" | "scale"> {
  readonly passLength: number;
  readonly digits: readonly ColumnDigit[];
  readonly sourceStride: number;
  readonly destinationStride: number;
  readonly rootsOrder: number | undefined;
  readonly swapInput: boolean;
  readonly swapOutput: boolean;
}

function addPass(program: ProgramBuilder, pass: PassRequest): void {
  const columns = pass.digits.reduce((product, digit) => product * digit.size, 1);
  const shape = chooseShape(pass.passLength, columns, lanesFor(pass), program.limits)!;
  const tables = new TableLayout();
  const outer = pass.digits.at(-1)!;
  const kernel = fftKernel({
    shape,
    twiddleOffset: tables.twiddles(shape.radices),
    digits: pass.digits,
    sourceStride: pass.sourceStride,
    destinationStride: pass.destinationStride,
    roots: pass.rootsOrder === undefined ? undefined : tables.roots(pass.rootsOrder, pass.rootsOrder),
    swapInput: pass.swapInput,
    swapOutput: pass.swapOutput,
    scale: pass.scale,
  });
  const moved = columns * pass.passLength * COMPLEX_BYTES;
  program.dispatch({
    kernel,
    groups: Math.ceil(columns / shape.columns),
    params: {
      columns,
      sourceBase: sliceBase(kernel, "source", pass.source.slice) - pass.source.firstOuter * outer.sourceStride,
      destinationBase: sliceBase(kernel, "destination", pass.destination.slice) - pass.destination.firstOuter * outer.destinationStride,
    },
    uses: {
      source: { buffer: pass.source.buffer, reads: moved, ...(pass.source.slice && { slice: pass.source.slice }) },
      destination: { buffer: pass.destination.buffer, writes: moved, ...(pass.destination.slice && { slice: pass.destination.slice }) },
      tables: { buffer: program.table(tables.parts) },
    },
    flops: columns * (fftFlops(pass.passLength) + (pass.rootsOrder === undefined ? 0 : 6 * pass.passLength)),
  });
}

/** Neighbouring lanes take what is contiguous: columns where these lie side by side, points where a column is a row of memory. */
function lanesFor(pass: PassRequest): StockhamShape["lanes"] {
  const contiguous = pass.sourceStride === 1 && pass.destinationStride === 1;
  return contiguous ? "points" : "columns";
}
