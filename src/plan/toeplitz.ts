/** Plans for FastRPB: weights to spectrum, and the Toeplitz product, fused in one dispatch or in three passes. */
import type { Kernel } from "../../shaders/kernel.ts";
import { toeplitzColumnsInverseKernel } from "../../shaders/toeplitz-columns-inverse.ts";
import { toeplitzColumnsKernel } from "../../shaders/toeplitz-columns.ts";
import { toeplitzEmbedKernel } from "../../shaders/toeplitz-embed.ts";
import { toeplitzFusedKernel } from "../../shaders/toeplitz-fused.ts";
import type { ToeplitzPassSpec } from "../../shaders/toeplitz-pass.ts";
import { toeplitzRowsKernel } from "../../shaders/toeplitz-rows.ts";
import type { PlannerLimits } from "../spec/limits.ts";
import type { SpectrumSpec, ToeplitzSpec } from "../spec/operations.ts";
import { nextSmooth } from "../spec/smooth.ts";
import { addFft, splitLength } from "./fft.ts";
import { bindableUnits, limitError, type Program, ProgramBuilder, type Slice, sliceBase, sliceBytes } from "./program.ts";
import { chooseShape, fftFlops, fits } from "./stockham.ts";
import { TableLayout } from "./tables.ts";
import { elementwiseLanes } from "./workgroups.ts";

const COMPLEX_BYTES = 8;
const FLOAT_BYTES = 4;
/** Circulant and skew-circulant. */
const BRANCHES = 2;
/** Real operations of a complex product. */
const MULTIPLY_FLOPS = 6;

/** M, the period of both halves of the matrix: a length with codelets, no padding to 2N. */
function toeplitzPeriod(length: number): number {
  return nextSmooth(length);
}

/** Bytes of a spectrum, [heads, 2, M] complex. */
export function spectrumBytes(spec: SpectrumSpec | ToeplitzSpec): number {
  return spec.heads * BRANCHES * toeplitzPeriod(spec.length) * COMPLEX_BYTES;
}

export function planSpectrum(caller: string, spec: SpectrumSpec, limits: PlannerLimits): Program {
  const program = new ProgramBuilder(caller, `toeplitz spectrum ${spec.length}`, limits);
  const period = toeplitzPeriod(spec.length);
  const headWeights = 2 * spec.length - 1;
  const headBytes = BRANCHES * period * COMPLEX_BYTES;
  const weights = program.buffer("weights", "input", spec.heads * headWeights * FLOAT_BYTES);
  const spectrum = program.buffer("spectrum", "output", spectrumBytes(spec));
  const buffersBetween = fits(period, limits) ? 1 : 2; // embedded, and the columns of a two-pass transform
  const bindable = bindableUnits(limits, headBytes, spec.heads);
  if (bindable < 1) {
    throw limitError(caller, "maxStorageBufferBindingSize", headBytes, limits.maxStorageBufferBindingSize, "the spectrum of one head");
  }
  const most = Math.min(bindable, Math.floor(limits.workspaceBytes / (headBytes * buffersBetween)));
  if (most < 1) throw limitError(caller, "workspaceBytes", headBytes * buffersBetween, limits.workspaceBytes, "the transform of one head's weights");
  const heads = Math.min(spec.heads, most);
  const embedded = program.buffer("embedded", "workspace", heads * headBytes);
  if (buffersBetween === 2) program.buffer("columns", "workspace", heads * headBytes);

  const tables = new TableLayout();
  const kernel = toeplitzEmbedKernel({
    lanes: elementwiseLanes(limits),
    length: spec.length,
    period,
    roots: tables.roots(2 * period, period),
    scaleOffset: tables.scale(0.5 / period),
  });
  for (let first = 0; first < spec.heads; first += heads) {
    const count = Math.min(heads, spec.heads - first);
    const lanes = count * period;
    const weightSlice = sliceBytes(limits, first * headWeights * FLOAT_BYTES, (first + count) * headWeights * FLOAT_BYTES);
    program.dispatch({
      kernel,
      groups: Math.ceil(lanes / kernel.workgroupSize[0]),
      params: { count: lanes, firstWeight: first * headWeights - sliceBase(kernel, "weights", weightSlice) },
      uses: {
        weights: { buffer: weights, slice: weightSlice, reads: count * headWeights * FLOAT_BYTES },
        embedded: { buffer: embedded, slice: { offset: 0, size: count * headBytes }, writes: count * headBytes },
        tables: { buffer: program.table(tables.parts) },
      },
      flops: lanes * (MULTIPLY_FLOPS + 4),
    });
    addFft(program, {
      outer: count * BRANCHES,
      length: period,
      inner: 1,
      source: { buffer: embedded, slice: { offset: 0, size: count * headBytes }, firstOuter: 0 },
      columns: "columns",
      destination: { buffer: spectrum, slice: sliceBytes(limits, first * headBytes, (first + count) * headBytes), firstOuter: first * BRANCHES },
      inverse: false,
      scale: 1,
      order: "transposed",
    });
  }
  return program.finish();
}

