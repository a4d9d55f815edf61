/** Plans for FastRPB: weights to spectrum, and the Toeplitz product, fused in one dispatch or in three passes. */
import { ELEMENT_BYTES, type Kernel } from "../../shaders/kernel.ts";
import type { StockhamShape } from "../../shaders/stockham.ts";
import { toeplitzColumnsInverseKernel } from "../../shaders/toeplitz-columns-inverse.ts";
import { toeplitzColumnsKernel } from "../../shaders/toeplitz-columns.ts";
import { toeplitzFusedKernel } from "../../shaders/toeplitz-fused.ts";
import { toeplitzGridRowsKernel } from "../../shaders/toeplitz-grid-rows.ts";
import type { ToeplitzPassSpec } from "../../shaders/toeplitz-pass.ts";
import { toeplitzRowsKernel } from "../../shaders/toeplitz-rows.ts";
import type { PlannerLimits } from "../spec/limits.ts";
import type { SpectrumSpec, ToeplitzSpec } from "../spec/operations.ts";
import { lengthsUse } from "./lengths.ts";
import { type BindingUse, limitError, type Program, ProgramBuilder, sliceBase } from "./program.ts";
import { chooseShape, fftFlops } from "./stockham.ts";
import { TableLayout } from "./tables.ts";
import {
  type AxisPeriod,
  axisWithRoots,
  branchPoints,
  headSpectrumBytes,
  type PairGroup,
  pairGroups,
  type ToeplitzLayout,
  toeplitzLayout,
} from "./toeplitz-layout.ts";
import { COMPLEX_BYTES, FLOAT_BYTES, MULTIPLY_FLOPS } from "./units.ts";

/** Up to so many pairs of channels, neighbouring rows lie closer than a memory sector: lanes run along them. */
const FEW_PAIRS = 2;
/** Circulant and skew-circulant, of the axis that the columns run along. */
const COLUMN_BRANCHES = 2;

export function spectrumBytes(spec: SpectrumSpec | ToeplitzSpec, limits: PlannerLimits): number {
  return spec.heads * headSpectrumBytes(spec, limits);
}

export function planToeplitz(caller: string, spec: ToeplitzSpec, limits: PlannerLimits): Program {
  const program = new ProgramBuilder(caller, `toeplitz ${(spec.grid ?? [spec.length]).join("×")}`, limits);
  const bytes = spec.batch * spec.heads * spec.length * spec.channels * FLOAT_BYTES;
  program.buffer("v", "input", bytes);
  program.buffer("spectrum", "input", spectrumBytes(spec, limits));
  if (spec.variableLengths) program.buffer("lengths", "input", spec.batch * FLOAT_BYTES);
  program.buffer("out", "output", bytes);
  addToeplitz(program, spec);
  return program.finish();
}

/** Which buffers a product is of, and whether it is that of the transposed matrices. */
export interface ToeplitzBuffers {
  readonly v: string;
  readonly out: string;
  readonly transposed: boolean;
  /** Where among the spectra that of head 0 is, if the heads are some of those that have one. */
  readonly firstSpectrum?: number;
}

/**
 * Adds a Toeplitz product with the buffer `spectrum`, and of `lengths` where there are such; of `v`, into `out`, where nothing else is said.
 * Other workspaces of the program are best declared before.
 */
export function addToeplitz(program: ProgramBuilder, spec: ToeplitzSpec, buffers: ToeplitzBuffers = { v: "v", out: "out", transposed: false }): void {
  const layout = toeplitzLayout(program, spec);
  if (layout.kind === "fused") addFused(program, spec, layout.axes, buffers);
  else addPasses(program, spec, layout, buffers);
}

