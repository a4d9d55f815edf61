/** The results that splits of the others make, in blocks of rows, and the dispatches that bring them together. */
import { softmaxCombineStatisticsKernel } from "../../../../shaders/attention/softmax/combine-statistics.ts";
import { softmaxCombineKernel } from "../../../../shaders/attention/softmax/combine.ts";
import { softmaxSumKernel } from "../../../../shaders/attention/softmax/sum.ts";
import { softmaxRows, type SoftmaxTile } from "../../../../shaders/attention/softmax/tiles.ts";
import type { Kernel } from "../../../../shaders/wgsl/kernel.ts";
import { vectorsOf } from "../../../../shaders/wgsl/rows.ts";
import { elementCount } from "../../../core/check.ts";
import type { BindingUse, Handle } from "../../../program/builder.ts";
import { type Span, spansOf } from "../../../program/slices.ts";
import { FLOAT_BYTES, sum } from "../../../program/units.ts";
import { elementwiseLanes } from "../../../program/workgroups.ts";
import { weightsShape } from "../../toeplitz/spec.ts";
import { addHeadKernel, type GroupedWork, type HeadGroup, type Rows, stridesOf } from "../head-groups.ts";
import type { Splits } from "./choose.ts";
import { type Sweep, sweepOf } from "./sweep.ts";

/** Float32 numbers of the maximum and the sum of weights of a row. */
export const MAXIMA = 2;
/** Operations that bring one more split to four numbers, or to what there is of a row: an exponential, and a few products. */
const COMBINE_FLOPS = 40;

/** Softmax attention or its gradient in a program, with its heads in groups and its others in splits, or in one. */
export interface SweepWork extends GroupedWork {
  /** The weights of a bias in the logits. */
  readonly bias: Handle | undefined;
  readonly tile: SoftmaxTile;
  readonly splits: Splits;
}

/** Rows of partial results in a buffer: of the heads of a group, of every split, of a block. */
export interface Partials {
  readonly buffer: Handle;
  /** Numbers of a row. */
  readonly width: number;
}

/** Bytes of partial results, by the numbers of a row in each buffer; 0 where there is one split. */
export function partialBytes({ tile, splits, mostHeads }: Pick<SweepWork, "tile" | "splits" | "mostHeads">, widths: readonly number[]): number {
  if (splits.count === 1) return 0;
  return mostHeads * splits.count * splits.blockTiles * softmaxRows(tile) * sum(widths, (width) => width) * FLOAT_BYTES;
}

/** Scratch for partial results of at most so many numbers a row; none where there is one split. */
export function partialScratch(work: SweepWork, name: string, width: number): Partials | undefined {
  return work.splits.count === 1 ? undefined : { buffer: work.program.temporary(name, partialBytes(work, [width])), width };
}

/** Constants that all kernels of softmax attention have. */
export function kernelShape({ shape, splits, tile }: Pick<SweepWork, "shape" | "splits" | "tile">) {
  const { length, keyLength: otherRows, headDim, valueDim, scale, causal, window, grid, variableLengths, keyMask } = shape;
  const biasGrid = shape.bias === "logits" ? (grid ?? ([1, length] as const)) : undefined;
  const biasBetween = biasGrid && shape.form?.between;
  const split = splits.count > 1;
  return {
    length,
    otherRows,
    headDim,
    valueDim,
    scale,
    biasGrid,
    biasBetween,
    causal,
    window,
    variableLengths,
    ...(keyMask && { keyMask }),
    split,
    tile,
  };
}

/** A block of the rows of a group, and what its sweep moves of each head. */
export interface Block extends Sweep {
  readonly group: HeadGroup;
  readonly side: "queries" | "keys";
  /** Workgroups of a head, for each piece of columns. */
  readonly groups: number;
  /** Parameters of the kernels that work in splits, or bring them together. */
  readonly params: Readonly<Record<string, number>>;
}

