/**
 * The gradient of softmax attention: statistics of every query, then the gradients of the queries in one sweep, and of the keys and values
 * in another, or in one for each where their rows are too wide for the registers of a lane.
 */
import { softmaxKeyGradientKernel, softmaxKeyGradientLayout } from "../../../../shaders/attention/softmax/key-gradient.ts";
import { softmaxQueryGradientKernel, softmaxQueryGradientLayout } from "../../../../shaders/attention/softmax/query-gradient.ts";
import { softmaxStatisticsKernel, softmaxStatisticsLayout } from "../../../../shaders/attention/softmax/statistics.ts";
import { laneColumns, type SoftmaxKernelLayout, type SoftmaxTile } from "../../../../shaders/attention/softmax/tiles.ts";
import type { Handle, ProgramBuilder } from "../../../program/builder.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { addBiasGradient, type AttentionGradientTensors } from "../bias.ts";
import { addHeadKernel, gradientRows, type HeadGroup, headGroups, type Rows, stridesOf } from "../head-groups.ts";
import { STATISTICS, statisticsRows } from "../linear/key-state.ts";
import type { AttentionShape } from "../spec.ts";
import { chooseSplits, chooseTile, type SoftmaxChoice, type Splits } from "./choose.ts";
import {
  addJoin,
  biasUse,
  type Block,
  blocksOf,
  kernelShape,
  partialBytes,
  type Partials,
  partialScratch,
  statisticsJoin,
  sumJoin,
  type SweepWork,
  writtenPartials,
} from "./splits.ts";
import { columnTilesOf, productLoads, mostLaneColumns, sweptKeys, WEIGHT_FLOPS } from "./sweep.ts";

/** A gradient of softmax attention in a program. */
export interface SoftmaxGradientWork extends SweepWork {
  readonly rows: ReturnType<typeof gradientRows>;
  readonly statistics: Rows;
  /** Where the results of splits go, as {@link partialWidths} says; none where there is one split. */
  readonly partials: readonly (Partials | undefined)[];
  /** Whether `dv` is added to what is there. */
  readonly accumulate: boolean;
}

/** The gradient of a bias in the logits, of which only plans with one know more. */
export interface BiasGradient {
  layout(shape: AttentionShape, tile: SoftmaxTile): SoftmaxKernelLayout;
  plan(choice: SoftmaxChoice, tile: SoftmaxTile, splits: Splits): BiasGradientSweep;
}

export interface BiasGradientSweep {
  /** Bytes of scratch for a head. */
  readonly headBytes: number;
  /** What adds it for a group of heads, after their statistics. */
  add(work: SoftmaxGradientWork, dBias: Handle): (group: HeadGroup) => void;
}

/** A sweep with its kernel: adds it for a block, and what brings its partial results together. */
type AddBlock = (block: Block) => void;

/** Adds the gradient of softmax attention. */
export function planSoftmaxAttentionGradient(
  program: ProgramBuilder,
  shape: AttentionShape,
  tensors: AttentionGradientTensors,
  scratch: number,
  bias?: BiasGradient,
): void {
  const { headDim, valueDim, length } = shape;
  const choice: SoftmaxChoice = {
    program,
    shape,
    pairFlops: {
      "attention/softmax/statistics": 2 * headDim + 2 * valueDim + WEIGHT_FLOPS,
      "attention/softmax/query-gradient": 4 * headDim + 2 * valueDim + WEIGHT_FLOPS,
      "attention/softmax/key-gradient": 4 * headDim + 4 * valueDim + WEIGHT_FLOPS,
    },
    columnTiles: () => 1,
    partialWidths: (tile) => partialWidths(shape, tile),
    scratch,
  };
  const tile = chooseTile(choice, (candidate) => {
    const base = { tile: candidate, headDim, valueDim };
    return [
      softmaxStatisticsLayout(base),
      ...(bias ? [bias.layout(shape, candidate)] : []),
      softmaxQueryGradientLayout({ ...base, columnTiles: columnTilesOf(candidate, headDim) }),
      ...keySweeps(shape, candidate).map((sweep) => softmaxKeyGradientLayout({ ...base, ...sweep, tile: keyTile(candidate) })),
    ];
  });
  const splits = chooseSplits(choice, tile);
  const keySplits = shape.keyLength === undefined ? splits : chooseSplits({ ...choice, shape: sweptKeys(shape) }, tile);
  const biasSweep = bias?.plan(choice, tile, splits);
  const headBytes = length * STATISTICS * FLOAT_BYTES + (biasSweep?.headBytes ?? 0);
  const groups = headGroups(program, shape, [headDim, valueDim, STATISTICS], scratch, headBytes, Math.min(splits.mostHeads, keySplits.mostHeads));
  const { lengths, keyMask, bias: weights } = tensors;
  const swept: SweepWork = { program, shape, lengths, keyMask, bias: weights, mostHeads: groups[0]!.count, tile, splits };
  const statistics = { ...statisticsRows(swept), length };
  const widths = partialWidths(shape, tile);
  const sweptBack = { ...swept, splits: keySplits };
  const most = partialBytes(sweptBack, widths) > partialBytes(swept, widths) ? sweptBack : swept;
  const accumulate = addBiasGradient(program, shape, tensors, scratch - statistics.buffer.bytes - partialBytes(most, widths));
  const partials = widths.map((width) => partialScratch(most, "partials", width));
  const work: SoftmaxGradientWork = { ...swept, rows: gradientRows(shape, tensors), statistics, partials, accumulate };
  const addBias = biasSweep?.add(work, tensors.dBias!);
  const overKeys = [statisticsSweep(work), queryGradientSweep(work)];
  const keyWork = { ...work, shape: sweptKeys(shape), splits: keySplits, tile: keyTile(tile) };
  const overQueries = keySweeps(shape, tile).map((sweep) => keyGradientSweep(keyWork, sweep));
  for (const group of groups) {
    const blocks = blocksOf(work, group, "queries");
    for (const add of overKeys) for (const block of blocks) add(block);
    addBias?.(group);
    for (const block of blocksOf(keyWork, group, "keys")) for (const add of overQueries) add(block);
  }
}

