/**
 * Correlations of two tensors over their positions, Σ_i g_i·v_{i+o} for every offset o, by FFTs in which every offset has a place of its own: what
 * gradients of weights are made of.
 */
import { workgroupLanes } from "../../../shaders/fft/stockham.ts";
import { toeplitzCorrelateFusedKernel } from "../../../shaders/toeplitz/correlate-fused.ts";
import { toeplitzCorrelateKernel } from "../../../shaders/toeplitz/correlate.ts";
import { toeplitzPackKernel } from "../../../shaders/toeplitz/pack.ts";
import { elementCount } from "../../core/check.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import { fftFlops, MULTIPLY_FLOPS } from "../../math/flops.ts";
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { bindable, bindableUnits, firstBytes, largestScratch, limitError, type Slice, sliceBytes } from "../../program/ranges.ts";
import type { Span } from "../../program/slices.ts";
import { COMPLEX_BYTES, FLOAT_BYTES } from "../../program/units.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import { columnTransform } from "../fft/columns.ts";
import { addFft } from "../fft/lines.ts";
import type { BufferEnd } from "../fft/pass.ts";
import { convolutionLengths } from "../fft/stockham.ts";
import { lengthsUse } from "../lengths.ts";
import { type AxisPeriod, axisWithRoots, type PairGroup, pairGroups, toeplitzLayout } from "./layout.ts";
import { boundStrides, type ToeplitzProduct } from "./outside.ts";
import { lanesFor, rowsUse } from "./pairs.ts";
import type { RelativePositions } from "./spec.ts";

/** Sums of correlations. */
export interface CorrelationSums {
  readonly axes: readonly [y: AxisPeriod, x: AxisPeriod];
  /** Points of the correlation of one head. */
  readonly points: number;
  /** Sums of the correlations of each head, [heads, points] complex. */
  readonly sums: Handle;
}

/** The axes of a correlation, and how much of it is done at a time. */
export interface Correlation extends CorrelationSums {
  /** Heads × pairs of channels that fit at a time. */
  readonly most: number;
  /** Bytes of scratch that it holds at most besides the sums; transforms take scratch beside those. */
  readonly bytes: number;
}

/** The axes of a correlation, with periods in which no two offsets fall together; a sequence is a grid of one row. */
function correlationAxes({ length, grid }: RelativePositions, limits: PlannerLimits): Correlation["axes"] {
  const [height, width] = grid ?? [1, length];
  const sizes = height === 1 ? [width] : [height, width];
  const periods = convolutionLengths(
    sizes.map((size) => 2 * size - 1),
    limits,
  );
  const x = { size: width, period: periods.at(-1)! };
  return [height === 1 ? { size: 1, period: 1 } : { size: height, period: periods[0]! }, x];
}

/** Points of the correlation of one head. */
export function correlationPoints(positions: RelativePositions, limits: PlannerLimits): number {
  const [y, x] = correlationAxes(positions, limits);
  return y.period * x.period;
}

/**
 * Makes room for the sums of correlations.
 *
 * @param specs all that are correlated: of the same positions, the smaller ones in groups that may be larger
 * @param heads how many have a place among the sums
 * @param scratch bytes in all: half of what the sums leave, or `share` of that, goes into what is correlated at a time
 * @throws FastRpbError code `"limit"` where there is no room for one pair of channels
 */
export function makeCorrelation(program: ProgramBuilder, specs: readonly ToeplitzProduct[], heads: number, scratch: number, share = 1): Correlation {
  const { limits } = program;
  const spec = specs[0]!;
  const axes = correlationAxes(spec, limits);
  const [y, x] = axes;
  const points = y.period * x.period;
  const rows = y.size > 1 ? y.size * x.period : 0;
  const pointBytes = points * COMPLEX_BYTES;
  bindable(program, pointBytes, heads, "the correlation of one head");
  const sums = program.temporary("correlations", heads * pointBytes);
  const packed = specs.every(isPacked) ? 0 : spec.length;
  const pairBytes = 2 * pointBytes + (packed + rows) * COMPLEX_BYTES;
  // The other half is for transforms of several passes.
  const budget = (share * (scratch - sums.bytes)) / 2;
  const most = Math.min(Math.floor(budget / pairBytes), Math.floor(limits.maxStorageBufferBindingSize / pointBytes));
  if (most < 1) throw limitError(program, "workspaceBytes", sums.bytes + Math.ceil((2 * pairBytes) / share), "one pair of channels", scratch);
  const largest = Math.max(...specs.flatMap((each) => pairGroups(program, each, most).map((group) => group.heads * group.pairs)));
  return { axes, points, most, sums, bytes: largest * pairBytes };
}

