/**
 * A tile of rows of one chunk in workgroup memory, and its products with the matrix s of the key state of that chunk: over its values, or over its
 * features. Lanes as in attention/query-features.ts.
 */
import { chunkConstants, type ChunkedStates, keyStateConstants } from "./feature-map.ts";
import type { HeadShape } from "./head-shape.ts";
import { type FeatureTile, laneRow, type LaneTile, rowPitch } from "./query-features.ts";
import { tokensOf } from "../wgsl/lengths.ts";
import { vectorsOf, withinRow } from "../wgsl/rows.ts";
import { range, u32, unroll, wgsl } from "../wgsl/wgsl.ts";

/** A tile of rows of one chunk, and the states of all chunks. `rows` divides `chunkRows`, unless there is one chunk only. */
export interface StateTile extends FeatureTile, HeadShape, ChunkedStates {}

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

/**
 * Statements for `<sum><i>` = Σ_e x_ie s_de with x_i in `<rows><i>`, for the features 4·c … 4·c + 3. The sum of a feature that is not there is any
 * number.
 */
export function timesStateRows(
  { laneRows, headDim, valueDim }: Pick<StateTile, "laneRows" | "headDim" | "valueDim">,
  rows: string,
  sum: string,
): string {
  // Padding of a state may be NaN, which zeros do not silence.
  const masked = (vector: string) => (valueDim % 4 === 0 ? vector : `select(vec4f(), ${vector}, are_values)`);
  return wgsl`${unroll(range(laneRows), (i) => `    var ${sum}${i} = vec4f();`)}
    for (var e = 0u; e < VALUE_VECTORS; e++) {
#if ${valueDim % 4 !== 0}
      let are_values = ${withinRow("e", u32(valueDim))};
#endif
${unroll(range(4), (j) => `      let s${j} = ${masked(stateVector(j, headDim))};`)}
${unroll(
  range(laneRows),
  (i) => `      {
        let x = ${rows}${i}[lane_value + e];
        ${sum}${i} += vec4f(dot(x, s0), dot(x, s1), dot(x, s2), dot(x, s3));
      }`,
)}
    }`;
}

/** Statements for `<sum><i>` = Σ_d φ_id s_de with φ_i in `phi<i>`, for the values 4·e … 4·e + 3. */
export function timesStateColumns({ laneRows, headDim }: Pick<StateTile, "laneRows" | "headDim">, sum: string): string {
  return wgsl`${unroll(range(laneRows), (i) => `    var ${sum}${i} = vec4f();`)}
    for (var c = 0u; c < VECTORS; c++) {
${unroll(range(4), (j) => `      let s${j} = ${stateVector(j, headDim)};`)}
${unroll(
  range(laneRows),
  (i) => `      {
        let x = phi${i}[lane_phi + c];
${unroll(range(4), (j) => `        ${sum}${i} = fma(vec4f(x[${j}]), s${j}, ${sum}${i});`)}
      }`,
)}
    }`;
}
