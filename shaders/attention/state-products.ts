/**
 * A tile of rows of one chunk in workgroup memory, and its products with the matrix s of the key state of that chunk: over its values, or over its
 * features. Lanes as in attention/query-features.ts.
 */
import { chunkConstants, type ChunkedStates, keyStateConstants } from "./feature-map.ts";
import type { HeadShape } from "./head-shape.ts";
import { type FeatureTile, laneRow, type LaneTile, rowPitch } from "./query-features.ts";
import { tokensOf } from "../wgsl/lengths.ts";
import type { WorkgroupVariable } from "../wgsl/kernel.ts";
import { vectorArray, vectorsOf, withinRow } from "../wgsl/rows.ts";
import { range, u32, unroll, wgsl } from "../wgsl/wgsl.ts";

/** A tile of rows of one chunk, and the states of all chunks. `rows` divides `chunkRows`, unless there is one chunk only. */
export interface StateTile extends FeatureTile, HeadShape, ChunkedStates {}

/** How the matrix of a state goes through workgroup memory, turned over. */
export interface TurnedTile extends Pick<LaneTile, "rowLanes"> {
  /** Vectors of values that stand there at a time. */
  readonly depth: number;
}

/** From the features of one vector of values to those of the next: an odd number, so that lanes that turn the matrix over meet different banks. */
function turnedPitch({ rowLanes }: TurnedTile): number {
  return rowLanes | 1;
}

/** Workgroup variables `turned0`, …: of the vectors of values, number i for all features. */
export function turnedVariables(tile: TurnedTile): readonly WorkgroupVariable[] {
  return range(4).map((i) => vectorArray(`turned${i}`, tile.depth * turnedPitch(tile)));
}

/** WGSL constants of a tile and its states, besides those of its features. */
export function stateTileConstants(tile: StateTile): string {
  return wgsl`const N = ${u32(tile.length)};
const D = ${u32(tile.headDim)};
const E = ${u32(tile.valueDim)};
${chunkConstants(tile)}
const VALUE_VECTORS = ${u32(vectorsOf(tile.valueDim))};
const VALUE_PITCH = ${u32(rowPitch(tile.valueDim))};
${keyStateConstants(tile.state)}`;
}

/** Statements that start a kernel with workgroup → (head, row tile): which rows the lane has, and where they and the state of their chunk stand. */
export function stateTileStart(tile: StateTile): string {
  const rowTiles = u32(Math.ceil(tile.length / tile.rows));
  return wgsl`  let row_tile = group % ${rowTiles};
  let head = group / ${rowTiles};
  let bh = params.firstHead + head;
  let state = (head * CHUNKS + row_tile * ROWS / CHUNK_ROWS) * (STATE / 4u);
  let tokens = ${tokensOf(tile)};
  let lane_row = lane / ROW_LANES;
  let column = lane % ROW_LANES;
  let first_row = row_tile * ROWS + lane_row;
  let lane_phi = lane_row * PITCH;
  let lane_value = lane_row * VALUE_PITCH;`;
}

/** Statements that fill `<tile>0`, … with the values of the lane's rows, by the function `load`; rows from `tokens` on are zero. */
export function loadRowTile({ laneRows }: Pick<LaneTile, "laneRows">, tile: string, load: string): string {
  return `  for (var c = column; c < VALUE_VECTORS; c += ROW_LANES) {
${unroll(
  range(laneRows),
  (i) => `    {
      let row = ${laneRow(i)};
      var vector = vec4f();
      if (row < tokens) { vector = ${load}(bh * N + row, c); }
      ${tile}${i}[lane_value + c] = vector;
    }`,
)}
  }`;
}

/** WGSL expression of vector e of row 4·c + j of s; it is any number where there is no such row. */
function stateVector(j: number, headDim: number): string {
  return `states[state + (STATE_PRODUCTS + min(4u * c + ${u32(j)}, ${u32(headDim - 1)}) * STATE_STRIDE) / 4u + e]`;
}

/** Statements that add to `<sum><i>` the numbers of `x` times the vectors s0, s1, s2, s3. */
function addProducts(laneRows: number, sum: string, x: (i: number) => string): string {
  return unroll(
    range(laneRows),
    (i) => `      {
        let x = ${x(i)};
${unroll(range(4), (j) => `        ${sum}${i} = fma(vec4f(x[${j}]), s${j}, ${sum}${i});`)}
      }`,
  );
}

/**
 * Statements that do `then` for each vector c of the lane's features, with `<sum><i>` = Σ_e x_ie s_de for them, x_i in `<rows><i>`. The sum of a
 * feature that is not there is any number. They hold barriers: one before anything is read.
 */
export function timesStateRows(
  tile: Pick<StateTile, "laneRows" | "headDim" | "valueDim"> & TurnedTile,
  rows: string,
  sum: string,
  then: string,
): string {
  const { laneRows, headDim, valueDim, depth } = tile;
  // Padding of a state may be NaN, which zeros do not silence.
  const masked = (vector: string) => (valueDim % 4 === 0 ? vector : `select(vec4f(), ${vector}, ${withinRow("e", u32(valueDim))})`);
  return wgsl`  for (var first = 0u; first < VECTORS; first += ROW_LANES) {
${unroll(range(laneRows), (i) => `    var ${sum}${i} = vec4f();`)}
    for (var piece = 0u; piece < VALUE_VECTORS; piece += ${u32(depth)}) {
      workgroupBarrier();
      for (var i = lane; i < ${u32(depth)} * ROW_LANES; i += LANES) {
        let c = first + i / ${u32(depth)};
        let e = piece + i % ${u32(depth)};
        let at = i % ${u32(depth)} * ${u32(turnedPitch(tile))} + i / ${u32(depth)};
${unroll(range(4), (j) => `        let s${j} = ${masked(stateVector(j, headDim))};`)}
${unroll(range(4), (i) => `        turned${i}[at] = vec4f(s0[${i}], s1[${i}], s2[${i}], s3[${i}]);`)}
      }
      workgroupBarrier();
      for (var e = 0u; e < min(${u32(depth)}, VALUE_VECTORS - piece); e++) {
        let at = e * ${u32(turnedPitch(tile))} + column;
        let value_at = lane_value + piece + e;
${unroll(range(4), (i) => `        let s${i} = turned${i}[at];`)}
${addProducts(laneRows, sum, (i) => `${rows}${i}[value_at]`)}
      }
    }
    let c = first + column;
    if (c < VECTORS) {
${then}
    }
  }`;
}

/** Statements for `<sum><i>` = Σ_d φ_id s_de with φ_i in `phi<i>`, for the values 4·e … 4·e + 3. */
export function timesStateColumns({ laneRows, headDim }: Pick<StateTile, "laneRows" | "headDim">, sum: string): string {
  return wgsl`${unroll(range(laneRows), (i) => `    var ${sum}${i} = vec4f();`)}
    for (var c = 0u; c < VECTORS; c++) {
${unroll(range(4), (j) => `      let s${j} = ${stateVector(j, headDim)};`)}
${addProducts(laneRows, sum, (i) => `phi${i}[lane_phi + c]`)}
    }`;
}