/** Two tensors whose correlations are added up. */
export interface CorrelatedTensors {
  /** Gradients [batch, heads, N, channels], as are the values. */
  readonly gradients: Handle;
  readonly values: Handle;
  /** With variable lengths. */
  readonly lengths?: Handle | undefined;
  /** Place of the first head, or of the first of `range`, among the sums. */
  readonly firstSum: number;
  /** Whether they are added to what is there. */
  readonly accumulate: boolean;
  /** The heads that are correlated, all or one; all when left out. */
  readonly range?: Span;
}

/** Adds the correlations of two tensors, group by group, to the sums. Transforms take `scratch` bytes beside what the correlation holds. */
export function addCorrelations(
  program: ProgramBuilder,
  spec: ToeplitzProduct,
  correlation: Correlation,
  tensors: CorrelatedTensors,
  scratch: number,
): void {
  const { heads } = spec;
  const { firstSum, accumulate, range = { first: 0, count: heads } } = tensors;
  // Groups of one head where they are done one by one.
  const most = range.count === heads ? correlation.most : Math.min(correlation.most, Math.ceil(spec.channels / 2));
  const mostSums = bindableUnits(program.limits, correlation.points * COMPLEX_BYTES, heads);
  const written = new Set(accumulate ? Array.from({ length: heads }, (_, h) => h) : []);
  for (const group of pairGroups(program, spec, most)) {
    const own = headsOf(group, heads);
    if (range.count < heads && !own.includes(range.first)) continue;
    const pack = (tensor: Handle) => addPacked(program, spec, group, tensor, tensors.lengths, correlation, scratch);
    const packed = { values: pack(tensors.values), gradients: pack(tensors.gradients) };
    for (const span of alikeSpans(own, mostSums, (h) => written.has(h))) {
      const sum = firstSum + span.first - range.first;
      addCorrelate(program, spec, group, correlation, span, packed, sum, written.has(span.first));
    }
    for (const h of own) written.add(h);
  }
}

/** Lanes that keep a large GPU busy (over 100 cores) where each has a hundred registers. */
const ENOUGH_LANES = 65536;

/** Columns from which on workgroups of one are faster than of several, which share what they read of a row but wait for one another. */
const MANY_COLUMNS = 4096;
/** Threads of a column that are a workgroup on their own. */
const ALONE_THREADS = 256;

/**
 * Adds the correlations of two whole tensors where a workgroup holds a transform, as it does in the product of that size: the gradients and values
 * are read once for each branch, and only sums are written.
 * Parts of the batch and pairs have sums of their own, so that there are enough workgroups.
 *
 * @param scratch the most bytes that all sums may take
 * @returns the sums, or `undefined` where this is not possible
 */
