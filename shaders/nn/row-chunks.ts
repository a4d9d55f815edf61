/**
 * Sums down the columns of matrices, over chunks of their rows: what kernels share that make such.
 *
 * A matrix has `rows` rows of `columns` elements, vec4f where `vectors`. Workgroup → (chunk, tile of columns), tile fastest; chunks are counted over
 * all matrices, from `firstChunk` on, `chunks` of each, of `chunkRows` rows but for the last. A workgroup's lanes stand as WIDTH neighbouring columns
 * × the rest over rows: each adds up every HEIGHT-th row of its chunk, and the sums of a column meet in workgroup memory, by halves. So the order is
 * always the same.
 */
import type { WorkgroupVariable } from "../wgsl/kernel.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";
import { elementOf, type ElementsSpec } from "./elements.ts";

/** Columns are elements: whole vectors of four, or single numbers. Lanes are a power of two. */
export interface RowChunksSpec extends ElementsSpec {
  /** Lanes side by side along columns, a power of two. */
  readonly width: number;
}

export const ROW_CHUNK_PARAMS = ["rows", "columns", "tiles", "chunks", "chunkRows", "firstChunk"] as const;

/** The constants WIDTH and HEIGHT, and a workgroup variable for each of the sums. */
export function rowChunkDeclarations(spec: RowChunksSpec, sums: readonly string[]): readonly (string | WorkgroupVariable)[] {
  return [
    `const WIDTH = ${u32(spec.width)};\nconst HEIGHT = ${u32(spec.lanes / spec.width)};`,
    ...sums.map((name) => ({ name: `${name}_of_lanes`, element: elementOf(spec), count: spec.lanes })),
  ];
}

/** Statements that say which `column` is the lane's, and of which `matrix` it has the rows from `row` to before `end`. */
export const ROW_CHUNK_START = wgsl`  let chunk = params.firstChunk + group / params.tiles;
  let column = group % params.tiles * WIDTH + lane % WIDTH;
  let matrix = chunk / params.chunks;
  let first = chunk % params.chunks * params.chunkRows;
  var row = first + lane / WIDTH;
  var end = min(first + params.chunkRows, params.rows);`;

/** Statements that leave in `<sum>_of_lanes[lane]` of the first WIDTH lanes the sum of a variable `sum` over all lanes of the column. */
export function joinRows(sums: readonly string[]): string {
  return `${sums.map((sum) => `  ${sum}_of_lanes[lane] = ${sum};`).join("\n")}
  workgroupBarrier();
  for (var half = LANES / 2u; half >= WIDTH; half /= 2u) {
    if (lane < half) {
${sums.map((sum) => `      ${sum}_of_lanes[lane] += ${sum}_of_lanes[lane + half];`).join("\n")}
    }
    workgroupBarrier();
  }`;
}
