/**
 * The gradient of a Toeplitz product: that of the values is a product with the transposed matrices, that of the weights a correlation,
 * dWeights[h, o] = Σ_i dOut_i·v_{i+o} over batch and channels, by FFTs in which every offset has a place of its own.
 */
import { toeplitzCorrelateKernel } from "../../../shaders/toeplitz/correlate.ts";
import { toeplitzPackKernel } from "../../../shaders/toeplitz/pack.ts";
import { toeplitzWeightGradientKernel } from "../../../shaders/toeplitz/weight-gradient.ts";
import { elementCount } from "../../core/check.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import { type RelativePositions, type ToeplitzGradientSpec, type ToeplitzSpec, weightsShape } from "../specs.ts";
import type { BufferEnd } from "../fft/pass.ts";
import { addFft } from "../fft/lines.ts";
import { lengthsUse } from "../lengths.ts";
import { bindableUnits, limitError, type Program, ProgramBuilder, sliceBase, sliceBytes } from "../../program/program.ts";
import { forSlices } from "../../program/pieces.ts";
import { convolutionLengths } from "../fft/stockham.ts";
import { type AxisPeriod, type PairGroup, pairGroups } from "./layout.ts";
import { addToeplitz, rowsUse, spectrumBytes } from "./plan.ts";
import { COMPLEX_BYTES, FLOAT_BYTES, MULTIPLY_FLOPS } from "../../program/units.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";

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

/** Products with corners that hold the factors of a token. */
const FACTORS = 4;
/** Of the workspace, what the correlations of several heads may take; otherwise heads go one after the other. */
const MOST_HELD = 1 / 4;

/** Adds the gradients of the buffers `v`, into `dv`, and of the weights behind `spectrum`, from `dOut`. */
export function addToeplitzGradient(program: ProgramBuilder, spec: ToeplitzSpec, dWeights: string): void {
  const { heads } = spec;
  const headBytes = correlationPoints(spec, program.limits) * COMPLEX_BYTES;
  const affordable = Math.min(MOST_HELD * program.limits.workspaceBytes, program.limits.maxBufferSize);
  const held = heads * headBytes <= affordable ? heads : 1;
  const correlation = declareCorrelation(program, [spec], held, 1);
  addToeplitz(program, spec, { v: "dOut", out: "dv", transposed: true });
  for (let first = 0; first < heads; first += held) {
    const range = { first, count: held };
    addCorrelations(program, spec, correlation, { gradients: "dOut", values: "v", firstSum: 0, accumulate: false, range });
    addWeightGradient(program, spec, correlation, { out: dWeights, range });
  }
}

