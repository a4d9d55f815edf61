/**
 * What the kernels of causal linear attention share that pair the rows of a tile with others of their chunk. A workgroup does `rows` rows; lanes are
 * as in attention/query-features.ts. The others come KEY_ROWS at a time, of which a lane has one, and their vectors TILE_VECTORS at a time.
 */
import type { HeadShape } from "../head-shape.ts";
import type { LaneTile } from "../query-features.ts";
import type { WorkgroupVariable } from "../../wgsl/kernel.ts";
import { tokensOf } from "../../wgsl/lengths.ts";
import { vectorArray, vectorsOf } from "../../wgsl/rows.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";

/** A tile of rows, and a tile of as many others as a row has lanes. The number of rows divides that of others. */
export interface CausalTile extends LaneTile {
  /** vec4f of an other that stand in workgroup memory at a time. */
  readonly tileVectors: number;
}

/** The sizes that the workgroup memory of a causal kernel depends on. */
export interface CausalMemory extends CausalTile, Omit<HeadShape, "length"> {
  /** Rows of a chunk, a multiple of `rowLanes`. */
  readonly chunkRows: number;
}

/** The workgroup variable `scores`: a vec4f for the rows of a lane and each other of the chunk. */
export function scoresVariable({ rows, laneRows, chunkRows }: CausalMemory): WorkgroupVariable {
  return vectorArray("scores", (rows / laneRows) * scorePitch(chunkRows));
}

/** vec4f from the scores of a lane's rows to those of the next lane's. */
export function scorePitch(chunkRows: number): number {
  return chunkRows | 1;
}

/** The workgroup variable `maxima` of SIKF: the largest key of some rows, a vec4f for every four features. */
export function maximaVariable({ headDim }: CausalMemory): WorkgroupVariable {
  return vectorArray("maxima", vectorsOf(headDim));
}

/** WGSL constants of the two tiles. */
export function causalConstants({ chunkRows, rowLanes, tileVectors }: CausalMemory): string {
  return wgsl`const CHUNK_ROWS = ${u32(chunkRows)};
const KEY_ROWS = ${u32(rowLanes)};
const TILE_VECTORS = ${u32(tileVectors)};
const TILE_PITCH = ${u32(tileVectors | 1)};`;
}

/** Statements that start a kernel with workgroup → (head, row tile): which rows the lane has, and where they stand. */
export function causalStart(spec: Pick<HeadShape, "length"> & Pick<LaneTile, "rows"> & { readonly variableLengths: boolean }): string {
  const rowTiles = u32(Math.ceil(spec.length / spec.rows));
  return wgsl`  let row_tile = group % ${rowTiles};
  let head = group / ${rowTiles};
  let bh = params.firstHead + head;
  let tokens = ${tokensOf(spec)};
  let lane_row = lane / ROW_LANES;
  let column = lane % ROW_LANES;
  let tile_row = row_tile * ROWS;
  let first_row = tile_row + lane_row;
  let lane_phi = lane_row * PITCH;`;
}

/** Statements of a loop over `vectors` vec4f of rows, as many as a tile of others has at a time: `count` of them, from `first` on. */
export function vectorTiles(vectors: string, body: string): string {
  return `    for (var first = 0u; first < ${vectors}; first += TILE_VECTORS) {
      let count = min(TILE_VECTORS, ${vectors} - first);
${body}
    }`;
}