export function planToeplitz(caller: string, spec: ToeplitzSpec, limits: PlannerLimits): Program {
  const program = new ProgramBuilder(caller, `toeplitz ${spec.length}`, limits);
  const bytes = spec.batch * spec.heads * spec.length * spec.channels * FLOAT_BYTES;
  program.buffer("v", "input", bytes);
  program.buffer("spectrum", "input", spectrumBytes(spec));
  program.buffer("out", "output", bytes);
  addToeplitz(program, spec);
  return program.finish();
}

/** Adds a Toeplitz product of the buffers `v` and `spectrum`, into `out`. */
export function addToeplitz(program: ProgramBuilder, spec: ToeplitzSpec): void {
  const period = toeplitzPeriod(spec.length);
  if (fits(period, program.limits)) addFused(program, spec, period);
  else addPasses(program, spec, period);
}

/** A run of complex columns, pairs of channels numbered over all heads. */
interface ColumnGroup {
  readonly first: number;
  readonly count: number;
  /** Ranges to bind; `undefined` for a whole buffer. */
  readonly rows: Slice | undefined;
  readonly spectrum: Slice | undefined;
}

/**
 * Splits the columns so that every binding stays within its limit and a group has at most `mostColumns`. Groups are whole heads where
 * tensors are bound in part, so that a group's rows and spectra are contiguous.
 */
function columnGroups(program: ProgramBuilder, spec: ToeplitzSpec, mostColumns: number): ColumnGroup[] {
  const { limits } = program;
  const pairs = Math.ceil(spec.channels / 2);
  const allHeads = spec.batch * spec.heads;
  const headBytes = spec.length * spec.channels * FLOAT_BYTES;
  const headSpectrum = spectrumBytes(spec) / spec.heads;
  const binding = limits.maxStorageBufferBindingSize;
  const rowHeads = bindableUnits(limits, headBytes, allHeads);
  const spectrumHeads = bindableUnits(limits, headSpectrum, spec.heads);
  if (rowHeads < 1) throw limitError(program.caller, "maxStorageBufferBindingSize", headBytes, binding, "one head of v");
  if (spectrumHeads < 1) throw limitError(program.caller, "maxStorageBufferBindingSize", headSpectrum, binding, "one head of the spectrum");
  const spectrumWhole = spectrumHeads === spec.heads;
  const rowsWhole = rowHeads === allHeads;
  const groups: ColumnGroup[] = [];
  for (let head = 0; head < allHeads;) {
    // A part of the spectrum serves consecutive heads of one batch row.
    const untilWrap = spectrumWhole ? allHeads : Math.min(spectrumHeads, spec.heads - (head % spec.heads));
    const heads = Math.min(rowHeads, untilWrap, allHeads - head);
    const rows = rowsWhole ? undefined : sliceBytes(limits, head * headBytes, (head + heads) * headBytes);
    const h = head % spec.heads;
    const spectrum = spectrumWhole ? undefined : sliceBytes(limits, h * headSpectrum, (h + heads) * headSpectrum);
    const columns = heads * pairs;
    const parts = Math.ceil(columns / mostColumns);
    const step = Math.ceil(columns / parts); // groups of even size
    for (let first = 0; first < columns; first += step) {
      groups.push({ first: head * pairs + first, count: Math.min(step, columns - first), rows, spectrum });
    }
    head += heads;
  }
  return groups;
}

function addFused(program: ProgramBuilder, spec: ToeplitzSpec, period: number): void {
  const pairs = Math.ceil(spec.channels / 2);
  const shape = chooseShape(period, spec.batch * spec.heads * pairs, "columns", program.limits)!;
  const tables = new TableLayout();
  const kernel = toeplitzFusedKernel({
    shape,
    twiddleOffset: tables.twiddles(shape.radices),
    roots: tables.roots(2 * period, period),
    length: spec.length,
    channels: spec.channels,
  });
  const table = program.table(tables.parts);
  for (const group of columnGroups(program, spec, Infinity)) {
    const moved = rowBytes(spec, group);
    program.dispatch({
      kernel,
      groups: Math.ceil(group.count / shape.columns),
      params: {
        columns: group.count,
        firstColumn: group.first,
        heads: spec.heads,
        valuesBase: sliceBase(kernel, "values", group.rows),
        spectrumBase: sliceBase(kernel, "spectrum", group.spectrum),
        outBase: sliceBase(kernel, "out", group.rows),
      },
      uses: {
        values: { buffer: "v", ...(group.rows && { slice: group.rows }), reads: moved },
        // One head's spectrum serves all its columns: from memory it comes once.
        spectrum: spectrumUse(spec, group),
        tables: { buffer: table },
        out: { buffer: "out", ...(group.rows && { slice: group.rows }), writes: moved },
      },
      flops: group.count * BRANCHES * (2 * fftFlops(period) + 2 * MULTIPLY_FLOPS * period),
    });
  }
}