/** Some of the heads that have weights. */
interface HeadRange {
  readonly first: number;
  readonly count: number;
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

function correlationPoints(positions: RelativePositions, limits: PlannerLimits): number {
  const [y, x] = correlationAxes(positions, limits);
  return y.period * x.period;
}

/**
 * Declares the workspaces `values`, `gradients` (spectra), `packed`, `rows` and `correlations`.
 *
 * @param specs all that are correlated: of the same positions, the smaller ones in groups that may be larger
 * @param heads how many have a place in `correlations`
 * @param share of one half of the workspace that may be taken
 */
export function declareCorrelation(program: ProgramBuilder, specs: readonly ToeplitzSpec[], heads: number, share: number): Correlation {
  const { limits, caller } = program;
  const spec = specs[0]!;
  const axes = correlationAxes(spec, limits);
  const [y, x] = axes;
  const points = y.period * x.period;
  const rows = y.size > 1 ? y.size * x.period : 0;
  const pointBytes = points * COMPLEX_BYTES;
  if (bindableUnits(limits, pointBytes, heads) < 1) {
    throw limitError(caller, "maxStorageBufferBindingSize", pointBytes, limits.maxStorageBufferBindingSize, "the correlation of one head");
  }
  program.workspace("correlations", heads * pointBytes);
  const pairBytes = 2 * pointBytes + (spec.length + rows) * COMPLEX_BYTES;
  // The other half is for the passes of transforms.
  const budget = (share * (limits.workspaceBytes - heads * pointBytes)) / 2;
  const most = Math.min(Math.floor(budget / pairBytes), Math.floor(limits.maxStorageBufferBindingSize / pointBytes));
  if (most < 1) {
    const needed = heads * pointBytes + Math.ceil((2 * pairBytes) / share);
    throw limitError(caller, "workspaceBytes", needed, limits.workspaceBytes, "one pair of channels");
  }
  const largest = Math.max(...specs.flatMap((each) => pairGroups(program, each, most).map((group) => group.heads * group.pairs)));
  for (const name of ["values", "gradients"]) program.workspace(name, largest * points * COMPLEX_BYTES);
  program.workspace("packed", largest * spec.length * COMPLEX_BYTES);
  if (rows > 0) program.workspace("rows", largest * rows * COMPLEX_BYTES);
  return { axes, points, most };
}

/** Which correlations are added up. */
export interface CorrelatedTensors {
  /** Of the shape of `v`. */
  readonly gradients: string;
  readonly values: string;
  /** Place of the first head, or of the first of `range`, in `correlations`. */
  readonly firstSum: number;
  /** Whether they are added to what is there. */
  readonly accumulate: boolean;
  /** The heads that are correlated, all or one; all when left out. */
  readonly range?: HeadRange;
}

/** Adds the correlations of two tensors, group by group, to the workspace `correlations`. */
export function addCorrelations(program: ProgramBuilder, spec: ToeplitzSpec, correlation: Correlation, tensors: CorrelatedTensors): void {
  const { heads } = spec;
  const { firstSum, accumulate, range = { first: 0, count: heads } } = tensors;
  // Groups of one head where they are done one by one.
  const most = range.count === heads ? correlation.most : Math.min(correlation.most, Math.ceil(spec.channels / 2));
  const mostSums = bindableUnits(program.limits, correlation.points * COMPLEX_BYTES, heads);
  const written = new Set(accumulate ? Array.from({ length: heads }, (_, h) => h) : []);
  for (const group of pairGroups(program, spec, most)) {
    const own = headsOf(group, heads);
    if (range.count < heads && !own.includes(range.first)) continue;
    addPacked(program, spec, group, tensors.values, correlation, "values");
    addPacked(program, spec, group, tensors.gradients, correlation, "gradients");
    for (const run of runs(own, mostSums, (h) => written.has(h))) {
      addCorrelate(program, spec, group, correlation, run, { sum: firstSum + run.first - range.first, accumulate: written.has(run.first) });
    }
    for (const h of own) written.add(h);
  }
}

/** Which heads of a batch entry a group has, in order. */
function headsOf({ firstHead, heads: count }: PairGroup, heads: number): readonly number[] {
  const own = Array.from({ length: Math.min(count, heads) }, (_, i) => (firstHead + i) % heads);
  return own.sort((a, b) => a - b);
}

/** Neighbouring heads that are alike, at most so many. */
function runs(heads: readonly number[], most: number, kind: (head: number) => boolean): readonly HeadRange[] {
  const found: { first: number; count: number }[] = [];
  for (const h of heads) {
    const last = found.at(-1);
    if (last && last.count < most && h === last.first + last.count && kind(h) === kind(last.first)) last.count++;
    else found.push({ first: h, count: 1 });
  }
  return found;
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

/** Adds the correlations of some of a group's heads to `correlations`, from the place `sum` on. */
function addCorrelate(
  program: ProgramBuilder,
  spec: ToeplitzSpec,
  group: PairGroup,
  { points }: Correlation,
  run: HeadRange,
  { sum, accumulate }: { readonly sum: number; readonly accumulate: boolean },
): void {
  const { pairs } = group;
  const kernel = toeplitzCorrelateKernel({ lanes: elementwiseLanes(program.limits), points, accumulate });
  const pointBytes = points * COMPLEX_BYTES;
  const groupBytes = group.heads * pairs * pointBytes;
  // Of the group's heads, those that stand at the run's places in a batch entry.
  const correlated = Array.from({ length: group.heads }, (_, i) => (group.firstHead + i) % spec.heads);
  const heads = correlated.filter((h) => h >= run.first && h < run.first + run.count).length;
  const bytes = heads * pairs * pointBytes;
  const sumBytes = run.count * pointBytes;
  const slice = sliceBytes(program.limits, sum * pointBytes, sum * pointBytes + sumBytes);
  program.dispatch({
    kernel,
    groups: Math.ceil((run.count * points) / kernel.workgroupSize[0]),
    params: {
      count: group.heads,
      pairs,
      firstHead: group.firstHead,
      heads: spec.heads,
      swept: run.count,
      firstSwept: run.first,
      sumBase: sliceBase(kernel, "sum", slice) - sum * points,
    },
    uses: {
      gradients: { buffer: "gradients", slice: program.part("gradients", groupBytes), reads: bytes },
      values: { buffer: "values", slice: program.part("values", groupBytes), reads: bytes },
      sum: { buffer: "correlations", slice, reads: accumulate ? sumBytes : 0, writes: sumBytes },
    },
    flops: heads * pairs * points * (MULTIPLY_FLOPS + 2),
  });
}

/**
 * Adds the way back from `correlations` to the gradient of the weights.
 *
 * @param buffers `range`: the heads that are there; all when left out
 */
export function addWeightGradient(
  program: ProgramBuilder,
  spec: ToeplitzSpec,
  { axes, points }: Correlation,
  buffers: { readonly out: string; readonly factors?: string; readonly range?: HeadRange },
): void {
  const { factors, range = { first: 0, count: spec.heads } } = buffers;
  const [y, x] = axes;
  const weights = elementCount(weightsShape(spec).slice(1));
  const [weightBytes, factorBytes] = [weights * FLOAT_BYTES, spec.length * FACTORS * FLOAT_BYTES];
  const kernel = toeplitzWeightGradientKernel({
    lanes: elementwiseLanes(program.limits),
    y,
    x,
    causal: spec.causal,
    factors: factors !== undefined,
  });
  const each = [points * COMPLEX_BYTES, weightBytes, ...(factors === undefined ? [] : [factorBytes])];
  forSlices(program, "the weights of one head", range.count, each, (first, count) => {
    const part = (bytes: number, from: number) => sliceBytes(program.limits, from * bytes, (from + count) * bytes);
    const sums: BufferEnd = { buffer: "correlations", slice: part(points * COMPLEX_BYTES, first), firstOuter: first };
    const common = { inverse: true, order: "natural", source: sums, destination: sums } as const;
    if (y.period > 1) addFft(program, { ...common, layout: { outer: count, length: y.period, inner: x.period }, scale: 1 / y.period });
    const rows: BufferEnd = { ...sums, firstOuter: first * y.period };
    addFft(program, {
      ...common,
      source: rows,
      destination: rows,
      layout: { outer: count * y.period, length: x.period, inner: 1 },
      scale: 1 / x.period,
    });
    const head = range.first + first;
    const out = part(weightBytes, head);
    const factorSlice = part(factorBytes, head);
    program.dispatch({
      kernel,
      groups: Math.ceil((count * weights) / kernel.workgroupSize[0]),
      params: {
        count: count * weights,
        correlationsBase: sliceBase(kernel, "correlations", sums.slice) - first * points,
        outBase: sliceBase(kernel, "out", out) - head * weights,
        ...(factors !== undefined && { factorsBase: sliceBase(kernel, "factors", factorSlice) - head * spec.length * FACTORS }),
      },
      uses: {
        correlations: { buffer: sums.buffer, slice: sums.slice!, reads: count * weights * COMPLEX_BYTES },
        out: { buffer: buffers.out, slice: out, writes: count * weightBytes },
        ...(factors !== undefined && { factors: { buffer: factors, slice: factorSlice, reads: count * weightBytes } }),
      },
      flops: 0,
    });
  });
}
