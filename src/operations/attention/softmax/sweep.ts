/** Softmax attention in sweeps: a workgroup has some rows of one side, and goes through the other side, or a split of it, in tiles. */
import { columnVectors, filledColumns, softmaxOthers, softmaxRows, type SoftmaxTile } from "../../../../shaders/attention/softmax/tiles.ts";
import { vectorsOf } from "../../../../shaders/wgsl/rows.ts";
import { range } from "../../../../shaders/wgsl/wgsl.ts";
import type { Span } from "../../../program/slices.ts";
import { sum } from "../../../program/units.ts";
import { type AttentionShape, keyLengthOf } from "../spec.ts";

/** Vectors of sums that a lane keeps for each of its rows, for what there are registers: beyond, rows of the output are cut into pieces. */
export function mostLaneColumns({ rowVectors }: SoftmaxTile): number {
  return rowVectors === 1 ? 6 : 4;
}

/** Operations of a weight: exp by polynomial, roughly, and what is around it. */
export const WEIGHT_FLOPS = 24;

/** How many workgroups share the sums of a row of `width` numbers, each a piece of it. */
export function columnTilesOf(tile: SoftmaxTile, width: number): number {
  return Math.ceil(vectorsOf(width) / (tile.otherGroups * mostLaneColumns(tile)));
}

/** How often a product of weights loads each of the other rows: columns that only fill up the lanes of one piece of a row are those of the next. */
export function productLoads(tile: SoftmaxTile, width: number, columnTiles: number): number {
  const product = { width, columnTiles };
  const [own, filled] = [4 * columnVectors(product), 4 * filledColumns(tile, product)];
  return sum(range(columnTiles), (t) => Math.max(0, Math.min(filled, width - t * own))) / width;
}

/** A sweep of some rows of a head: how many rows go through its workgroups. */
export interface Sweep {
  /** Tiles of rows, each with a workgroup of its own for every split. */
  readonly tiles: number;
  /** Rows of which there are results. */
  readonly rows: number;
  /** The same, counted for every split in which they see anything. */
  readonly partials: number;
  /** Rows that workgroups load of their own, over again for each tile of the others. Tiles are loaded whole: the last row stands in where there is none. */
  readonly own: number;
  /** Rows that workgroups load of the other side, in whole tiles as well. */
  readonly others: number;
  /** Rows of the other side that are there, counted for every workgroup. */
  readonly seen: number;
  /** Pairs of a query and a key that it may see. */
  readonly pairs: number;
}

/** The attention as a sweep over its keys has it: its rows are the keys, and its others, which there are `keyLength` of, the queries. */
export function sweptKeys(shape: AttentionShape): AttentionShape {
  return shape.keyLength === undefined ? shape : { ...shape, length: shape.keyLength, keyLength: shape.length };
}

/** Others that the rows of a tile see, at most. */
export function mostSeen(shape: AttentionShape, tile: SoftmaxTile): number {
  const { causal, window } = shape;
  if (window === undefined) return keyLengthOf(shape);
  return Math.min(shape.length, softmaxRows(tile) + (window - 1) * (causal ? 1 : 2));
}

/** The sweep of some tiles of rows of a head. @param side the rows that workgroups have; they go through the other side */
export function sweepOf(
  { length, keyLength = length, causal, window }: AttentionShape,
  tile: SoftmaxTile,
  side: "queries" | "keys",
  splits: { readonly others: number },
  block: Span,
): Sweep {
  const [tileRows, othersAtOnce] = [softmaxRows(tile), softmaxOthers(tile)];
  const reach = (window ?? keyLength) - 1;
  const [before, after] = [causal && side === "keys" ? 0 : reach, causal && side === "queries" ? 0 : reach];
  let [rows, partials, otherTiles, seen, pairs] = [0, 0, 0, 0, 0];
  for (let t = block.first; t < block.first + block.count; t++) {
    const first = t * tileRows;
    const last = Math.min(first + tileRows, length);
    const [begin, end] = keyLength === length ? [Math.max(0, first - before), Math.min(length, last + after)] : [0, keyLength];
    // In a window, splits begin with the first other that is seen.
    const origin = window === undefined ? 0 : begin;
    // Only the first split that a tile sees may begin within a tile of others.
    const whole = Math.min(end, origin + splits.others * Math.ceil((begin - origin + 1) / splits.others));
    rows += last - first;
    partials += (last - first) * (Math.ceil((end - origin) / splits.others) - Math.floor((begin - origin) / splits.others));
    otherTiles += Math.ceil((whole - begin) / othersAtOnce) + Math.ceil((end - whole) / othersAtOnce);
    seen += end - begin;
    if (keyLength !== length) {
      pairs += (last - first) * keyLength;
      continue;
    }
    // Each row with itself and those before it, and after it.
    pairs += sumUpTo(last, before) - sumUpTo(first, before) + sumUpTo(length - first, after) - sumUpTo(length - last, after) - (last - first);
  }
  return { tiles: block.count, rows, partials, own: tileRows * otherTiles, others: othersAtOnce * otherTiles, seen, pairs };
}

/** Σ min(i, most) + 1 over i < count. */
function sumUpTo(count: number, most: number): number {
  const growing = Math.min(count, most + 1);
  return (growing * (growing + 1)) / 2 + (count - growing) * (most + 1);
}
