/** Lays the exchange memory of a workgroup out so that its lanes do not wait for each other's banks. */
import { BANKS, exchangeIndex, exchanges, laneOf, spread, type StockhamShape, workgroupLanes } from "../../../shaders/fft/stockham.ts";
import { range } from "../../../shaders/wgsl/wgsl.ts";

/** Shifts that are tried: by the radices 8, 16, and twice that. */
const SHIFTS = [3, 4, 5] as const;
/** A layout other than the plain one costs operations for each access: it has to save this share of the waiting. */
const GAIN = 0.8;
/** Lanes that GPUs run in step. */
const WARP = 32;
/** Warps to look at: those after them do much the same. */
const WARPS = 4;

/** The shift that takes the fewest cycles; 0 for the plain layout. */
export function chooseBankShift(shape: Omit<StockhamShape, "bankShift">): number {
  const [plain, ...others] = countCycles(shape, [0, ...SHIFTS]);
  let best = { bankShift: 0, cycles: GAIN * plain! };
  for (const [i, cycles] of others.entries()) if (cycles < best.cycles) best = { bankShift: SHIFTS[i]!, cycles };
  return best.bankShift;
}

/** Cycles that the first warps take for the stores and loads of all exchanges: one a warp where no two lanes want different words of a bank. */
export function exchangeCycles(shape: StockhamShape): number {
  return countCycles(shape, [shape.bankShift])[0]!;
}

/** {@link exchangeCycles} with each of the shifts. */
function countCycles(shape: Omit<StockhamShape, "bankShift">, shifts: readonly number[]): number[] {
  // A pair of words counts in both halves of the banks, so that half as many lanes go at a time.
  const words = shape.exchange === "split" ? 1 : 2;
  const cycles = shifts.map(() => 0);
  const perBank = new Uint8Array(BANKS / words);
  for (const elements of simultaneous({ ...shape, bankShift: 0 }, WARP / words)) {
    for (const [s, shift] of shifts.entries()) cycles[s]! += conflicts(elements, shift, perBank);
  }
  return cycles;
}

/** The elements of the plain layout that lanes of a warp want at a time, in all exchanges. */
function* simultaneous(shape: StockhamShape, atATime: number): Generator<readonly number[]> {
  const lanes = range(Math.min(workgroupLanes(shape), WARP * WARPS)).map((lane) => laneOf(shape, lane));
  for (const { radix, butterflies, point } of exchanges(shape)) {
    for (let first = 0; first < lanes.length; first += WARP) {
      const active = lanes.slice(first, first + WARP).filter(({ thread }) => thread < butterflies);
      for (let r = 0; r < radix; r++) {
        const elements = active.map(({ thread, slot }) => exchangeIndex(shape, point(thread, r), slot));
        for (let from = 0; from < elements.length; from += atATime) yield elements.slice(from, from + atATime);
      }
    }
  }
}

/** The most elements, of different lanes and so different from each other, that lie in one bank. */
function conflicts(elements: readonly number[], bankShift: number, perBank: Uint8Array): number {
  perBank.fill(0);
  let most = 0;
  for (const element of elements) most = Math.max(most, ++perBank[spread(element, bankShift) % perBank.length]!);
  return most;
}
