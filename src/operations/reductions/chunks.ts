/** How the rows of matrices are shared out over workgroups that add them up. */
import type { RowChunksSpec } from "../../../shaders/nn/row-chunks.ts";
import { ELEMENT_BYTES } from "../../../shaders/wgsl/kernel.ts";
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { bindable, largestScratch, type Slice, sliceBytes } from "../../program/ranges.ts";
import { spansOf } from "../../program/slices.ts";
import { FLOAT_BYTES } from "../../program/units.ts";
import { ceilPowerOfTwo, floorPowerOfTwo, mostLanes } from "../../program/workgroups.ts";

/** Matrices of as many rows of float32 numbers. */
export interface Matrices {
  readonly matrices: number;
  readonly rows: number;
  readonly columns: number;
}

/** Chunks of their rows. */
export interface RowChunks {
  readonly kernel: RowChunksSpec;
  /** Chunks of a matrix. */
  readonly chunks: number;
  readonly chunkRows: number;
}

const LANES = 256;
/** Workgroups that fill a large GPU. */
const ENOUGH_GROUPS = 1024;
/** Rows of a lane that are worth a workgroup of their own, and those that are added up one after the other without much loss of accuracy. */
const LEAST_LANE_ROWS = 16;
const MOST_LANE_ROWS = 256;

/** How many elements a row has, which are vectors of four where all are whole. */
export function columnElements({ columns }: Pick<Matrices, "columns">): { readonly vectors: boolean; readonly elements: number } {
  const vectors = columns % 4 === 0;
  return { vectors, elements: vectors ? columns / 4 : columns };
}

/**
 * Chooses the chunks.
 *
 * @param sums how many sums a lane makes
 * @param scratch bytes for what the chunks leave of each sum; where they do not do for two chunks, there is one
 */
export function chooseRowChunks(program: ProgramBuilder, shape: Matrices, sums: number, scratch: number): RowChunks {
  const { limits } = program;
  const { matrices, rows, columns } = shape;
  const { vectors, elements } = columnElements(shape);
  const laneBytes = sums * (vectors ? ELEMENT_BYTES.vec4f : FLOAT_BYTES);
  const lanes = floorPowerOfTwo(Math.min(LANES, mostLanes(limits), limits.maxComputeWorkgroupStorageSize / laneBytes));
  const width = widthOf(lanes, elements, 32);
  const height = lanes / width;
  const groups = Math.ceil(elements / width) * matrices;
  const wanted = Math.min(
    Math.max(Math.ceil(ENOUGH_GROUPS / groups), Math.ceil(rows / height / MOST_LANE_ROWS)),
    Math.ceil(rows / height / LEAST_LANE_ROWS),
  );
  const held = Math.floor(largestScratch(limits, scratch / sums) / (matrices * columns * FLOAT_BYTES));
  const rowBytes = columns * FLOAT_BYTES;
  // A chunk is within one binding.
  const most = bindable(program, rowBytes, matrices * rows, "a row");
  const chunkRows = Math.min(most, Math.ceil(rows / Math.max(1, Math.min(wanted, held))));
  return { kernel: { lanes, width, vectors }, chunks: Math.ceil(rows / chunkRows), chunkRows };
}

/** Chunks that are whole matrices: the sums of chunks, for example. A workgroup has fewer columns, so that it has more lanes for rows. */
export function wholeRowChunks(program: ProgramBuilder, shape: Matrices): RowChunks {
  const { limits } = program;
  const { vectors, elements } = columnElements(shape);
  const lanes = floorPowerOfTwo(
    Math.min(LANES, mostLanes(limits), limits.maxComputeWorkgroupStorageSize / (vectors ? ELEMENT_BYTES.vec4f : FLOAT_BYTES)),
  );
  return { kernel: { lanes, width: widthOf(lanes, elements, 8), vectors }, chunks: 1, chunkRows: shape.rows };
}

function widthOf(lanes: number, elements: number, most: number): number {
  return Math.min(lanes, ceilPowerOfTwo(elements), most);
}

/** Chunks that are done by one dispatch. */
export interface ChunkSpan {
  readonly groups: number;
  readonly params: Readonly<Record<string, number>>;
  /** The range of the rows, where not all can be bound. */
  readonly slice: Slice | undefined;
  readonly firstRow: number;
  readonly rows: number;
  /** Numbers that the chunks leave of each sum. */
  readonly sums: number;
}

/** All chunks of matrices, in slices of what a binding holds of `x`. */
export function chunkSpans(program: ProgramBuilder, x: Handle, shape: Matrices, { kernel, chunks, chunkRows }: RowChunks): readonly ChunkSpan[] {
  const { limits } = program;
  const { matrices, rows, columns } = shape;
  const { elements } = columnElements(shape);
  const tiles = Math.ceil(elements / kernel.width);
  const rowBytes = columns * FLOAT_BYTES;
  const isWhole = x.bytes <= limits.maxStorageBufferBindingSize;
  const most = isWhole ? Infinity : bindable(program, chunkRows * rowBytes, matrices * chunks, "a chunk of rows");
  const rowOf = (chunk: number) => Math.floor(chunk / chunks) * rows + Math.min((chunk % chunks) * chunkRows, rows);
  return spansOf(matrices * chunks, most).map(({ first, count }) => {
    const [firstRow, endRow] = [rowOf(first), rowOf(first + count)];
    return {
      groups: count * tiles,
      params: { rows, columns: elements, tiles, chunks, chunkRows, firstChunk: first },
      slice: isWhole ? undefined : sliceBytes(limits, firstRow * rowBytes, endRow * rowBytes),
      firstRow,
      rows: endRow - firstRow,
      sums: count * columns,
    };
  });
}
