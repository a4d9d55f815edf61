/** What one run computes. The page and its worker make the same inputs from it, so only tokens travel between them. */
import type { CurveName } from "./bias.ts";
import type { Source } from "./data.ts";

/** Dimension of the queries, keys and values of a head. */
export const HEAD_DIM = 32;

export interface Recipe {
  readonly source: Source;
  /** Number of the first digit; only digits use it. */
  readonly digit: number;
  readonly curve: CurveName;
  readonly heads: number;
  readonly length: number;
}

export const HEAD_COUNTS = [1, 4, 8] as const;

const SHORTEST = 256;
const LONGEST = 1048576;
/** The page and its worker hold about ten tensors of a run, most of them in main memory, so it stops here even where the GPU has room. */
const LARGEST_TENSOR = 2 ** 28;

/** Lengths of the slider: powers of two, and one whole digit, as long as a tensor of `heads · length · 32` floats fits. */
export function lengthsFor(source: Source, heads: number, deviceBytes: number): number[] {
  const lengths = [];
  const longestTensorBytes = Math.min(deviceBytes, LARGEST_TENSOR);
  for (let length = SHORTEST; length <= LONGEST; length *= 2) {
    if (heads * length * HEAD_DIM * Float32Array.BYTES_PER_ELEMENT > longestTensorBytes && length > SHORTEST) break;
    if (source === "digits" && length === 1024) lengths.push(784);
    lengths.push(length);
  }
  return lengths;
}
