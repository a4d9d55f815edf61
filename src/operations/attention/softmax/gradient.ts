/**
 * The gradient of softmax attention: statistics of every query, then the gradients of the queries in one sweep, and of the keys and values
 * in another, or in one for each where their rows are too wide for the registers of a lane.
 */
import { softmaxKeyGradientKernel, softmaxKeyGradientLayout } from "../../../../shaders/attention/softmax/key-gradient.ts";
import { softmaxQueryGradientKernel, softmaxQueryGradientLayout } from "../../../../shaders/attention/softmax/query-gradient.ts";
import { softmaxStatisticsKernel, softmaxStatisticsLayout } from "../../../../shaders/attention/softmax/statistics.ts";
import { laneColumns, type SoftmaxTile } from "../../../../shaders/attention/softmax/tiles.ts";
import type { AttentionShape } from "../../specs.ts";
import { type HeadGroup, headGroups } from "../head-groups.ts";
import type { GradientPlacement } from "../linear/gradient.ts";
import { STATISTICS } from "../linear/parts.ts";
import type { ProgramBuilder } from "../../../program/program.ts";
import { addSweep, chooseTile, columnTilesOf, kernelShape, MOST_LANE_COLUMNS, type MovedRows, sweepOf, WEIGHT_FLOPS } from "./plan.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";

interface Work {
  readonly program: ProgramBuilder;
  readonly shape: AttentionShape;
  readonly tile: SoftmaxTile;
}

/** Adds the gradient of softmax attention: `q`, `k`, `v`, `dOut` → `dq`, `dk`, `dv`. */
export function addSoftmaxAttentionGradient(program: ProgramBuilder, shape: AttentionShape, { accumulate, before }: GradientPlacement): void {
  const { headDim, valueDim, length } = shape;
  const statisticsBytes = length * STATISTICS * FLOAT_BYTES;
  const groups = headGroups(program, shape, [headDim, valueDim, STATISTICS], statisticsBytes);
  const tile = chooseTile(program, shape, 4 * headDim + 4 * valueDim + WEIGHT_FLOPS, (candidate) => {
    const base = { tile: candidate, headDim, valueDim };
    return [
      softmaxStatisticsLayout(base),
      softmaxQueryGradientLayout({ ...base, columnTiles: columnTilesOf(candidate, headDim) }),
      ...keyGradients(shape, candidate).map((pass) => softmaxKeyGradientLayout({ ...base, ...pass })),
    ];
  });
  program.workspace("statistics", groups[0]!.count * statisticsBytes);
  before();
  const work: Work = { program, shape, tile };
  for (const group of groups) {
    addStatistics(work, group);
    addQueryGradient(work, group);
    for (const pass of keyGradients(shape, tile)) addKeyGradient(work, group, { ...pass, accumulate });
  }
}

interface KeyGradient {
  readonly gradients: "dk" | "dv" | "both";
  readonly columnTiles: number;
}

/** Both gradients in one sweep where a lane can hold the sums of both. */
function keyGradients({ headDim, valueDim }: AttentionShape, tile: SoftmaxTile): readonly KeyGradient[] {
  const columns = (width: number) => laneColumns(tile, { width, columnTiles: 1 });
  if (columns(headDim) + columns(valueDim) <= MOST_LANE_COLUMNS) return [{ gradients: "both", columnTiles: 1 }];
  return [
    { gradients: "dv", columnTiles: columnTilesOf(tile, valueDim) },
    { gradients: "dk", columnTiles: columnTilesOf(tile, headDim) },
  ];
}

function addStatistics({ program, shape, tile }: Work, group: HeadGroup): void {
  const { headDim, valueDim, length } = shape;
  const sweep = sweepOf(shape, tile, "queries");
  addSweep(program, shape, group, softmaxStatisticsKernel({ ...kernelShape(shape), tile }), {
    tiles: sweep.tiles,
    rows: {
      queries: { buffer: "q", dim: headDim, reads: sweep.own },
      keys: { buffer: "k", dim: headDim, reads: sweep.others },
      values: { buffer: "v", dim: valueDim, reads: sweep.others },
      gradients: { buffer: "dOut", dim: valueDim, reads: sweep.own },
      statistics: statistics({ writes: length }),
    },
    flops: sweep.pairs * (2 * headDim + 2 * valueDim + WEIGHT_FLOPS),
  });
}

function addQueryGradient({ program, shape, tile }: Work, group: HeadGroup): void {
  const { headDim, valueDim, length } = shape;
  const columnTiles = columnTilesOf(tile, headDim);
  const sweep = sweepOf(shape, tile, "queries");
  addSweep(program, shape, group, softmaxQueryGradientKernel({ ...kernelShape(shape), tile, columnTiles }), {
    tiles: sweep.tiles * columnTiles,
    rows: {
      queries: { buffer: "q", dim: headDim, reads: sweep.own * columnTiles },
      // For the scores, and as what they weigh.
      keys: { buffer: "k", dim: headDim, reads: sweep.others * (columnTiles + 1) },
      values: { buffer: "v", dim: valueDim, reads: sweep.others * columnTiles },
      gradients: { buffer: "dOut", dim: valueDim, reads: sweep.own * columnTiles },
      statistics: statistics({ reads: length * columnTiles }),
      out: { buffer: "dq", dim: headDim, writes: length },
    },
    flops: sweep.pairs * (columnTiles * (2 * headDim + 2 * valueDim + WEIGHT_FLOPS) + 2 * headDim),
  });
}

function addKeyGradient({ program, shape, tile }: Work, group: HeadGroup, pass: KeyGradient & { readonly accumulate: boolean }): void {
  const { headDim, valueDim, length } = shape;
  const { gradients, columnTiles, accumulate } = pass;
  const [dk, dv] = [gradients !== "dv", gradients !== "dk"];
  const sweep = sweepOf(shape, tile, "keys");
  const scoreFlops = 2 * headDim + (dk ? 2 * valueDim : 0) + WEIGHT_FLOPS;
  addSweep(program, shape, group, softmaxKeyGradientKernel({ ...kernelShape(shape), tile, ...pass }), {
    tiles: sweep.tiles * columnTiles,
    rows: {
      queries: { buffer: "q", dim: headDim, reads: sweep.others * (columnTiles + (dk ? 1 : 0)) },
      keys: { buffer: "k", dim: headDim, reads: sweep.own * columnTiles },
      ...(dk && { values: { buffer: "v", dim: valueDim, reads: sweep.own * columnTiles } }),
      gradients: { buffer: "dOut", dim: valueDim, reads: sweep.others * ((dk ? columnTiles : 0) + (dv ? 1 : 0)) },
      statistics: statistics({ reads: sweep.others * columnTiles }),
      ...(dk && { dk: { buffer: "dk", dim: headDim, writes: length } }),
      ...(dv && { dv: { buffer: "dv", dim: valueDim, reads: accumulate ? length : 0, writes: length } }),
    },
    flops: sweep.pairs * (columnTiles * scoreFlops + (dk ? 2 * headDim : 0) + (dv ? 2 * valueDim : 0)),
  });
}

function statistics(moved: Pick<MovedRows, "reads" | "writes">): MovedRows {
  return { buffer: "statistics", dim: STATISTICS, local: true, ...moved };
}