export function addFusedCorrelations(
  program: ProgramBuilder,
  spec: ToeplitzProduct,
  { gradients, values, lengths }: Pick<CorrelatedTensors, "gradients" | "values" | "lengths">,
  scratch: number,
): CorrelationSums | undefined {
  const { batch, heads, channels, margin, variableLengths } = spec;
  const { limits } = program;
  const layout = toeplitzLayout(program, spec);
  if (layout.kind !== "fused") return undefined;
  const pairs = Math.ceil(channels / 2);
  const columns = batch * pairs;
  const periods = layout.axes.map((axis) => axis.period);
  const branches = 2 ** periods.length;
  const transform = (most: number) => columnTransform({ lengths: periods, columns: most, lanes: lanesFor(pairs) }, limits)!;
  const several = transform(columns);
  const alone = several.shape.threads >= ALONE_THREADS && columns * heads * branches >= MANY_COLUMNS;
  const { shape, twiddles, tables } = alone ? transform(1) : several;
  const doubled = layout.axes.map(({ size, period }) => ({ size, period: 2 * period }));
  const one = { size: 1, period: 1 };
  const [first, second] = doubled;
  // Weights of more positions than a column has lie on a grid all the same.
  const axes = second ? ([first!, second] as const) : spec.grid?.[1] === 1 ? ([first!, one] as const) : ([one, first!] as const);
  const points = elementCount(doubled.map(({ period }) => period));
  const sumBytes = heads * points * COMPLEX_BYTES;
  const tensorBytes = heads * (columns * spec.length * COMPLEX_BYTES + batch * (margin?.around ?? 0) * FLOAT_BYTES);
  // A part has sums for each slot of its workgroup; those of all parts together stand beside them.
  const affordable = Math.floor((largestScratch(limits, scratch) - sumBytes) / sumBytes / shape.columns);
  const wanted = Math.ceil(ENOUGH_LANES / (workgroupLanes(shape) * heads * branches));
  const parts = Math.min(Math.ceil(columns / shape.columns), wanted, affordable);
  if (parts < 1 || tensorBytes > limits.maxStorageBufferBindingSize) return undefined;
  const sums = program.temporary("correlations", sumBytes);
  const slots = parts * shape.columns;
  const partBytes = slots * sumBytes;
  const ofParts = slots === 1 ? sums : program.temporary("parts", partBytes);
  const read = { slice: undefined, reads: branches * heads * batch * spec.length * channels * FLOAT_BYTES };
  program.dispatch({
    kernel: toeplitzCorrelateFusedKernel({
      shape,
      twiddles,
      axes: layout.axes.map((axis) => axisWithRoots(tables, axis)),
      channels,
      margin,
      variableLengths,
      strides: boundStrides(spec, { gradients, values }),
    }),
    groups: heads * branches * parts,
    params: { columns, parts, heads },
    uses: {
      gradients: { buffer: gradients, ...read },
      values: { buffer: values, ...read },
      tables: { buffer: program.table(tables.parts) },
      sums: { buffer: ofParts, writes: partBytes },
      lengths: lengthsUse(spec, lengths),
    },
    flops: heads * columns * (2 * branches * fftFlops(points / branches) + 3 * MULTIPLY_FLOPS * points),
  });
  if (slots > 1) {
    program.dispatch({
      kernel: toeplitzCorrelateKernel({ lanes: elementwiseLanes(limits), points, accumulate: false, multiplied: true }),
      elements: heads * points,
      params: { count: slots * heads, pairs: 1, firstHead: 0, heads, swept: heads, firstSwept: 0 },
      uses: { values: { buffer: ofParts, reads: partBytes }, sum: { buffer: sums, writes: sumBytes } },
      flops: 2 * slots * heads * points,
    });
  }
  return { axes, points, sums };
}

/** The heads of a batch row that a group has, in order. */
function headsOf({ firstHead, heads: count }: PairGroup, heads: number): readonly number[] {
  const own = Array.from({ length: Math.min(count, heads) }, (_, i) => (firstHead + i) % heads);
  return own.sort((a, b) => a - b);
}

/** Spans of neighbouring heads that are alike, at most so many. */
function alikeSpans(heads: readonly number[], most: number, kind: (head: number) => boolean): readonly Span[] {
  const found: { first: number; count: number }[] = [];
  for (const h of heads) {
    const last = found.at(-1);
    if (last && last.count < most && h === last.first + last.count && kind(h) === kind(last.first)) last.count++;
    else found.push({ first: h, count: 1 });
  }
  return found;
}

/** Whether rows are whole pairs of channels, and so complex numbers as they are. */
function isPacked({ channels, margin, variableLengths, strides }: ToeplitzProduct): boolean {
  return channels % 2 === 0 && !margin && !variableLengths && !strides;
}

