/** Softmax attention in sweeps: a workgroup has some rows of one side, and goes through the other side in tiles. */
import {
  softmaxBytes,
  type SoftmaxKernelLayout,
  softmaxLanes,
  softmaxOthers,
  softmaxRows,
  type SoftmaxTile,
} from "../../../../shaders/attention/softmax/tiles.ts";
import { vectorsOf } from "../../../../shaders/wgsl/rows.ts";
import type { ProgramBuilder } from "../../../program/builder.ts";
import { estimatedSeconds, MOST_DISPATCH_SECONDS } from "../../../program/duration.ts";
import { firstTile } from "../../../program/workgroups.ts";
import type { AttentionShape } from "../spec.ts";

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

/** Constants that all kernels of softmax attention have. */
export function kernelShape({ length, headDim, valueDim, scale, causal, variableLengths }: AttentionShape) {
  return { length, headDim, valueDim, scale, causal, variableLengths };
}

/** How many workgroups share the sums of a row of `width` numbers, each a piece of it. */
export function columnTilesOf({ otherGroups }: SoftmaxTile, width: number): number {
  return Math.ceil(vectorsOf(width) / (otherGroups * MOST_LANE_COLUMNS));
}

/**
 * The best tile whose kernels fit. A workgroup goes through all of the other rows, so that long sequences take tiles of few rows.
 *
 * @param pairFlops operations of a workgroup for a pair of a query and a key
 * @throws FastRpbError code `"limit"` where none fits
 */
export function chooseTile(
  program: ProgramBuilder,
  { length }: AttentionShape,
  pairFlops: number,
  layouts: (tile: SoftmaxTile) => readonly SoftmaxKernelLayout[],
): SoftmaxTile {
  const seconds = (tile: SoftmaxTile) =>
    estimatedSeconds(
      { kernel: "attention/softmax/forward", flops: softmaxRows(tile) * length * pairFlops, bytes: 0, groups: 1 },
      program.limits.speed,
    );
  const quick = TILES.filter((tile) => seconds(tile) <= MOST_DISPATCH_SECONDS);
  return firstTile(program, [...quick, TILES.at(-1)!], {
    lanes: softmaxLanes,
    bytes: (tile) => Math.max(...layouts(tile).map(softmaxBytes)),
    what: "the smallest tile of queries and keys",
    enough: 1,
  });
}

/** A sweep of a head: how many rows go through its workgroups. */
export interface Sweep {
  /** Tiles of rows, each with a workgroup of its own. */
  readonly tiles: number;
  /** Rows that workgroups load of their own, over again for each tile of the others. */
  readonly own: number;
  /** Rows that workgroups load of the other side. */
  readonly others: number;
  /** Pairs of a query and a key that it may see. */
  readonly pairs: number;
}

/** The sweep of a head. @param side the rows that workgroups have; they go through the other side */
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
