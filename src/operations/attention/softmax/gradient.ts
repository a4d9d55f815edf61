/**
 * The gradient of softmax attention: statistics of every query, then the gradients of the queries in one sweep, and of the keys and values
 * in another, or in one for each where their rows are too wide for the registers of a lane.
 */
import { softmaxKeyGradientKernel, softmaxKeyGradientLayout } from "../../../../shaders/attention/softmax/key-gradient.ts";
import { softmaxQueryGradientKernel, softmaxQueryGradientLayout } from "../../../../shaders/attention/softmax/query-gradient.ts";
import { softmaxStatisticsKernel, softmaxStatisticsLayout } from "../../../../shaders/attention/softmax/statistics.ts";
import { laneColumns, type SoftmaxTile } from "../../../../shaders/attention/softmax/tiles.ts";
import type { ProgramBuilder } from "../../../program/builder.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { addBiasGradient, type AttentionGradientTensors } from "../bias.ts";
import { addHeadKernel, gradientRows, type GroupedWork, type HeadGroup, headGroups, type Rows } from "../head-groups.ts";
import { STATISTICS, statisticsRows } from "../linear/key-state.ts";
import type { AttentionShape } from "../spec.ts";
import { chooseTile, columnTilesOf, kernelShape, MOST_LANE_COLUMNS, sweepOf, WEIGHT_FLOPS } from "./sweep.ts";

/** A gradient of softmax attention in a program. */
interface SoftmaxGradientWork extends GroupedWork {
  readonly tile: SoftmaxTile;
  readonly rows: ReturnType<typeof gradientRows>;
  readonly statistics: Rows;
  /** Whether `dv` is added to what is there. */
  readonly accumulate: boolean;
}

/** Adds the gradient of softmax attention. */
export function planSoftmaxAttentionGradient(
  program: ProgramBuilder,
  shape: AttentionShape,
  tensors: AttentionGradientTensors,
  scratch: number,
): void {
  const { headDim, valueDim, length } = shape;
  const groups = headGroups(program, shape, [headDim, valueDim, STATISTICS], scratch, length * STATISTICS * FLOAT_BYTES);
  const tile = chooseTile(program, shape, 4 * headDim + 4 * valueDim + WEIGHT_FLOPS, (candidate) => {
    const base = { tile: candidate, headDim, valueDim };
    return [
      softmaxStatisticsLayout(base),
      softmaxQueryGradientLayout({ ...base, columnTiles: columnTilesOf(candidate, headDim) }),
      ...keySweeps(shape, candidate).map((sweep) => softmaxKeyGradientLayout({ ...base, ...sweep })),
    ];
  });
  const grouped: GroupedWork = { program, shape, lengths: tensors.lengths, mostHeads: groups[0]!.count };
  const statistics = statisticsRows(grouped);
  const accumulate = addBiasGradient(program, shape, tensors, scratch - statistics.buffer.bytes);
  const work: SoftmaxGradientWork = { ...grouped, tile, rows: gradientRows(shape, tensors), statistics, accumulate };
  for (const group of groups) {
    addStatistics(work, group);
    addQueryGradient(work, group);
    for (const sweep of keySweeps(shape, tile)) addKeyGradient(work, group, sweep);
  }
}

/** A sweep over the queries, and which gradients it makes. */
interface KeySweep {
  readonly gradients: "dk" | "dv" | "both";
  readonly columnTiles: number;
}

/** The sweeps for the gradients of keys and values: one where a lane can hold the sums of both. */
function keySweeps({ headDim, valueDim }: AttentionShape, tile: SoftmaxTile): readonly KeySweep[] {
  const columns = (width: number) => laneColumns(tile, { width, columnTiles: 1 });
  if (columns(headDim) + columns(valueDim) <= MOST_LANE_COLUMNS) return [{ gradients: "both", columnTiles: 1 }];
  return [
    { gradients: "dv", columnTiles: columnTilesOf(tile, valueDim) },
    { gradients: "dk", columnTiles: columnTilesOf(tile, headDim) },
  ];
}

function addStatistics(work: SoftmaxGradientWork, group: HeadGroup): void {
  const { shape, tile, rows, statistics } = work;
  const { headDim, valueDim, length } = shape;
  const sweep = sweepOf(shape, tile, "queries");
  addHeadKernel(work, group, softmaxStatisticsKernel({ ...kernelShape(shape), tile }), {
    groups: sweep.tiles,
    rows: {
      queries: { ...rows.q, reads: sweep.own },
      keys: { ...rows.k, reads: sweep.others },
      values: { ...rows.v, reads: sweep.others },
      gradients: { ...rows.dOut, reads: sweep.own },
      statistics: { ...statistics, writes: length },
    },
    flops: sweep.pairs * (2 * headDim + 2 * valueDim + WEIGHT_FLOPS),
  });
}

function addQueryGradient(work: SoftmaxGradientWork, group: HeadGroup): void {
  const { shape, tile, rows, statistics } = work;
  const { headDim, valueDim, length } = shape;
  const columnTiles = columnTilesOf(tile, headDim);
  const sweep = sweepOf(shape, tile, "queries");
  addHeadKernel(work, group, softmaxQueryGradientKernel({ ...kernelShape(shape), tile, columnTiles }), {
    groups: sweep.tiles * columnTiles,
    rows: {
      queries: { ...rows.q, reads: sweep.own * columnTiles },
      // For the scores, and as what they weigh.
      keys: { ...rows.k, reads: sweep.others * (columnTiles + 1) },
      values: { ...rows.v, reads: sweep.others * columnTiles },
      gradients: { ...rows.dOut, reads: sweep.own * columnTiles },
      statistics: { ...statistics, reads: length * columnTiles },
      out: { ...rows.dq, writes: length },
    },
    flops: sweep.pairs * (columnTiles * (2 * headDim + 2 * valueDim + WEIGHT_FLOPS) + 2 * headDim),
  });
}

function addKeyGradient(work: SoftmaxGradientWork, group: HeadGroup, { gradients, columnTiles }: KeySweep): void {
  const { shape, tile, rows, statistics, accumulate } = work;
  const { headDim, valueDim, length } = shape;
  const [dk, dv] = [gradients !== "dv", gradients !== "dk"];
  const sweep = sweepOf(shape, tile, "keys");
  const scoreFlops = 2 * headDim + (dk ? 2 * valueDim : 0) + WEIGHT_FLOPS;
  addHeadKernel(work, group, softmaxKeyGradientKernel({ ...kernelShape(shape), tile, gradients, columnTiles, accumulate }), {
    groups: sweep.tiles * columnTiles,
    // The kernel binds values and dk, or dv, where it makes that gradient.
    rows: {
      queries: { ...rows.q, reads: sweep.others * (columnTiles + (dk ? 1 : 0)) },
      keys: { ...rows.k, reads: sweep.own * columnTiles },
      values: { ...rows.v, reads: sweep.own * columnTiles },
      gradients: { ...rows.dOut, reads: sweep.others * ((dk ? columnTiles : 0) + (dv ? 1 : 0)) },
      statistics: { ...statistics, reads: sweep.others * columnTiles },
      dk: { ...rows.dk, writes: length },
      dv: { ...rows.dv, reads: accumulate ? length : 0, writes: length },
    },
    flops: sweep.pairs * (columnTiles * scoreFlops + (dk ? 2 * headDim : 0) + (dv ? 2 * valueDim : 0)),
  });
}
