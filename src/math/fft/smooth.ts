import { elementCount } from "../../core/check.ts";
import { CODELET_PRIMES, isSmooth } from "../smooth.ts";
import { float64Array } from "../memory.ts";
import { writeRoot } from "../roots.ts";
import { sharedCodelets } from "./passes.ts";
import { type Order, type Pass, type Place, TILE } from "./tile.ts";

/** An unscaled transform in place. `part` is the place of the real part in each pair of floats: 0, or 1 for the inverse. */
export type InPlace = (data: Float64Array, part: number) => void;

/** A scaled transform from float32 to float32, rounded once; `to` may be `from`. */
export type Rounding = (from: Float32Array, to: Float32Array, part: number, scale: number) => void;

export interface SmoothFft {
  readonly inPlace: InPlace;
  /** Not for every length. */
  readonly rounding: Rounding | undefined;
}

/** The longest transform in one tile: one of 8192 points takes longer than its two steps. */
const LONGEST_TILE = 4096;

/** The longest transforms of tiles with several columns. */
const LONGEST_STEP = 1024;

/** Columns of a tile, the best ones first: lines of the cache, which come in pairs, hold eight complex numbers of float32 each. */
const WIDTHS = [16, 8, 7, 6, 5, 4, 3, 2, 13, 11, 1] as const;

/** The transforms of a tile. */
interface Transform extends Order {
  readonly passes: readonly Pass[];
  /** Whether the first and the last pass are of radix 4, and there are codelets that load and store the tile as well. */
  readonly fused: boolean;
}

/** Whether there are codelets for all prime factors of `length`. */
export function hasCodelets(length: number): boolean {
  return isSmooth(length, CODELET_PRIMES);
}

/** For lengths that have codelets. */
export function createSmooth(length: number): SmoothFft {
  return length <= LONGEST_TILE ? createTile(length) : createSteps(length);
}

function createTile(length: number): SmoothFft {
  const { load, store, firstFour, lastFour, lastFourMirrored } = sharedCodelets();
  const transform = createTransform(length, true);
  const { fused, passes } = transform;
  const last = passes.at(-1);
  const place = { start: 0, group: 1, rowPitch: 1, columnPitch: 0 };
  return {
    inPlace(data, part) {
      load(data, 0, 1, transform, 1, part);
      runPasses(transform, 0, fused ? 1 : 0, 1);
      if (fused) lastFour(last!, 1, data, place, part);
      else store(length, 1, data, place, part);
    },
    rounding: fused
      ? (from, to, part, scale) => {
          firstFour(from, 0, 1, transform, 1, part);
          runPasses(transform, 1, 1, 1);
          lastFourMirrored(last!, to, part, scale);
        }
      : undefined,
  };
}

/**
 * A long transform in steps, so that its passes stay within the cache (Bailey 1990). A step is like a pass of a large radix n: for p < span it takes
 * n numbers a_j of each block and gives Σ_j w_pj a_j exp(−2πi jk / n), w_pj = exp(−2πi pj / (n · span)), to be number p + span · k of the block.
 * A tile holds some neighbouring p; between the steps, what makes up a tile lies together.
 */
function createSteps(length: number): SmoothFft {
  const { load, loadTurned, store, firstFour, firstFourTurned, lastFour, lastFourScaled } = sharedCodelets();
  const sizes = splitLength(length);
  const [first, ...rest] = sizes.map((size) => createTransform(size, false)) as [Transform, ...Transform[]];
  const last = rest.at(-1)!;
  // A tile is written in groups of its width, by codelets whose span it has to divide.
  const width = WIDTHS.find((columns) => (first.rows / (first.fused ? 4 : 1)) % columns === 0 && columns * Math.max(...sizes) <= TILE)!;
  let reached = first.rows;
  const steps = rest.map((transform, index) => {
    const span = reached;
    reached *= transform.rows;
    return { transform, span, next: rest[index + 1]?.rows ?? 0, turns: stepTurns(transform, span, width) };
  });
  const works = Array.from({ length: Math.min(2, steps.length) }, () => float64Array("fft", 2 * length));
  // Digits of a place between the first and the last: the columns of the first step are neighbours in the last digit, which is its first where they go to.
  const middle = placeOrder(sizes.slice(1, -1));
  const firstWidth = Math.min(WIDTHS[0], Math.floor(TILE / first.rows));

  const storeDoubles = (transform: Transform, columns: number, to: Float64Array, place: Place, part: number) => {
    if (transform.fused) lastFour(transform.passes.at(-1)!, columns, to, place, part);
    else store(transform.rows, columns, to, place, part);
  };

  const runFirst = (from: Float64Array | Float32Array, part: number) => {
    const { rows, fused } = first;
    const next = rest[0]!.rows;
    const pitch = length / rows;
    const columnPitch = middle.length === 1 ? width : middle.length * rows;
    for (let group = 0; group < middle.length; group++) {
      for (let column = 0; column < last.rows; column += firstWidth) {
        const columns = Math.min(firstWidth, last.rows - column);
        const source = middle[group]! * last.rows + column;
        if (from instanceof Float64Array) load(from, source, pitch, first, columns, part);
        else firstFour(from, source, pitch, first, columns, part);
        runPasses(first, from instanceof Float64Array ? 0 : 1, fused ? 1 : 0, columns);
        const block = group + middle.length * column;
        const start = (block - (block % next)) * rows + (block % next) * width;
        storeDoubles(first, columns, works[0]!, { start, group: width, rowPitch: next, columnPitch }, 0);
      }
    }
  };

  const run = (from: Float64Array | Float32Array, to: Float64Array | Float32Array, part: number, scale: number) => {
    runFirst(from, part);
    for (let index = 0; index < steps.length; index++) {
      const { transform, span, next, turns } = steps[index]!;
      const { rows, passes, fused } = transform;
      const work = works[index % 2]!;
      for (let block = 0; block < length / (rows * span); block++) {
        for (let column = 0; column < span; column += width) {
          const source = (block * span + column) * rows;
          if (fused) firstFourTurned(work, source, width, transform, width, turns, column * rows);
          else loadTurned(work, source, width, transform, width, turns, column * rows);
          runPasses(transform, fused ? 1 : 0, fused ? 1 : 0, width);
          if (transform === last) {
            const place = { start: column, group: 1, rowPitch: span, columnPitch: 1 };
            if (to instanceof Float64Array) storeDoubles(last, width, to, place, part);
            else lastFourScaled(passes.at(-1)!, width, to, place, part, scale);
          } else {
            const start = (block - (block % next)) * rows * span + column * next + (block % next) * width;
            storeDoubles(transform, width, works[(index + 1) % 2]!, { start, group: 1, rowPitch: span * next, columnPitch: 1 }, 0);
          }
        }
      }
    }
  };
  return {
    inPlace: (data, part) => run(data, data, part, 1),
    rounding: first.fused && last.fused ? run : undefined,
  };
}

