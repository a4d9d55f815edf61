/**
 * The gradient of a Toeplitz product: that of the values is a product with the transposed matrices, that of the weights a correlation,
 * dWeights[h, o] = Σ_i dOut_i·v_{i+o} over batch and channels, by FFTs in which every offset has a place of its own.
 */
import { toeplitzCorrelateKernel } from "../../shaders/toeplitz-correlate.ts";
import { toeplitzPackKernel } from "../../shaders/toeplitz-pack.ts";
import { toeplitzWeightGradientKernel } from "../../shaders/toeplitz-weight-gradient.ts";
import { elementCount } from "../spec/check.ts";
import type { PlannerLimits } from "../spec/limits.ts";
import { type RelativePositions, type ToeplitzGradientSpec, type ToeplitzSpec, weightsShape } from "../spec/operations.ts";
import type { BufferEnd } from "./fft-pass.ts";
import { addFft } from "./fft-lines.ts";
import { lengthsUse } from "./lengths.ts";
import { limitError, type Program, ProgramBuilder, sliceBase } from "./program.ts";
import { convolutionLengths } from "./stockham.ts";
import { type AxisPeriod, type PairGroup, pairGroups } from "./toeplitz-layout.ts";
import { addToeplitz, rowsUse, spectrumBytes } from "./toeplitz.ts";
import { COMPLEX_BYTES, FLOAT_BYTES, MULTIPLY_FLOPS } from "./units.ts";
import { elementwiseLanes } from "./workgroups.ts";

export function planToeplitzGradient(caller: string, spec: ToeplitzGradientSpec, limits: PlannerLimits): Program {
  const program = new ProgramBuilder(caller, `toeplitz gradient ${(spec.grid ?? [spec.length]).join("×")}`, limits);
  const product: ToeplitzSpec = { ...spec, operation: "toeplitz" };
  const bytes = spec.batch * spec.heads * spec.length * spec.channels * FLOAT_BYTES;
  program.buffer("v", "input", bytes);
  program.buffer("spectrum", "input", spectrumBytes(product, limits));
  if (spec.variableLengths) program.buffer("lengths", "input", spec.batch * FLOAT_BYTES);
  program.buffer("dOut", "input", bytes);
  program.buffer("dv", "output", bytes);
  program.buffer("dWeights", "output", elementCount(weightsShape(spec)) * FLOAT_BYTES);
  addToeplitzGradient(program, product, "dWeights");
  return program.finish();
}

/** Adds the gradients of the buffers `v`, into `dv`, and of the weights behind `spectrum`, from `dOut`. */
export function addToeplitzGradient(program: ProgramBuilder, spec: ToeplitzSpec, dWeights: string): void {
  const correlation = declareCorrelation(program, [spec], spec.heads, 1);
  addToeplitz(program, spec, { v: "dOut", out: "dv", transposed: true });
  addCorrelations(program, spec, correlation, { gradients: "dOut", values: "v", firstSum: 0, accumulate: false });
  addWeightGradient(program, spec, correlation, { out: dWeights });
}

/** The axes of a correlation, and the workspaces that it goes through. */
export interface Correlation {
  readonly axes: readonly [y: AxisPeriod, x: AxisPeriod];
  readonly points: number;
  /** Heads × pairs that fit at a time. */
  readonly most: number;
}

/** Periods in which no two offsets fall together; a sequence is a grid of one row. */
export function correlationAxes({ length, grid }: RelativePositions, limits: PlannerLimits): Correlation["axes"] {
  const [height, width] = grid ?? [1, length];
  const sizes = height === 1 ? [width] : [height, width];
  const periods = convolutionLengths(
    sizes.map((size) => 2 * size - 1),
    limits,
  );
  const x = { size: width, period: periods.at(-1)! };
  return [height === 1 ? { size: 1, period: 1 } : { size: height, period: periods[0]! }, x];
}

/**
 * Declares the workspaces `values`, `gradients` (spectra), `packed`, `rows` and `correlations`.
 *
 * @param specs all that are correlated: of the same positions, the smaller ones in groups that may be larger
 * @param heads how many have weights
 * @param share of one half of the workspace that may be taken
 */
export function declareCorrelation(program: ProgramBuilder, specs: readonly ToeplitzSpec[], heads: number, share: number): Correlation {
  const { limits, caller } = program;
  const spec = specs[0]!;
  const axes = correlationAxes(spec, limits);
  const [y, x] = axes;
  const points = y.period * x.period;
  const rows = y.size > 1 ? y.size * x.period : 0;
  program.workspace("correlations", heads * points * COMPLEX_BYTES);
  const pairBytes = (2 * points + spec.length + rows) * COMPLEX_BYTES;
  const budget = (share * limits.workspaceBytes) / 2;
  const most = Math.min(Math.floor(budget / pairBytes), Math.floor(limits.maxStorageBufferBindingSize / (points * COMPLEX_BYTES)));
  if (most < 1) throw limitError(caller, "workspaceBytes", Math.ceil((2 * pairBytes) / share), limits.workspaceBytes, "one pair of channels");
  const largest = Math.max(...specs.flatMap((each) => pairGroups(program, each, most).map((group) => group.heads * group.pairs)));
  for (const name of ["values", "gradients"]) program.workspace(name, largest * points * COMPLEX_BYTES);
  program.workspace("packed", largest * spec.length * COMPLEX_BYTES);
  if (rows > 0) program.workspace("rows", largest * rows * COMPLEX_BYTES);
  return { axes, points, most };
}

