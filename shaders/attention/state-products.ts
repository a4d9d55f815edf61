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

/** How the matrix s of a state goes through workgroup memory. */
export interface MatrixTile extends Pick<LaneTile, "rowLanes"> {
  /** Of what is summed over, the vectors that stand there at a time. */
  readonly depth: number;
}

/** vec4f from what belongs to one vector of those to the next: an odd number, so that lanes that turn the matrix over meet different banks. */
function matrixPitch({ rowLanes }: MatrixTile): number {
  return rowLanes | 1;
}

/** Workgroup variables `matrix0`, …, for the numbers of a vector that is summed over. There are four, so that one index serves them all. */
export function matrixVariables(tile: MatrixTile): readonly WorkgroupVariable[] {
  return range(4).map((i) => vectorArray(`matrix${i}`, tile.depth * matrixPitch(tile)));
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

/** WGSL expression of vector `e` of row 4·c + j of s; it is any number where there is no such row. */
function stateVector(j: number, headDim: number, e = "e"): string {
  return `states[state + (STATE_PRODUCTS + min(4u * c + ${u32(j)}, ${u32(headDim - 1)}) * STATE_STRIDE) / 4u + ${e}]`;
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

/** A product of a tile of rows with the matrix s of a state. */
export interface StateProduct {
  /** Over its values, for features c; or over its features, for values e. */
  readonly over: "values" | "features";
  /** How the variables of the rows begin: `<rows><i>`, filled up with zeros. */
  readonly rows: string;
  /** How those of the sums begin. The sum of a feature or value that is not there is any number. */
  readonly sum: string;
}

/**
 * Statements that do `then` for each vector c, or e, that the lane has, with `<sum><i>` its sums for the rows. The matrix comes through workgroup
 * memory. They hold barriers: one before anything is read.
 */
export function stateProduct(
  tile: Pick<StateTile, "laneRows" | "headDim" | "valueDim"> & MatrixTile,
  { over, rows, sum }: StateProduct,
  then: string,
): string {
  const { laneRows, headDim, valueDim, depth } = tile;
  const values = over === "values";
  const [out, outVectors, vectors, at] = values ? ["c", "VECTORS", "VALUE_VECTORS", "lane_value"] : ["e", "VALUE_VECTORS", "VECTORS", "lane_phi"];
  // Neighbouring lanes read neighbours of a row of s.
  const [outIndex, index] = values ? [`i / ${u32(depth)}`, `i % ${u32(depth)}`] : ["i % ROW_LANES", "i / ROW_LANES"];
  // Padding of a state may be NaN, which zeros do not silence.
  const masked = (vector: string) => (!values || valueDim % 4 === 0 ? vector : `select(vec4f(), ${vector}, ${withinRow("e", u32(valueDim))})`);
  return wgsl`  for (var first = 0u; first < ${outVectors}; first += ROW_LANES) {
${unroll(range(laneRows), (i) => `    var ${sum}${i} = vec4f();`)}
    for (var piece = 0u; piece < ${vectors}; piece += ${u32(depth)}) {
      workgroupBarrier();
      for (var i = lane; i < ${u32(depth)} * ROW_LANES; i += LANES) {
        let ${out} = first + ${outIndex};
        let ${values ? "e" : "c"} = piece + ${index};
        let at = (${index}) * ${u32(matrixPitch(tile))} + ${outIndex};
        let vector = min(e, VALUE_VECTORS - 1u);
${unroll(range(4), (j) => `        let s${j} = ${masked(stateVector(j, headDim, "vector"))};`)}
${unroll(range(4), (i) => `        matrix${i}[at] = ${values ? `vec4f(s0[${i}], s1[${i}], s2[${i}], s3[${i}])` : `s${i}`};`)}
      }
      workgroupBarrier();
      for (var k = 0u; k < min(${u32(depth)}, ${vectors} - piece); k++) {
        let at = k * ${u32(matrixPitch(tile))} + column;
        let row_at = ${at} + piece + k;
${unroll(range(4), (i) => `        let s${i} = matrix${i}[at];`)}
${addProducts(laneRows, sum, (i) => `${rows}${i}[row_at]`)}
      }
    }
    let ${out} = first + column;
    if (${out} < ${outVectors}) {
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
