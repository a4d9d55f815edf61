/** Softmax attention: one dispatch that goes through the keys in tiles. */
import { queriesStay, softmaxAttentionKernel, softmaxAttentionLayout } from "../../../../shaders/attention/softmax/forward.ts";
import { ELEMENT_BYTES, type Kernel } from "../../../../shaders/wgsl/kernel.ts";
import {
  softmaxBytes,
  type SoftmaxKernelLayout,
  softmaxLanes,
  softmaxOthers,
  softmaxRows,
  type SoftmaxTile,
  vectorsOf,
} from "../../../../shaders/attention/softmax/tiles.ts";
import type { AttentionShape } from "../../specs.ts";
import { groupRows, type HeadGroup, headGroups, type Rows, storedRows } from "../head-groups.ts";
import type { AttentionPlacement } from "../linear/plan.ts";
import { estimatedSeconds, MOST_DISPATCH_SECONDS } from "../../../program/duration.ts";
import { lengthsUse } from "../../lengths.ts";
import { limitError, type ProgramBuilder } from "../../../program/program.ts";

/** Tiles, from the best to the smallest: groups of rows and of others, fours of rows and others of a lane, fours of numbers. */
const TILES: readonly SoftmaxTile[] = (
  [
    [8, 8, 1, 4, 8],
    [8, 8, 1, 4, 4],
    [8, 4, 1, 4, 8],
    [8, 4, 1, 4, 4],
    [4, 4, 1, 4, 4],
    [4, 4, 1, 2, 2],
    [2, 4, 1, 2, 1],
    [2, 2, 1, 1, 1],
    [1, 1, 1, 1, 1],
  ] as const
).map(([rowGroups, otherGroups, rowVectors, patchOthers, depth]) => ({ rowGroups, otherGroups, rowVectors, patchOthers, depth }));
/** Vectors of sums that a lane keeps for each of its rows: beyond, rows of the output are cut into pieces. */
export const MOST_LANE_COLUMNS = 6;
/** Operations of a weight: exp by polynomial, roughly, and what is around it. */
export const WEIGHT_FLOPS = 24;

/** Adds softmax attention of the buffers `q`, `k`, `v`, into `out`. */
export function addSoftmaxAttention(program: ProgramBuilder, shape: AttentionShape, { accumulate, before }: AttentionPlacement): void {
  const { headDim, valueDim, length } = shape;
  const layoutOf = (tile: SoftmaxTile) => softmaxAttentionLayout({ tile, headDim, valueDim, columnTiles: columnTilesOf(tile, valueDim) });
  const tile = chooseTile(program, shape, 2 * headDim + 2 * valueDim + WEIGHT_FLOPS, (candidate) => [layoutOf(candidate)]);
  const columnTiles = columnTilesOf(tile, valueDim);
  const kernel = softmaxAttentionKernel({ ...kernelShape(shape), storage: shape.storage, accumulate, tile, columnTiles });
  const sweep = sweepOf(shape, tile, "queries");
  before();
  for (const group of headGroups(program, shape, [headDim, valueDim])) {
    addSweep(program, shape, group, kernel, {
      tiles: sweep.tiles * columnTiles,
      rows: {
        queries: { ...storedRows(shape, "q", headDim), reads: (queriesStay({ tile, headDim }) ? length : sweep.own) * columnTiles },
        keys: { ...storedRows(shape, "k", headDim), reads: sweep.others * columnTiles },
        values: { ...storedRows(shape, "v", valueDim), reads: sweep.others },
        out: { ...storedRows(shape, "out", valueDim), reads: accumulate ? length : 0, writes: length },
      },
      flops: sweep.pairs * (columnTiles * (2 * headDim + WEIGHT_FLOPS) + 2 * valueDim),
    });
  }
}

/** What the kernels take from a shape. */
export function kernelShape({ length, headDim, valueDim, scale, causal, variableLengths }: AttentionShape) {
  return { length, headDim, valueDim, scale, causal, variableLengths };
}