/** Adds the correlations of two tensors of the shape of `v`, group by group, to those of the heads from `firstSum` on. */
export function addCorrelations(
  program: ProgramBuilder,
  spec: ToeplitzSpec,
  correlation: Correlation,
  tensors: { readonly gradients: string; readonly values: string; readonly firstSum: number; readonly accumulate: boolean },
): void {
  const { firstSum, accumulate } = tensors;
  for (const [i, group] of pairGroups(program, spec, correlation.most).entries()) {
    addPacked(program, spec, group, tensors.values, correlation, "values");
    addPacked(program, spec, group, tensors.gradients, correlation, "gradients");
    addCorrelate(program, spec, group, correlation, { firstSum, accumulate: accumulate || i > 0 });
  }
}

/** Adds the spectra of a group's pairs of channels, of `tensor`, to the workspace `spectra`. */
function addPacked(
  program: ProgramBuilder,
  spec: ToeplitzSpec,
  group: PairGroup,
  tensor: string,
  { axes, points }: Correlation,
  spectra: "values" | "gradients",
): void {
  const [y, x] = axes;
  const { heads, pairs } = group;
  const count = heads * pairs;
  const kernel = toeplitzPackKernel({
    lanes: elementwiseLanes(program.limits),
    length: spec.length,
    channels: spec.channels,
    variableLengths: spec.variableLengths,
  });
  const packedBytes = count * spec.length * COMPLEX_BYTES;
  program.dispatch({
    kernel,
    groups: Math.ceil((count * spec.length) / kernel.workgroupSize[0]),
    params: {
      count: count * spec.length,
      pairs,
      firstPair: group.firstPair,
      firstHead: group.firstHead,
      heads: spec.heads,
      valuesBase: sliceBase(kernel, "values", group.rows),
    },
    uses: {
      values: rowsUse(spec, group, tensor, "reads"),
      packed: { buffer: "packed", slice: program.part("packed", packedBytes), writes: packedBytes },
      ...lengthsUse(spec),
    },
    flops: 0,
  });
  const workspace = (name: string, elements: number): BufferEnd => ({
    buffer: name,
    slice: program.part(name, count * elements * COMPLEX_BYTES),
    firstOuter: 0,
  });
  const common = { inverse: false, scale: 1, order: "natural" } as const;
  const window = (axis: AxisPeriod) => ({ source: { rows: axis.size, limit: axis.size }, destination: {} });
  const packed = workspace("packed", spec.length);
  const spectrum = workspace(spectra, points);
  if (y.size === 1) {
    addFft(program, { ...common, layout: { outer: heads, length: x.period, inner: pairs }, source: packed, destination: spectrum, ends: window(x) });
    return;
  }
  const rows = workspace("rows", y.size * x.period);
  addFft(program, {
    ...common,
    layout: { outer: heads * y.size, length: x.period, inner: pairs },
    source: packed,
    destination: rows,
    ends: window(x),
  });
  const columns = { outer: heads, length: y.period, inner: x.period * pairs };
  addFft(program, { ...common, layout: columns, source: rows, destination: spectrum, ends: window(y) });
}

/** Adds the correlations of a group to `correlations`, or over what is there. */
function addCorrelate(
  program: ProgramBuilder,
  spec: ToeplitzSpec,
  group: PairGroup,
  { points }: Correlation,
  { firstSum, accumulate }: { readonly firstSum: number; readonly accumulate: boolean },
): void {
  const { heads, pairs } = group;
  const kernel = toeplitzCorrelateKernel({ lanes: elementwiseLanes(program.limits), points, accumulate });
  const bytes = heads * pairs * points * COMPLEX_BYTES;
  const sumBytes = spec.heads * points * COMPLEX_BYTES;
  program.dispatch({
    kernel,
    groups: Math.ceil((spec.heads * points) / kernel.workgroupSize[0]),
    params: { count: heads, pairs, firstHead: group.firstHead, heads: spec.heads, firstSum },
    uses: {
      gradients: { buffer: "gradients", slice: program.part("gradients", bytes), reads: bytes },
      values: { buffer: "values", slice: program.part("values", bytes), reads: bytes },
      sum: { buffer: "correlations", reads: accumulate ? sumBytes : 0, writes: sumBytes },
    },
    flops: heads * pairs * points * (MULTIPLY_FLOPS + 2),
  });
}

/** Adds the way back from `correlations` to the gradient of the weights. */
export function addWeightGradient(
  program: ProgramBuilder,
  spec: ToeplitzSpec,
  { axes, points }: Correlation,
  buffers: { readonly out: string; readonly factors?: string },
): void {
  const { heads } = spec;
  const [y, x] = axes;
  const bytes = heads * points * COMPLEX_BYTES;
  const sums: BufferEnd = { buffer: "correlations", slice: program.part("correlations", bytes), firstOuter: 0 };
  const common = { inverse: true, order: "natural", source: sums, destination: sums } as const;
  if (y.period > 1) addFft(program, { ...common, layout: { outer: heads, length: y.period, inner: x.period }, scale: 1 / y.period });
  addFft(program, { ...common, layout: { outer: heads * y.period, length: x.period, inner: 1 }, scale: 1 / x.period });
  const { factors } = buffers;
  const kernel = toeplitzWeightGradientKernel({
    lanes: elementwiseLanes(program.limits),
    y,
    x,
    causal: spec.causal,
    factors: factors !== undefined,
  });
  const weights = elementCount(weightsShape(spec));
  program.dispatch({
    kernel,
    groups: Math.ceil(weights / kernel.workgroupSize[0]),
    params: { count: weights, firstWeight: 0 },
    uses: {
      correlations: { buffer: "correlations", slice: sums.slice!, reads: weights * COMPLEX_BYTES },
      out: { buffer: buffers.out, writes: weights * FLOAT_BYTES },
      ...(factors !== undefined && { factors: { buffer: factors, reads: weights * FLOAT_BYTES } }),
    },
    flops: 0,
  });
}