/** But for some at either end, which are done by what loads and stores the tile. */
function runPasses({ rows, passes }: Transform, skipFirst: number, skipLast: number, columns: number): void {
  const { runPass } = sharedCodelets();
  for (let index = skipFirst; index < passes.length - skipLast; index++) {
    const pass = passes[index]!;
    runPass(pass, rows / (pass.radix * pass.span), columns);
  }
}

/** @param single whether it has a tile of its own, or is one of several columns */
function createTransform(rows: number, single: boolean): Transform {
  const radices = orderRadices(chooseRadices(rows));
  let reached = 1;
  const passes = radices.map((radix) => {
    const pass = { radix, span: reached, twiddles: passTwiddles(radix, reached) };
    reached *= radix;
    return pass;
  });
  const fused = rows % 16 === 0;
  const group = fused ? 4 : 1;
  const places = placeOrder(fused ? radices.slice(1) : radices);
  // Of a tile of its own, neighbours are as many rows as its last two radices say. Of columns, row after row is read.
  const fan = single ? (radices.at(-1) ?? 1) : 1;
  const spread = single && radices.length > 2 ? radices.at(-2)! : 1;
  const blocks = Int32Array.from({ length: places.length / (fan * spread) }, (_, block) => block);
  if (!single) blocks.sort((a, b) => places[a]! - places[b]!);
  return { rows, passes, fused, fan, spread, group, sources: blocks.map((block) => places[block]!), slots: blocks.map((block) => group * block) };
}

/** Steps of about the same size. */
function splitLength(length: number, count = Math.ceil(Math.log2(length) / Math.log2(LONGEST_STEP))): number[] {
  const steps = Array.from({ length: count }, () => 1);
  for (const radix of chooseRadices(length).sort((a, b) => b - a)) steps[steps.indexOf(Math.min(...steps))]! *= radix;
  return Math.max(...steps) <= LONGEST_STEP ? steps : splitLength(length, count + 1);
}

function chooseRadices(length: number): number[] {
  const radices: number[] = [];
  for (const radix of [4, 2, 3, 5, 7, 11, 13]) for (; length % radix === 0; length /= radix) radices.push(radix);
  return radices;
}

/** Radices in the order of their passes, with a four at either end where there are two. */
function orderRadices(radices: readonly number[]): number[] {
  const fours = radices.filter((radix) => radix === 4);
  const others = radices.filter((radix) => radix !== 4);
  return [...fours.slice(0, 1), ...others, ...fours.slice(1)];
}

/** Where the number with the digits d_0, d_1, … comes from: Σ d_i / (r_0 … r_i) of the whole. */
function placeOrder(radices: readonly number[]): Int32Array {
  const length = elementCount(radices);
  return Int32Array.from({ length }, (_, index) => {
    let [rest, unit, place] = [index, length, 0];
    for (const radix of radices) {
      unit /= radix;
      place += (rest % radix) * unit;
      rest = Math.floor(rest / radix);
    }
    return place;
  });
}

function passTwiddles(radix: number, span: number): Float64Array {
  const table = float64Array("fft", 2 * (radix - 1) * span);
  let at = 0;
  for (let p = 0; p < span; p++) for (let j = 1; j < radix; j++, at += 2) writeRoot(table, at, p * j, radix * span);
  return table;
}

/** The w_pj of a step in the order in which its tiles want them, interleaved. */
function stepTurns({ rows, group, sources }: Transform, span: number, width: number): Float64Array {
  const table = float64Array("fft", 2 * rows * span);
  let at = 0;
  for (let column = 0; column < span; column += width) {
    for (const source of sources) {
      for (let p = column; p < column + width; p++) {
        for (let j = 0; j < group; j++, at += 2) writeRoot(table, at, p * (source + (rows / group) * j), rows * span);
      }
    }
  }
  return table;
}