function addFused(program: ProgramBuilder, spec: ToeplitzSpec, axes: readonly AxisPeriod[], buffers: ToeplitzBuffers): void {
  const pairs = Math.ceil(spec.channels / 2);
  const lengths = axes.map((axis) => axis.period);
  const columns = spec.batch * spec.heads * pairs;
  const shape = chooseShape({ lengths, columns, lanes: lanesFor(pairs) }, program.limits)!;
  const tables = new TableLayout();
  const kernel = toeplitzFusedKernel({
    shape,
    twiddles: tables.twiddles(shape.axes),
    axes: axes.map((axis) => axisWithRoots(tables, axis)),
    channels: spec.channels,
    transposed: buffers.transposed,
    variableLengths: spec.variableLengths,
    storage: spec.storage,
  });
  const table = program.table(tables.parts);
  const points = branchPoints(axes);
  const spectrumHead = headSpectrumBytes(spec, program.limits);
  for (const group of pairGroups(program, spec, Infinity, buffers.firstSpectrum)) {
    const count = group.heads * group.pairs;
    program.dispatch({
      kernel,
      groups: Math.ceil(count / shape.columns),
      params: {
        columns: count,
        firstColumn: group.firstHead * pairs,
        heads: spec.heads,
        valuesBase: sliceBase(kernel, "values", group.rows),
        spectrumBase: spectrumBase(kernel, group, buffers, spectrumHead),
        outBase: sliceBase(kernel, "out", group.rows),
      },
      uses: {
        values: rowsUse(spec, group, buffers.v, "reads"),
        spectrum: spectrumUse(spec, group, spectrumHead),
        tables: { buffer: table },
        out: rowsUse(spec, group, buffers.out, "writes"),
        ...lengthsUse(spec),
      },
      flops: count * 2 ** axes.length * (2 * fftFlops(points) + (1 + 2 * axes.length) * MULTIPLY_FLOPS * points),
    });
  }
}

/** One of the three passes, without what differs from group to group. */
interface Pass {
  readonly kernel: Kernel;
  readonly shape: StockhamShape;
  readonly table: string;
  /** For one pair of one head. */
  readonly columns: number;
  readonly flops: number;
}