function addPasses(program: ProgramBuilder, spec: ToeplitzSpec, period: number): void {
  const { a, b } = splitLength(program, period);
  const { limits } = program;
  const columnBytes = BRANCHES * period * COMPLEX_BYTES;
  // The other workspace of a program that a Toeplitz product is part of is small; it gets a sixteenth.
  const budget = Math.min(limits.workspaceBytes - Math.floor(limits.workspaceBytes / 16), limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  const most = Math.floor(budget / columnBytes);
  if (most < 1) {
    const limit = limits.maxStorageBufferBindingSize < columnBytes ? "maxStorageBufferBindingSize" : "workspaceBytes";
    throw limitError(program.caller, limit, columnBytes, limits[limit], "the transform of one pair of channels");
  }
  const groups = columnGroups(program, spec, most);
  const largest = Math.max(...groups.map((group) => group.count));
  const work = program.buffer("work", "workspace", largest * columnBytes);
  const pass = (length: number, columns: number): { spec: ToeplitzPassSpec; table: string } => {
    const shape = chooseShape(length, columns, "columns", limits)!;
    const tables = new TableLayout();
    const passSpec = {
      shape,
      twiddleOffset: tables.twiddles(shape.radices),
      roots: tables.roots(2 * period, 2 * period),
      length: spec.length,
      a,
      b,
      channels: spec.channels,
    };
    return { spec: passSpec, table: program.table(tables.parts) };
  };
  const column = pass(a, largest * b);
  const row = pass(b, largest * a * BRANCHES);
  const forward = toeplitzColumnsKernel(column.spec);
  const middle = toeplitzRowsKernel(row.spec);
  const inverse = toeplitzColumnsInverseKernel(column.spec);
  for (const group of groups) {
    const common = { pairs: group.count, firstPair: group.first, heads: spec.heads };
    const moved = rowBytes(spec, group);
    const workBytes = group.count * columnBytes;
    const workSlice = { offset: 0, size: workBytes };
    const passFlops = (kernel: Kernel, length: number, transforms: number) => ({
      kernel,
      flops: group.count * BRANCHES * (period / length) * (transforms * fftFlops(length) + 2 * MULTIPLY_FLOPS * length),
    });
    program.dispatch({
      ...passFlops(forward, a, 1),
      groups: Math.ceil((group.count * b) / column.spec.shape.columns),
      params: { ...common, valuesBase: sliceBase(forward, "values", group.rows) },
      uses: {
        values: { buffer: "v", ...(group.rows && { slice: group.rows }), reads: moved },
        tables: { buffer: column.table },
        work: { buffer: work, slice: workSlice, writes: workBytes },
      },
    });
    program.dispatch({
      ...passFlops(middle, b, 2),
      groups: Math.ceil((group.count * a * BRANCHES) / row.spec.shape.columns),
      params: { ...common, spectrumBase: sliceBase(middle, "spectrum", group.spectrum) },
      uses: {
        work: { buffer: work, slice: workSlice, reads: workBytes, writes: workBytes },
        spectrum: spectrumUse(spec, group),
        tables: { buffer: row.table },
      },
    });
    program.dispatch({
      ...passFlops(inverse, a, 1),
      groups: Math.ceil((group.count * b) / column.spec.shape.columns),
      params: { ...common, outBase: sliceBase(inverse, "out", group.rows) },
      uses: {
        work: { buffer: work, slice: workSlice, reads: workBytes },
        tables: { buffer: column.table },
        out: { buffer: "out", ...(group.rows && { slice: group.rows }), writes: moved },
      },
    });
  }
}

/** Bytes of v, and of the output, that belong to a group: a pair is two channels, or the odd last one. */
function rowBytes(spec: ToeplitzSpec, group: ColumnGroup): number {
  const pairs = Math.ceil(spec.channels / 2);
  const channelsBefore = (column: number) => Math.floor(column / pairs) * spec.channels + Math.min(2 * (column % pairs), spec.channels);
  return (channelsBefore(group.first + group.count) - channelsBefore(group.first)) * spec.length * FLOAT_BYTES;
}

function spectrumUse(spec: ToeplitzSpec, group: ColumnGroup): { buffer: string; slice?: Slice; reads: number } {
  const pairs = Math.ceil(spec.channels / 2);
  const firstHead = Math.floor(group.first / pairs);
  const lastHead = Math.floor((group.first + group.count - 1) / pairs);
  const heads = Math.min(lastHead - firstHead + 1, spec.heads);
  return { buffer: "spectrum", ...(group.spectrum && { slice: group.spectrum }), reads: (heads * spectrumBytes(spec)) / spec.heads };
}
