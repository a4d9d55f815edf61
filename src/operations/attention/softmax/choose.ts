/** The tile of softmax attention, and into how many splits the others go that its workgroups go through. */
import {
  softmaxBytes,
  type SoftmaxKernelLayout,
  softmaxLanes,
  softmaxOthers,
  softmaxRows,
  type SoftmaxTile,
} from "../../../../shaders/attention/softmax/tiles.ts";
import type { ProgramBuilder } from "../../../program/builder.ts";
import { estimatedSeconds, MOST_DISPATCH_SECONDS } from "../../../program/duration.ts";
import { largestScratch } from "../../../program/ranges.ts";
import { evenStep } from "../../../program/slices.ts";
import { FLOAT_BYTES, sum } from "../../../program/units.ts";
import { firstTile } from "../../../program/workgroups.ts";
import type { AttentionShape } from "../spec.ts";
import { mostSeen } from "./sweep.ts";

/** Tiles, from the best to the smallest: groups of rows and of others, fours of rows and others of a lane, fours of numbers. */
const TILES: readonly SoftmaxTile[] = (
  [
    [16, 8, 2, 8, 8],
    [16, 8, 1, 4, 8],
    [8, 8, 1, 4, 8],
    [8, 8, 1, 4, 4],
    [8, 4, 1, 4, 8],
    [8, 4, 1, 4, 4],
    [4, 4, 1, 4, 4],
    [4, 4, 1, 4, 2],
    [2, 2, 1, 4, 1],
    [1, 1, 1, 4, 1],
  ] as const
).map(([rowGroups, otherGroups, rowVectors, patchOthers, depth]) => ({ rowGroups, otherGroups, rowVectors, patchOthers, depth }));
/** Pairs in the tiles of workgroups that fill a large GPU: of 132 cores, one workgroup each of the largest tile. */
const FILL = 2 ** 20;
/** Tiles of more rows are for those who have enough of them: below, an H100 is as fast with these. */
const FEW_ROWS = 32;
/** Others of a split at least, so that what is kept of it is a few percent of what is done for it. */
const FEWEST_OTHERS = 512;
/** The share of scratch for partial results: by default 32 MiB, several times what workgroups that fill a GPU leave of heads of 64. */
const PARTIAL_SHARE = 1 / 8;

/** What the choices depend on. */
export interface SoftmaxChoice {
  readonly program: ProgramBuilder;
  readonly shape: AttentionShape;
  /** The kernels, by id, and operations of each for a pair of a query and a key, at most. */
  readonly pairFlops: Readonly<Record<string, number>>;
  /** Workgroups for the same rows and others, at least. */
  readonly columnTiles: (tile: SoftmaxTile) => number;
  /** Float32 numbers of a row in each buffer of partial results. */
  readonly partialWidths: (tile: SoftmaxTile) => readonly number[];
  /** Bytes of scratch in all. */
  readonly scratch: number;
}

/** How the others are split, and for how many rows at a time. */
export interface Splits {
  /** 1 where they are not. */
  readonly count: number;
  /** Others of a split, in whole tiles of others and of rows; the last split may have fewer. */
  readonly others: number;
  /** Row tiles of a head that are done at a time. */
  readonly blockTiles: number;
  /** Heads that are done at a time: one, where not all of its row tiles are. */
  readonly mostHeads: number;
}

/** Workgroups whose partial results fit into scratch. */
function slotsOf({ program, partialWidths, scratch }: SoftmaxChoice, tile: SoftmaxTile): number {
  const bytes = softmaxRows(tile) * sum(partialWidths(tile), (width) => width) * FLOAT_BYTES;
  return Math.floor(largestScratch(program.limits, scratch * PARTIAL_SHARE) / bytes);
}

/** Seconds that so many workgroups take at a time for so many pairs, of the kernel that takes longest. */
function secondsOf({ program, pairFlops }: SoftmaxChoice, pairs: number, groups: number): number {
  const works = Object.entries(pairFlops).map(([kernel, flops]) => ({ kernel, flops: pairs * flops, bytes: 0, groups }));
  return Math.max(...works.map((work) => estimatedSeconds(work, program.limits.speed)));
}