function addPasses(program: ProgramBuilder, spec: ToeplitzSpec, layout: Exclude<ToeplitzLayout, { kind: "fused" }>, buffers: ToeplitzBuffers): void {
  // Columns of `a` points, `b` of them; rows of `b`, on a grid padded to the period of x.
  const { a, b, row } =
    layout.kind === "grid" ? { a: layout.y.period, b: layout.x.size, row: layout.x.period } : { a: layout.a, b: layout.b, row: layout.b };
  const work = "work";
  const pairBytes = COLUMN_BRANCHES * a * b * COMPLEX_BYTES;
  const most = Math.floor(program.affordable(work) / pairBytes);
  if (most < 1) {
    const limit = program.limits.maxStorageBufferBindingSize < pairBytes ? "maxStorageBufferBindingSize" : "workspaceBytes";
    throw limitError(program.caller, limit, pairBytes, program.limits[limit], "the transform of one pair of channels");
  }
  const groups = pairGroups(program, spec, most, buffers.firstSpectrum);
  const largest = Math.max(...groups.map((group) => group.heads * group.pairs));
  program.workspace(work, largest * pairBytes);
  const pass = (
    length: number,
    columns: number,
    lanes: StockhamShape["lanes"],
    transforms: number,
    make: (spec: ToeplitzPassSpec, tables: TableLayout) => Kernel,
  ): Pass => {
    const shape = chooseShape({ lengths: [length], columns: largest * columns, lanes }, program.limits)!;
    const tables = new TableLayout();
    const { length: tokens, channels, variableLengths, storage } = spec;
    const { transposed } = buffers;
    const kernel = make(
      { shape, twiddles: tables.twiddles(shape.axes), length: tokens, a, b, channels, transposed, variableLengths, storage },
      tables,
    );
    const flops = columns * transforms * (fftFlops(length) + MULTIPLY_FLOPS * length);
    return { kernel, shape, table: program.table(tables.parts), columns, flops };
  };
  const lines = COLUMN_BRANCHES * a;
  const lanes = lanesFor(groups[0]!.pairs);
  const axisRoots = (tables: TableLayout, period: number) => tables.roots(2 * period, period);
  const sequenceRoots = (tables: TableLayout) => tables.roots(2 * a * b, 2 * a * b);
  const forward = pass(a, b, "columns", COLUMN_BRANCHES, (base, tables) => {
    const roots = layout.kind === "grid" ? undefined : sequenceRoots(tables);
    return toeplitzColumnsKernel({ ...base, axisRoots: axisRoots(tables, a), roots });
  });
  const middle =
    layout.kind === "grid"
      ? pass(row, lines, lanes, 4, (base, tables) => toeplitzGridRowsKernel({ ...base, axisRoots: axisRoots(tables, row) }))
      : pass(row, lines, lanes, 2, (base, tables) => toeplitzRowsKernel({ ...base, roots: sequenceRoots(tables) }));
  const inverse = pass(a, b, "columns", COLUMN_BRANCHES, (base, tables) => {
    return toeplitzColumnsInverseKernel({ ...base, axisRoots: axisRoots(tables, a) });
  });
  const spectrumHead = headSpectrumBytes(spec, program.limits);
  for (const group of groups) {
    const count = group.heads * group.pairs;
    const bytes = count * pairBytes;
    const slice = program.part(work, bytes);
    const add = (
      { kernel, shape, table, columns, flops }: Pass,
      params: Readonly<Record<string, number>>,
      uses: Readonly<Record<string, BindingUse>>,
    ) =>
      program.dispatch({
        kernel,
        groups: Math.ceil((count * columns) / shape.columns),
        params: {
          columns: count * columns,
          pairs: group.pairs,
          firstPair: group.firstPair,
          firstHead: group.firstHead,
          heads: spec.heads,
          ...params,
        },
        uses: { ...uses, tables: { buffer: table }, ...lengthsUse(spec) },
        flops: count * flops,
      });
    add(
      forward,
      { valuesBase: sliceBase(forward.kernel, "values", group.rows) },
      { values: rowsUse(spec, group, buffers.v, "reads"), work: { buffer: work, slice, writes: bytes } },
    );
    add(
      middle,
      { spectrumBase: spectrumBase(middle.kernel, group, buffers, spectrumHead) },
      { work: { buffer: work, slice, reads: bytes, writes: bytes }, spectrum: spectrumUse(spec, group, spectrumHead) },
    );
    add(
      inverse,
      { outBase: sliceBase(inverse.kernel, "out", group.rows) },
      { work: { buffer: work, slice, reads: bytes }, out: rowsUse(spec, group, buffers.out, "writes") },
    );
  }
}

/** What a kernel subtracts from the place of a head's spectrum among those of its own heads. */
function spectrumBase(kernel: Kernel, group: PairGroup, { firstSpectrum = 0 }: ToeplitzBuffers, headBytes: number): number {
  return sliceBase(kernel, "spectrum", group.spectrum) - (firstSpectrum * headBytes) / COMPLEX_BYTES;
}

function lanesFor(pairs: number): StockhamShape["lanes"] {
  return pairs <= FEW_PAIRS ? "points" : "columns";
}

/** What a group reads of v, or writes of the output: a pair is two channels, or the odd last one. */
export function rowsUse(spec: ToeplitzSpec, group: PairGroup, buffer: string, moves: "reads" | "writes"): BindingUse {
  const channels = Math.min(2 * (group.firstPair + group.pairs), spec.channels) - 2 * group.firstPair;
  const bytes = group.heads * spec.length * channels * ELEMENT_BYTES[spec.storage];
  return { buffer, ...(group.rows && { slice: group.rows }), [moves]: bytes };
}

/** One head's spectrum serves all its pairs: from memory it comes once. */
function spectrumUse(spec: ToeplitzSpec, group: PairGroup, headBytes: number): BindingUse {
  const reads = Math.min(group.heads, spec.heads) * headBytes;
  return { buffer: "spectrum", ...(group.spectrum && { slice: group.spectrum }), reads };
}