/** The blocks of the rows of a group: one, where there is one split. */
export function blocksOf({ shape, tile, splits }: SweepWork, group: HeadGroup, side: "queries" | "keys"): readonly Block[] {
  const tileRows = softmaxRows(tile);
  return spansOf(Math.ceil(shape.length / tileRows), splits.blockTiles).map((span: Span) => ({
    ...sweepOf(shape, tile, side, splits, span),
    group,
    side,
    groups: span.count * splits.count,
    params: {
      splits: splits.count,
      splitOthers: splits.others,
      firstTile: span.first,
      tiles: span.count,
      firstRow: span.first * tileRows,
      blockRows: span.count * tileRows,
    },
  }));
}

/** Bytes of partial results of so many numbers a row, of a block. */
function partialsBytes({ group, partials }: Block, width: number): number {
  return group.count * partials * width * FLOAT_BYTES;
}

/** The use of the weights of a bias in the logits, those of the heads of a group. */
export function biasUse({ shape, bias }: SweepWork, { count }: HeadGroup): { readonly bias?: BindingUse } {
  const weights = elementCount(weightsShape({ ...shape, heads: Math.min(count, shape.heads) }));
  return bias ? { bias: { buffer: bias, reads: weights * FLOAT_BYTES } } : {};
}

/** The uses of partial results that a sweep writes, by binding. */
export function writtenPartials(block: Block, partials: Readonly<Record<string, Partials | undefined>>): Readonly<Record<string, BindingUse>> {
  const uses = Object.entries(partials).flatMap(([name, rows]) =>
    rows ? [[name, { buffer: rows.buffer, writes: partialsBytes(block, rows.width) }] as const] : [],
  );
  return Object.fromEntries(uses);
}

/** A kernel that brings partial results together, and where the results go. */
export interface Join {
  readonly kernel: Kernel;
  readonly partials: Partials;
  readonly result: Rows;
  /** Whether they are added to what is there. */
  readonly accumulate: boolean;
  readonly maxima?: Partials;
}

/** The constants that all kernels have which bring splits together. */
function joinShape({ program, tile, shape: { length, keyLength: otherRows, causal, window, bias, variableLengths, keyMask } }: SweepWork) {
  return {
    length,
    otherRows,
    causal,
    window,
    ...(window !== undefined && { tileRows: softmaxRows(tile) }),
    ...((bias === "logits" || (window !== undefined && keyMask)) && { masked: true }),
    variableLengths,
    lanes: elementwiseLanes(program.limits),
  };
}

/** What makes the output of partial sums and the maxima that they are relative to. */
export function outputJoin(work: SweepWork, partials: Partials, maxima: Partials, result: Rows, accumulate: boolean): Join {
  const { scale, storage } = work.shape;
  const kernel = softmaxCombineKernel({ ...joinShape(work), width: partials.width, scale, storage, accumulate, strides: stridesOf({ out: result }) });
  return { kernel, partials, maxima, result, accumulate };
}

/** What makes statistics of those of splits. */
export function statisticsJoin(work: SweepWork, partials: Partials, result: Rows): Join {
  return { kernel: softmaxCombineStatisticsKernel({ ...joinShape(work), scale: work.shape.scale }), partials, result, accumulate: false };
}

/** What adds up gradients of rows of one side. */
export function sumJoin(work: SweepWork, side: Block["side"], partials: Partials, result: Rows, accumulate: boolean): Join {
  const others = side === "queries" ? "keys" : "queries";
  const strides = stridesOf({ out: result });
  return { kernel: softmaxSumKernel({ ...joinShape(work), width: partials.width, others, accumulate, strides }), partials, result, accumulate };
}

/** Adds what brings the partial results of a block together. */
export function addJoin(work: SweepWork, block: Block, { kernel, partials, maxima, result, accumulate }: Join): void {
  const vectors = vectorsOf(partials.width);
  const read = ({ buffer, width }: Partials, lanes: number): BindingUse => ({ buffer, reads: partialsBytes(block, width) * lanes });
  addHeadKernel(work, block.group, kernel, {
    elements: block.rows * vectors,
    params: block.params,
    rows: { out: { ...result, reads: accumulate ? block.rows : 0, writes: block.rows } },
    // Every lane of a row reads its maxima.
    uses: { partials: read(partials, 1), ...(maxima && { maxima: read(maxima, vectors) }) },
    flops: block.partials * vectors * COMBINE_FLOPS,
  });
}