/** The tile of the gradients of keys and values: their sums take registers that others of a lane would need. */
function keyTile(tile: SoftmaxTile): SoftmaxTile {
  return { ...tile, patchOthers: 4 };
}

/** Numbers of a row in each buffer of partial results: one for whatever a sweep makes, and another for dv where it is made with dk. */
function partialWidths(shape: AttentionShape, tile: SoftmaxTile): readonly number[] {
  const { headDim, valueDim } = shape;
  if (keySweeps(shape, tile).length === 1) return [Math.max(STATISTICS, headDim), valueDim];
  return [Math.max(STATISTICS, headDim, valueDim)];
}

/** A sweep over the queries, and which gradients it makes. */
interface KeySweep {
  readonly gradients: "dk" | "dv" | "both";
  readonly columnTiles: number;
}

/** The sweeps for the gradients of keys and values: one where a lane can hold the sums of both, and a kernel may have as many bindings. */
function keySweeps({ headDim, valueDim, bias, variableLengths }: AttentionShape, tile: SoftmaxTile): readonly KeySweep[] {
  const columns = (width: number) => laneColumns(tile, { width, columnTiles: 1 });
  const bindable = bias !== "logits" || !variableLengths;
  if (bindable && columns(headDim) + columns(valueDim) <= mostLaneColumns(tile)) return [{ gradients: "both", columnTiles: 1 }];
  return [
    { gradients: "dv", columnTiles: columnTilesOf(tile, valueDim) },
    { gradients: "dk", columnTiles: columnTilesOf(tile, headDim) },
  ];
}

function statisticsSweep(work: SoftmaxGradientWork): AddBlock {
  const { shape, rows, statistics } = work;
  const { headDim, valueDim } = shape;
  const kernel = softmaxStatisticsKernel({ ...kernelShape(work), strides: readStrides(rows) });
  const partials = partialsOf(work, 0, STATISTICS);
  const join = partials && statisticsJoin(work, partials, statistics);
  return (block) => {
    addHeadKernel(work, block.group, kernel, {
      groups: block.groups,
      params: block.params,
      rows: {
        queries: { ...rows.q, reads: block.own },
        keys: { ...rows.k, reads: block.others },
        values: { ...rows.v, reads: block.others },
        gradients: { ...rows.dOut, reads: block.own },
        statistics: { ...statistics, writes: block.rows },
      },
      uses: { ...biasUse(work, block.group), ...writtenPartials(block, { statistics: partials }) },
      flops: block.pairs * (2 * headDim + 2 * valueDim + WEIGHT_FLOPS),
    });
    if (join) addJoin(work, block, join);
  };
}

