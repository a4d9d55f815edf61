/**
 * The layout of a Toeplitz product: what its spectrum holds, and in which groups of channel pairs it is done. Along an axis the matrix is the sum of
 * a circulant and a skew-circulant one, each the size of the axis or a little more, instead of a circulant one of twice the size.
 */
import { ELEMENT_BYTES } from "../../../shaders/wgsl/kernel.ts";
import { elementCount } from "../../core/check.ts";
import { FastRpbError } from "../../core/errors.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import type { ProgramBuilder } from "../../program/builder.ts";
import { bindable, type Slice, sliceBytes } from "../../program/ranges.ts";
import { evenStep, type Span, spansOf } from "../../program/slices.ts";
import type { TableLayout } from "../../program/tables.ts";
import { COMPLEX_BYTES } from "../../program/units.ts";
import { splitLength } from "../fft/split.ts";
import { convolutionLengths, fits } from "../fft/stockham.ts";
import { headNumbers, type ToeplitzProduct } from "./outside.ts";
import { axisSizes, type RelativePositions } from "./spec.ts";

/** An axis along which the matrix is Toeplitz. */
export interface AxisPeriod {
  readonly size: number;
  /** Length of its circulant and its skew-circulant half, at least the size: one with codelets. */
  readonly period: number;
}

/** The axes, the slowest first, without those of one position: a grid of one row is a sequence. */
export function toeplitzAxes(spec: RelativePositions, limits: PlannerLimits): readonly AxisPeriod[] {
  const long = axisSizes(spec).filter((size) => size > 1);
  const sizes = long.length > 0 ? long : [1];
  const periods = convolutionLengths(sizes, limits);
  return sizes.map((size, i) => ({ size, period: periods[i]! }));
}

/** Points of a branch of the spectrum of one head: of each axis, one half. */
export function branchPoints(axes: readonly AxisPeriod[]): number {
  return elementCount(axes.map((axis) => axis.period));
}

/** Points of one head's spectrum: of each axis, both halves. */
export function headSpectrumPoints(spec: RelativePositions, limits: PlannerLimits): number {
  const axes = toeplitzAxes(spec, limits);
  return 2 ** axes.length * branchPoints(axes);
}

/** Bytes of one head's spectrum. */
export function headSpectrumBytes(spec: RelativePositions, limits: PlannerLimits): number {
  return headSpectrumPoints(spec, limits) * COMPLEX_BYTES;
}

/** An axis with its roots of order twice the period, which turn a skew-circulant matrix into a circulant one. */
export function axisWithRoots(tables: TableLayout, axis: AxisPeriod) {
  return { ...axis, roots: tables.roots(2 * axis.period, axis.period) };
}

/**
 * How a product is done, and the order of its spectrum:
 *
 * - `"fused"`: a workgroup holds all axes. Spectrum [heads, branches, M], on a grid [heads, 4, M_x, M_y].
 * - `"sequence"`: three passes by the four-step framework, M = a·b. Spectrum [heads, 2, a, b], the transposed order.
 * - `"grid"`: three passes, y and x. Spectrum [heads, 4, M_y, M_x].
 */
export type ToeplitzLayout =
  | { readonly kind: "fused"; readonly axes: readonly AxisPeriod[] }
  | { readonly kind: "sequence"; readonly a: number; readonly b: number }
  | { readonly kind: "grid"; readonly y: AxisPeriod; readonly x: AxisPeriod };

/** The layout of a product on a device. @throws FastRpbError code `"limit"` where an axis is too long */
export function toeplitzLayout(program: ProgramBuilder, spec: RelativePositions): ToeplitzLayout {
  const { limits } = program;
  const axes = toeplitzAxes(spec, limits);
  if (fits(limits, ...axes.map((axis) => axis.period))) return { kind: "fused", axes };
  const [y, x] = axes;
  if (!x) return { kind: "sequence", ...splitLength(program.caller, y!.period, limits) };
  for (const axis of [y!, x]) {
    if (!fits(limits, axis.period)) throw axisError(program, axis);
  }
  return { kind: "grid", y: y!, x };
}

function axisError({ caller, limits }: ProgramBuilder, axis: AxisPeriod): FastRpbError {
  return new FastRpbError(
    "limit",
    `${caller}: an axis of ${axis.size} positions of the grid does not fit into one workgroup, with ${limits.maxComputeWorkgroupStorageSize} bytes of workgroup memory (maxComputeWorkgroupStorageSize) and ${limits.maxComputeInvocationsPerWorkgroup} invocations; use a smaller grid.`,
  );
}

/** Pairs of channels that are done at a time: whole heads, or some of the pairs of one head. */
export interface PairGroup {
  readonly firstHead: number;
  readonly heads: number;
  readonly firstPair: number;
  readonly pairs: number;
  /** Range of `v` and the output to bind; `undefined` for the whole. */
  readonly rows: Slice | undefined;
  /** Range of the spectra to bind; `undefined` for the whole. */
  readonly spectrum: Slice | undefined;
}

/**
 * Splits the work so that every binding stays within its limit, and a group has at most `mostPairs` in all its heads.
 *
 * @param firstSpectrum index of the spectrum of head 0, where the heads are some of those that have one
 * @throws FastRpbError code `"limit"` where a binding cannot hold one head
 */
export function pairGroups(program: ProgramBuilder, spec: ToeplitzProduct, mostPairs: number, firstSpectrum?: number): readonly PairGroup[] {
  const { limits } = program;
  const pairs = Math.ceil(spec.channels / 2);
  const allHeads = spec.batch * spec.heads;
  const headBytes = headNumbers(spec) * ELEMENT_BYTES[spec.storage];
  const spectrumBytes = headSpectrumBytes(spec, limits);
  // Heads that stand side by side are bound together.
  const rowHeads = spec.strides ? allHeads : bindable(program, headBytes, allHeads, "one head of v");
  const spectrumHeads = bindable(program, spectrumBytes, spec.heads, "one head of the spectrum");
  const spans = pairSpans(pairs, mostPairs);
  const mostHeads = spans.length > 1 ? 1 : evenStep(allHeads, Math.min(rowHeads, Math.floor(mostPairs / pairs)));
  const groups: PairGroup[] = [];
  for (let firstHead = 0; firstHead < allHeads;) {
    const h = firstHead % spec.heads;
    // A slice of the spectrum serves consecutive heads of one batch row.
    const untilWrap = spectrumHeads === spec.heads ? allHeads : Math.min(spectrumHeads, spec.heads - h);
    const heads = Math.min(mostHeads, untilWrap, allHeads - firstHead);
    const rows = rowHeads === allHeads ? undefined : sliceBytes(limits, firstHead * headBytes, (firstHead + heads) * headBytes);
    const s = h + (firstSpectrum ?? 0);
    const served = Math.min(heads, spec.heads);
    const whole = firstSpectrum === undefined && spectrumHeads === spec.heads;
    const spectrum = whole ? undefined : sliceBytes(limits, s * spectrumBytes, (s + served) * spectrumBytes);
    for (const { first, count } of spans) groups.push({ firstHead, heads, firstPair: first, pairs: count, rows, spectrum });
    firstHead += heads;
  }
  return groups;
}

/** Pairs that fill a 32-byte memory sector. */
const SECTOR_PAIRS = 4;

/** Spans of `count` pairs, as few as possible, of even size; where there is room, of whole sectors. */
function pairSpans(count: number, most: number): readonly Span[] {
  const even = evenStep(count, most);
  const whole = SECTOR_PAIRS * Math.ceil(even / SECTOR_PAIRS);
  return spansOf(count, whole <= most ? whole : even);
}
