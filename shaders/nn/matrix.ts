/**
 * Where the numbers of a matrix lie that a product reads or writes. Rows lie one after the other; or the matrix is cut into heads, [rows / length, heads,
 * length, width] instead of [rows, heads · width]. Where rows, or widths of heads, are whole vectors of 4, columns and places are counted in vectors.
 */
import { u32 } from "../wgsl/wgsl.ts";

export interface MatrixPlaces {
  /** Whether the binding has vec4f. */
  readonly vectors: boolean;
  readonly heads?: HeadPlaces | undefined;
}

export interface HeadPlaces {
  /** Rows of a head that follow each other. */
  readonly length: number;
  readonly heads: number;
  /** Columns of a head. */
  readonly width: number;
}

export function matrixElement({ vectors }: MatrixPlaces): "vec4f" | "f32" {
  return vectors ? "vec4f" : "f32";
}

/** Parameters of a matrix: from item to item, from row to row, both in what the binding holds, and where the binding begins. */
export function matrixParams(name: string): readonly string[] {
  return [`${name}Item`, `${name}Row`, `${name}Base`];
}

/** WGSL expression of where an item begins. */
export function itemPlace(name: string, item: string): string {
  return `${item} * params.${name}Item - params.${name}Base`;
}

/** WGSL expression of how far a row is from the beginning of its item. */
export function rowPlace(name: string, { vectors, heads }: MatrixPlaces, row: string): string {
  if (!heads) return `${row} * params.${name}Row`;
  const length = u32(heads.length);
  return `(${row} / ${length} * ${u32(heads.heads * heads.length)} + ${row} % ${length}) * ${u32(heads.width / (vectors ? 4 : 1))}`;
}

/** WGSL expression of how far a column is from the beginning of its row. */
export function columnPlace({ vectors, heads }: MatrixPlaces, column: string): string {
  if (!heads) return column;
  const width = heads.width / (vectors ? 4 : 1);
  return `(${column} / ${u32(width)} * ${u32(heads.length * width)} + ${column} % ${u32(width)})`;
}