/** Workgroups that fill a large GPU. */
function fillOf(tile: SoftmaxTile): number {
  return FILL / (softmaxRows(tile) * softmaxOthers(tile));
}

/** What others are split by: then all rows of a tile see the same splits. */
function stepOf(tile: SoftmaxTile): number {
  return Math.max(softmaxRows(tile), softmaxOthers(tile));
}

/** The most others that a workgroup goes through within the time of a dispatch, in whole steps. */
function mostOthers(choice: SoftmaxChoice, tile: SoftmaxTile): number {
  const step = stepOf(tile);
  return step * Math.floor(MOST_DISPATCH_SECONDS / secondsOf(choice, step * softmaxRows(tile), 1));
}

/** The most splits that are worth their partial results, and whose partial results fit. */
function mostSplits(choice: SoftmaxChoice, tile: SoftmaxTile): number {
  return Math.max(1, Math.min(Math.floor(mostSeen(choice.shape, tile) / FEWEST_OTHERS), slotsOf(choice, tile)));
}

/**
 * The best tile whose kernels fit, and whose workgroups fill the GPU and do a split in the time of a dispatch; slow devices take tiles of few rows for what that
 * leaves too long.
 *
 * @throws FastRpbError code `"limit"` where none fits
 */
export function chooseTile(choice: SoftmaxChoice, layouts: (tile: SoftmaxTile) => readonly SoftmaxKernelLayout[]): SoftmaxTile {
  const { length, batch, heads } = choice.shape;
  const quick = TILES.filter((tile) => {
    const [rows, most, splits] = [softmaxRows(tile), mostOthers(choice, tile), mostSplits(choice, tile)];
    const enough = rows <= FEW_ROWS || batch * heads * Math.ceil(length / rows) * splits >= fillOf(tile);
    const seen = mostSeen(choice.shape, tile);
    return enough && (seen <= most || Math.ceil(seen / most) <= splits);
  });
  return firstTile(choice.program, [...quick, TILES.at(-1)!], {
    lanes: softmaxLanes,
    bytes: (tile) => Math.max(...layouts(tile).map(softmaxBytes)),
    what: "the smallest tile of queries and keys",
    enough: 1,
  });
}

/** Enough splits that the workgroups of a dispatch fill a large GPU, also where work is cut into several, and none of them alone takes too long. */
export function chooseSplits(choice: SoftmaxChoice, tile: SoftmaxTile): Splits {
  const { shape, columnTiles } = choice;
  const { length } = shape;
  const heads = shape.batch * shape.heads;
  const tiles = Math.ceil(length / softmaxRows(tile));
  const seen = mostSeen(shape, tile);
  // Workgroups of a dispatch, were nothing split.
  const inTime = Math.max(1, Math.floor(MOST_DISPATCH_SECONDS / secondsOf(choice, softmaxRows(tile) * seen, Infinity)));
  const groups = Math.min(heads * tiles * columnTiles(tile), inTime);
  const slots = slotsOf(choice, tile);
  // Not, where the partial results of so many do not fit: then fewer would run at a time.
  const toFill = Math.min(Math.ceil(fillOf(tile) / groups), Math.floor((slots * columnTiles(tile)) / groups));
  const toEnd = Math.ceil(seen / Math.max(1, mostOthers(choice, tile)));
  const wanted = Math.min(Math.max(1, toFill, toEnd), mostSplits(choice, tile));
  const others = stepOf(tile) * Math.ceil(seen / wanted / stepOf(tile));
  const count = Math.ceil(seen / others);
  if (count === 1) return { count, others, blockTiles: tiles, mostHeads: heads };
  const fitting = Math.floor(slots / count);
  if (fitting < tiles) return { count, others, blockTiles: evenStep(tiles, fitting), mostHeads: 1 };
  return { count, others, blockTiles: tiles, mostHeads: evenStep(heads, Math.floor(fitting / tiles)) };
}
