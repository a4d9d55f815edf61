import type { Fft } from "./fft.ts";
import { float64Array } from "./memory.ts";
import type { AxisLayout } from "../core/axes.ts";

/** Lines at a time, so that each line of the cache that is read is used as a whole. */
const BLOCK = 8;

/** Transforms complex `data: [outer, length, inner]` along its middle axis, in place; unscaled. */
export type LineTransform = (data: Float64Array, direction: "forward" | "inverse") => void;

export function createLineTransform({ outer, length, inner }: AxisLayout, fft: Fft): LineTransform {
  const lines = Array.from({ length: inner === 1 ? 0 : Math.min(BLOCK, inner) }, () => float64Array("cpu fft", 2 * length));
  return (data, direction) => {
    if (length === 1) return;
    for (let block = 0; block < outer; block++) {
      const start = 2 * block * length * inner;
      if (inner === 1) fft.transform(data.subarray(start, start + 2 * length), direction);
      else {
        for (let column = 0; column < inner; column += BLOCK) {
          const count = Math.min(BLOCK, inner - column);
          copyLines(lines, count, data, start + 2 * column, 2 * inner, false);
          for (let line = 0; line < count; line++) fft.transform(lines[line]!, direction);
          copyLines(lines, count, data, start + 2 * column, 2 * inner, true);
        }
      }
    }
  };
}

/** Between lines and neighbouring columns of `data`, whose rows are `pitch` floats apart. */
function copyLines(lines: readonly Float64Array[], count: number, data: Float64Array, start: number, pitch: number, back: boolean): void {
  const floats = lines[0]!.length;
  for (let at = 0, row = start; at < floats; at += 2, row += pitch) {
    for (let line = 0; line < count; line++) {
      const column = lines[line]!;
      const place = row + 2 * line;
      if (back) {
        data[place] = column[at]!;
        data[place + 1] = column[at + 1]!;
      } else {
        column[at] = data[place]!;
        column[at + 1] = data[place + 1]!;
      }
    }
  }
}
