/** Plans for FastRPB: the Toeplitz product, fused in one dispatch, or in three passes (toeplitz-passes.ts). */
import { ELEMENT_BYTES, type Kernel } from "../../../shaders/wgsl/kernel.ts";
import type { StockhamShape } from "../../../shaders/fft/stockham.ts";
import { toeplitzFusedKernel } from "../../../shaders/toeplitz/fused.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import type { SpectrumSpec, ToeplitzSpec } from "../specs.ts";
import { lengthsUse } from "../lengths.ts";
import { need } from "../parts.ts";
import { type BindingUse, type Program, ProgramBuilder, sliceBase } from "../../program/program.ts";
import { chooseShape, fftFlops } from "../fft/stockham.ts";
import { TableLayout } from "../../program/tables.ts";
import { type AxisPeriod, axisWithRoots, branchPoints, headSpectrumBytes, type PairGroup, pairGroups, toeplitzLayout } from "./layout.ts";
import { COMPLEX_BYTES, FLOAT_BYTES, MULTIPLY_FLOPS } from "../../program/units.ts";

/** Up to so many pairs of channels, neighbouring rows lie closer than a memory sector: lanes run along them. */
const FEW_PAIRS = 2;

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
  else need("toeplitzPasses").addToeplitzPasses(program, spec, layout, buffers);
}

function addFused(program: ProgramBuilder, spec: ToeplitzSpec, axes: readonly AxisPeriod[], buffers: ToeplitzBuffers): void {
  const pairs = Math.ceil(spec.channels / 2);
  const lengths = axes.map((axis) => axis.period);
  const columns = spec.batch * spec.heads * pairs;
  const shape = chooseShape({ lengths, columns, lanes: lanesFor(pairs) }, program.limits)!;
  const tables = new TableLayout(program.limits.choices);
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

/** What a kernel subtracts from the place of a head's spectrum among those of its own heads. */
export function spectrumBase(kernel: Kernel, group: PairGroup, { firstSpectrum = 0 }: ToeplitzBuffers, headBytes: number): number {
  return sliceBase(kernel, "spectrum", group.spectrum) - (firstSpectrum * headBytes) / COMPLEX_BYTES;
}

export function lanesFor(pairs: number): StockhamShape["lanes"] {
  return pairs <= FEW_PAIRS ? "points" : "columns";
}

/** What a group reads of v, or writes of the output: a pair is two channels, or the odd last one. */
export function rowsUse(spec: ToeplitzSpec, group: PairGroup, buffer: string, moves: "reads" | "writes"): BindingUse {
  const channels = Math.min(2 * (group.firstPair + group.pairs), spec.channels) - 2 * group.firstPair;
  const bytes = group.heads * spec.length * channels * ELEMENT_BYTES[spec.storage];
  return { buffer, ...(group.rows && { slice: group.rows }), [moves]: bytes };
}

/**
 * One head's spectrum serves all its pairs: from memory it comes once.
 *
 * @param headBytes what is read of it
 */
export function spectrumUse(spec: ToeplitzSpec, group: PairGroup, headBytes: number): BindingUse {
  const reads = Math.min(group.heads, spec.heads) * headBytes;
  return { buffer: "spectrum", ...(group.spectrum && { slice: group.spectrum }), reads };
}
