/**
 * What the kernels of a separable bias share, W_ij = r[y_j − y_i] + c[x_j − x_i] on a grid [H, W]: out_i = A[y_i] + B[x_i], where A is the Toeplitz
 * product of r and the sums of rows, and B that of c and the sums of columns.
 *
 * Memory: vectors of four channels, of those there are V = ⌈channels / 4⌉. The sums of a head are [x tiles, H, V], those of rows within each tile of
 * columns, then [y tiles, W, V], those of columns; its products [H, V], then [W, V]. What has one number for every offset holds for each head 2H − 1 of
 * rows, then 2W − 1 of columns.
 */
import { type RowMargin, type Strided, vectorsOf } from "../wgsl/rows.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

/** The grid, and the tiles in which its rows and columns are summed. */
export interface SeparableShape {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** Tiles of the rows, and of the columns. */
  readonly yTiles: number;
  readonly xTiles: number;
  /** Lanes of a workgroup. */
  readonly lanes: number;
}

/** The tokens that a workgroup sums, or spreads products over. */
export interface SeparableTile extends SeparableShape, Strided {
  /** Vectors of channels of a workgroup, which divide its lanes. */
  readonly vectors: number;
  /** Rows of a tile. */
  readonly tileRows: number;
  /** Columns of a lane: those of a tile are this many for each lane of a vector. */
  readonly laneColumns: number;
  /** What is between the heads of the values and the result, if anything. */
  readonly margin?: RowMargin | undefined;
}

/** Constants of all kernels that see the sums or the products. */
export function separableConstants({ height, width, channels, yTiles, xTiles }: SeparableShape): string {
  return wgsl`const H = ${u32(height)};
const W = ${u32(width)};
const V = ${u32(vectorsOf(channels))};
const Y_TILES = ${u32(yTiles)};
const X_TILES = ${u32(xTiles)};
const SUMS = (X_TILES * H + Y_TILES * W) * V; // of a head
const OFFSETS = 2u * (H + W - 1u);
`;
}

/** Constants of a tile, with the statements that find that of a workgroup, and a lane's vector and first column in it. */
export function tileDeclarations(tile: SeparableTile): string {
  return wgsl`${separableConstants(tile)}const TILE_ROWS = ${u32(tile.tileRows)};
const VECTORS = ${u32(tile.vectors)};
const APART = LANES / VECTORS; // columns from one of a lane to the next
const CHANNEL_TILES = ${u32(Math.ceil(vectorsOf(tile.channels) / tile.vectors))};
`;
}

export const TILE_STATEMENTS = `  let x_tile = group / CHANNEL_TILES % X_TILES;
  let y_tile = group / (CHANNEL_TILES * X_TILES) % Y_TILES;
  let head = group / (CHANNEL_TILES * X_TILES * Y_TILES);
  let first_vector = group % CHANNEL_TILES * VECTORS;
  let vector = first_vector + lane % VECTORS;
  let first_token = (params.firstHead + head) * H * W;
  let first_row = y_tile * TILE_ROWS;`;

/** WGSL expression of the `k`-th column of a lane. */
export function laneColumn({ laneColumns }: SeparableTile, k: number): string {
  return `x_tile * APART * ${u32(laneColumns)} + lane / VECTORS + APART * ${u32(k)}`;
}

/** Constants and statements of kernels whose workgroups each do a part of an axis: `of` positions or offsets, rows first. */
export function axisStatements(part: string, tile: string, of: (size: string) => string): string {
  return `  let row_parts = (${of("H")} + ${tile} - 1u) / ${tile};
  let along_rows = ${part} < row_parts;
  let size = select(W, H, along_rows);
  let pieces = select(Y_TILES, X_TILES, along_rows);
  let first_sum = head * SUMS + select(X_TILES * H * V, 0u, along_rows);
  let first = ${tile} * (${part} - select(row_parts, 0u, along_rows));`;
}
