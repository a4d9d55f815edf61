import { float64Array } from "../../math/memory.ts";
import type { CpuMemory } from "../operation.ts";
import { type AttentionTensor, rowCounts, rowStrides, tensorDim } from "./layout.ts";
import type { AttentionShape } from "./spec.ts";

/** A tensor of rows of heads on the CPU, in whatever order it has them. */
export interface HeadTensor {
  /** The first rows of a head of a batch entry. */
  read(slice: number, tokens: number): Float64Array;
  /** Overwrites the rows of a head: those that are not given become zero. */
  write(slice: number, rows: Float64Array): void;
}

export function headTensor(shape: AttentionShape, memoryOf: (name: string) => CpuMemory, of: AttentionTensor): HeadTensor {
  const { layout } = shape;
  const { heads, length } = rowCounts(shape, of);
  const packed = layout === "packed" && /[qkv]$/.test(of);
  const { floats } = memoryOf(packed ? `${of.slice(0, -1)}qkv` : of);
  const dim = tensorDim(shape, of);
  const strides = rowStrides(shape, of, packed);
  // Pieces that lie in one: rows, or the whole head.
  const piece = strides ? dim : length * dim;
  const pieces = (slice: number, each: (place: number, at: number) => void) => {
    const { batch = 0, token = 0, before = 0 } = strides ?? {};
    const start = strides ? Math.floor(slice / heads) * batch + (slice % heads) * dim + before : slice * piece;
    for (let i = 0; i * piece < length * dim; i++) each(start + i * token, i * piece);
  };
  return {
    read(slice, tokens) {
      const rows = float64Array("cpu attention", tokens * dim);
      pieces(slice, (place, at) => {
        if (at < rows.length) rows.set(floats.subarray(place, place + Math.min(piece, rows.length - at)), at);
      });
      return rows;
    },
    write(slice, rows) {
      pieces(slice, (place, at) => {
        const own = rows.subarray(at, at + piece);
        floats.set(own, place);
        floats.fill(0, place + own.length, place + piece);
      });
    },
  };
}