/** Adds the spectra of a group's pairs of channels of a tensor. */
function addPacked(
  program: ProgramBuilder,
  spec: ToeplitzProduct,
  group: PairGroup,
  tensor: Handle,
  lengths: Handle | undefined,
  { axes, points }: Correlation,
  scratch: number,
): BufferEnd {
  const [y, x] = axes;
  const { heads, pairs } = group;
  const count = heads * pairs;
  const { length, channels, margin, variableLengths } = spec;
  const space = (name: string, elements: number): BufferEnd & { readonly slice: Slice } => {
    const bytes = count * elements * COMPLEX_BYTES;
    return { buffer: program.temporary(name, bytes), slice: firstBytes(bytes), firstOuter: 0 };
  };
  const common = { inverse: false, scale: 1, order: "natural" } as const;
  const window = (axis: AxisPeriod) => ({ source: { rows: axis.size, limit: axis.size }, destination: {} });
  const spectrum = space("spectra", points);
  const alongRows = { outer: heads * y.size, length: x.period, inner: pairs };
  const rows = y.size === 1 ? spectrum : space("rows", y.size * x.period);
  const ready = isPacked(spec);
  const strides = boundStrides(spec, { values: tensor });
  const source = ready ? { buffer: tensor, slice: group.rows, firstOuter: group.firstHead * y.size } : space("packed", length);
  if (!ready) {
    program.dispatch({
      kernel: toeplitzPackKernel({ lanes: elementwiseLanes(program.limits), length, channels, margin, variableLengths, strides }),
      elements: count * length,
      params: { pairs, firstPair: group.firstPair, firstHead: group.firstHead, heads: spec.heads },
      uses: {
        values: rowsUse(spec, group, tensor, "reads"),
        packed: { buffer: source.buffer, slice: source.slice, writes: count * length * COMPLEX_BYTES },
        lengths: lengthsUse(spec, lengths),
      },
      flops: 0,
    });
  }
  const ends = { source: { ...window(x).source, ...(ready && { inner: channels / 2, firstInner: group.firstPair }) }, destination: {} };
  addFft(program, { ...common, layout: alongRows, source, destination: rows, ends }, scratch);
  if (y.size === 1) return spectrum;
  const alongColumns = { outer: heads, length: y.period, inner: x.period * pairs };
  addFft(program, { ...common, layout: alongColumns, source: rows, destination: spectrum, ends: window(y) }, scratch);
  return spectrum;
}

/** Adds the correlations of some of a group's heads to the sums, from the place `sum` on. */
function addCorrelate(
  program: ProgramBuilder,
  spec: ToeplitzProduct,
  group: PairGroup,
  { points, sums }: Correlation,
  span: Span,
  packed: { readonly values: BufferEnd; readonly gradients: BufferEnd },
  sum: number,
  accumulate: boolean,
): void {
  const { pairs } = group;
  const pointBytes = points * COMPLEX_BYTES;
  const groupBytes = group.heads * pairs * pointBytes;
  // Of the group's heads, those that stand at the span's places in a batch row.
  const correlated = Array.from({ length: group.heads }, (_, i) => (group.firstHead + i) % spec.heads);
  const heads = correlated.filter((h) => h >= span.first && h < span.first + span.count).length;
  const bytes = heads * pairs * pointBytes;
  const sumBytes = span.count * pointBytes;
  const slice = sliceBytes(program.limits, sum * pointBytes, sum * pointBytes + sumBytes);
  program.dispatch({
    kernel: toeplitzCorrelateKernel({ lanes: elementwiseLanes(program.limits), points, accumulate, multiplied: false }),
    elements: span.count * points,
    params: { count: group.heads, pairs, firstHead: group.firstHead, heads: spec.heads, swept: span.count, firstSwept: span.first },
    uses: {
      gradients: { buffer: packed.gradients.buffer, slice: firstBytes(groupBytes), reads: bytes },
      values: { buffer: packed.values.buffer, slice: firstBytes(groupBytes), reads: bytes },
      sum: { buffer: sums, slice, start: slice.offset - sum * pointBytes, reads: accumulate ? sumBytes : 0, writes: sumBytes },
    },
    flops: heads * pairs * points * (MULTIPLY_FLOPS + 2),
  });
}
