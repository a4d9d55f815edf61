import { isSmooth } from "../../spec/smooth.ts";
import { float64Array } from "../memory.ts";
import { writeRoot } from "../roots.ts";
import { ODD_RADICES, type Pass, runPass } from "./passes.ts";

/** An unscaled transform in place. `part` is the place of the real part in each pair of floats: 0, or 1 for the inverse. */
export type InPlace = (data: Float64Array, part: number) => void;

/**
 * Distance of scratch memory from the start of its page, in floats. Legs a power of two apart share the lines of the cache, and those of the
 * data and of the scratch memory would be the same ones.
 */
const OFFSET = 160;

/** Whether there are codelets for all prime factors of `length`. */
export function hasCodelets(length: number): boolean {
  return isSmooth(length, [2, ...ODD_RADICES]);
}

/** Stockham's passes one after the other (Van Loan 1992, section 1.7); for lengths that have codelets. */
export function createStockham(length: number): InPlace {
  const passes = planPasses(length);
  const scratch = float64Array("fft", 2 * length + OFFSET).subarray(OFFSET);
  const last = passes.pop();
  return (data, part) => {
    let [from, to] = [data, scratch];
    for (const pass of passes) {
      runPass(pass, from, to, part);
      [from, to] = [to, from];
    }
    // It writes where it has read. From one array to another its legs would, at some places in memory, contend for the same few lines.
    if (last) runPass(last, from, from, part);
    if (from !== data) data.set(from);
  };
}

function planPasses(length: number): Pass[] {
  let stride = 1;
  return chooseRadices(length).map((radix) => {
    const count = length / stride / radix;
    const pass = { radix, count, stride, twiddles: twiddles(radix, count) };
    stride *= radix;
    return pass;
  });
}

function chooseRadices(length: number): readonly number[] {
  const odd: number[] = [];
  for (const prime of ODD_RADICES) for (; length % prime === 0; length /= prime) odd.push(prime);
  let twos = Math.log2(length);
  const last = twos >= 4 && twos % 3 === 1 ? [16] : [];
  if (last.length > 0) twos -= 4;
  const rest = twos % 3 === 0 ? [] : [2 ** (twos % 3)];
  const eights = Array.from({ length: Math.floor(twos / 3) }, () => 8);
  // The first pass loads the most twiddles, the last has none: the largest radices gain most there.
  return [...eights.slice(0, 1), ...odd, ...rest, ...eights.slice(1), ...last];
}

function twiddles(radix: number, count: number): Float64Array {
  const table = float64Array("fft", 2 * (radix - 1) * count);
  let at = 0;
  for (let p = 0; p < count; p++) for (let k = 1; k < radix; k++, at += 2) writeRoot(table, at, p * k, radix * count);
  return table;
}