/** Pieces of a row of sums, each for a workgroup of its own. */
export function columnTilesOf({ otherGroups }: SoftmaxTile, width: number): number {
  return Math.ceil(vectorsOf(width) / (otherGroups * MOST_LANE_COLUMNS));
}

/**
 * The best tile whose kernels fit. A workgroup goes through all of the other rows, so that long sequences take tiles of few rows.
 * @param pairFlops operations of a workgroup for a pair of a query and a key
 */
export function chooseTile(
  program: ProgramBuilder,
  { length }: AttentionShape,
  pairFlops: number,
  layouts: (tile: SoftmaxTile) => readonly SoftmaxKernelLayout[],
): SoftmaxTile {
  const { limits, caller } = program;
  const mostLanes = Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
  const bytes = (tile: SoftmaxTile) => Math.max(...layouts(tile).map(softmaxBytes));
  const fitting = TILES.filter((candidate) => softmaxLanes(candidate) <= mostLanes && bytes(candidate) <= limits.maxComputeWorkgroupStorageSize);
  const seconds = (tile: SoftmaxTile) => estimatedSeconds({ flops: softmaxRows(tile) * length * pairFlops, bytes: 0, groups: 1 }, limits.speed);
  const tile = fitting.find((candidate) => seconds(candidate) <= MOST_DISPATCH_SECONDS) ?? fitting.at(-1);
  if (tile) return tile;
  const smallest = bytes(TILES.at(-1)!);
  throw limitError(
    caller,
    "maxComputeWorkgroupStorageSize",
    smallest,
    limits.maxComputeWorkgroupStorageSize,
    "the smallest tile of queries and keys",
  );
}

/** How the rows of a head go through workgroups. */
export interface Sweep {
  /** Workgroups. */
  readonly tiles: number;
  /** Rows that workgroups load of their own, over again for each tile of the others. */
  readonly own: number;
  /** Rows that they load of the others. */
  readonly others: number;
  /** Pairs of a query and a key that it sees. */
  readonly pairs: number;
}

/** @param side whose rows workgroups have; they go through the other side */
export function sweepOf({ length, causal }: AttentionShape, tile: SoftmaxTile, side: "queries" | "keys"): Sweep {
  const [rows, othersAtOnce] = [softmaxRows(tile), softmaxOthers(tile)];
  const tiles = Math.ceil(length / rows);
  let [own, others] = [0, 0];
  for (let first = 0; first < length; first += rows) {
    const seen = !causal ? length : side === "queries" ? Math.min(length, first + rows) : length - first;
    own += Math.min(rows, length - first) * Math.ceil(seen / othersAtOnce);
    others += seen;
  }
  return { tiles, own, others, pairs: causal ? (length * (length + 1)) / 2 : length ** 2 };
}

/** Rows of a binding, and how many of them a head reads and writes. */
export interface MovedRows extends Rows {
  readonly reads?: number;
  readonly writes?: number;
}

/** Adds a dispatch over a group of heads; counts are those of a head. */
export function addSweep(
  program: ProgramBuilder,
  shape: AttentionShape,
  group: HeadGroup,
  kernel: Kernel,
  sweep: { readonly tiles: number; readonly rows: Readonly<Record<string, MovedRows>>; readonly flops: number },
): void {
  const bound = Object.entries(sweep.rows).map(([name, rows]) => {
    const { use, base } = groupRows(program, shape, group, kernel, name, rows);
    const bytes = group.count * rows.dim * ELEMENT_BYTES[rows.precision ?? "f32"];
    return { name, base, use: { ...use, reads: bytes * (rows.reads ?? 0), writes: bytes * (rows.writes ?? 0) } };
  });
  program.dispatch({
    kernel,
    groups: group.count * sweep.tiles,
    params: { firstHead: group.first, heads: shape.heads, ...Object.fromEntries(bound.map(({ name, base }) => [`${name}Base`, base])) },
    uses: { ...Object.fromEntries(bound.map(({ name, use }) => [name, use])), ...lengthsUse(shape) },
    flops: group.count * sweep.flops,
  });
}