function queryGradientSweep(work: SoftmaxGradientWork): AddBlock {
  const { shape, tile, rows, statistics } = work;
  const { headDim, valueDim } = shape;
  const columnTiles = columnTilesOf(tile, headDim);
  const partials = partialsOf(work, 0, headDim);
  const strides = readStrides(rows, { out: partials ? undefined : rows.dq });
  const kernel = softmaxQueryGradientKernel({ ...kernelShape(work), columnTiles, strides });
  const join = partials && sumJoin(work, "queries", partials, rows.dq, false);
  return (block) => {
    addHeadKernel(work, block.group, kernel, {
      groups: block.groups * columnTiles,
      params: block.params,
      rows: {
        queries: { ...rows.q, reads: block.own * columnTiles },
        // For the scores, and as what they weigh.
        keys: { ...rows.k, reads: block.others * (columnTiles + productLoads(tile, headDim, columnTiles)) },
        values: { ...rows.v, reads: block.others * columnTiles },
        gradients: { ...rows.dOut, reads: block.own * columnTiles },
        statistics: { ...statistics, reads: block.partials * columnTiles },
        out: { ...rows.dq, writes: block.rows },
      },
      uses: { ...biasUse(work, block.group), ...writtenPartials(block, { out: partials }) },
      flops: block.pairs * (columnTiles * (2 * headDim + 2 * valueDim + WEIGHT_FLOPS) + 2 * headDim),
    });
    if (join) addJoin(work, block, join);
  };
}

function keyGradientSweep(work: SoftmaxGradientWork, { gradients, columnTiles }: KeySweep): AddBlock {
  const { shape, tile, rows, statistics } = work;
  const { headDim, valueDim } = shape;
  const [dk, dv] = [gradients !== "dv", gradients !== "dk"];
  const keyPartials = dk ? partialsOf(work, 0, headDim) : undefined;
  const valuePartials = dv ? partialsOf(work, dk ? 1 : 0, valueDim) : undefined;
  const joins = [
    ...(keyPartials ? [sumJoin(work, "keys", keyPartials, rows.dk, false)] : []),
    ...(valuePartials ? [sumJoin(work, "keys", valuePartials, rows.dv, work.accumulate)] : []),
  ];
  const accumulate = work.accumulate && !valuePartials;
  const made = { ...(dk && { dk: rows.dk }), ...(dv && { dv: rows.dv }) };
  const strides = readStrides(rows, keyPartials || valuePartials ? {} : made);
  const kernel = softmaxKeyGradientKernel({ ...kernelShape(work), gradients, columnTiles, accumulate, strides });
  const scoreFlops = 2 * headDim + (dk ? 2 * valueDim : 0) + WEIGHT_FLOPS;
  return (block) => {
    addHeadKernel(work, block.group, kernel, {
      groups: block.groups * columnTiles,
      params: block.params,
      // The kernel binds values where it makes the gradient of keys.
      rows: {
        queries: { ...rows.q, reads: block.others * (columnTiles + (dk ? productLoads(tile, headDim, columnTiles) : 0)) },
        keys: { ...rows.k, reads: block.own * columnTiles },
        values: { ...rows.v, reads: block.own * columnTiles },
        gradients: { ...rows.dOut, reads: block.others * ((dk ? columnTiles : 0) + (dv ? productLoads(tile, valueDim, columnTiles) : 0)) },
        statistics: { ...statistics, reads: block.seen * columnTiles },
        dk: made.dk && { ...made.dk, writes: block.rows },
        dv: made.dv && { ...made.dv, reads: accumulate ? block.rows : 0, writes: block.rows },
      },
      uses: { ...biasUse(work, block.group), ...writtenPartials(block, { dk: keyPartials, dv: valuePartials }) },
      flops: block.pairs * (columnTiles * scoreFlops + (dk ? 2 * headDim : 0) + (dv ? 2 * valueDim : 0)),
    });
    for (const join of joins) addJoin(work, block, join);
  };
}

/** The strides of what all sweeps read, and of what one makes. */
function readStrides({ q, k, v, dOut }: SoftmaxGradientWork["rows"], made: Readonly<Record<string, Rows | undefined>> = {}) {
  const written = Object.entries(made).map(([name, rows]) => [name, rows && { ...rows, writes: 1 }] as const);
  return stridesOf({ queries: q, keys: k, values: v, gradients: dOut, ...Object.fromEntries(written) });
}

/** Rows of so many numbers in one of the buffers of partial results; `undefined` where there is one split. */
function partialsOf({ partials, splits }: SoftmaxGradientWork, index: 0 | 1, width: number): Partials | undefined {
  return splits.count === 1 ? undefined : partials[index] && { ...partials[index], width };
}
