/** Lays the exchange memory of a workgroup out so that its lanes do not wait for each other's banks. */
import { BANKS, exchangeIndex, exchanges, laneOf, type StockhamShape, workgroupLanes } from "../../../shaders/fft/stockham.ts";

/** Shifts that are tried: by the radices 8, 16, and twice that. */
const SHIFTS = [3, 4, 5] as const;
/** A layout other than the plain one costs operations for each access: it has to save this share of the waiting. */
const GAIN = 0.8;
/** Lanes that GPUs run in step. */
const WARP = 32;
/** Warps to look at: those after them do much the same. */
const WARPS = 4;

/** What was found for shapes before: counting takes longer than all else in planning, and few shapes serve many plans. */
const known = new Map<string, number>();
/** Beyond it all are forgotten: no page has so many shapes, but a test may. */
const MOST_KNOWN = 4096;

/** The shift that takes the fewest cycles; 0 for the plain layout. */
export function chooseBankShift(shape: Omit<StockhamShape, "bankShift">): number {
  const { axes, threads, columns, lanes, exchange } = shape;
  const key = `${axes.join("/")} ${threads} ${columns} ${lanes} ${exchange}`;
  const before = known.get(key);
  if (before !== undefined) return before;
  if (known.size >= MOST_KNOWN) known.clear();
  const found = fewestCycles(shape);
  known.set(key, found);
  return found;
}

function fewestCycles(shape: Omit<StockhamShape, "bankShift">): number {
  const cycles = (bankShift: number) => exchangeCycles({ ...shape, bankShift });
  let best = { bankShift: 0, cycles: GAIN * cycles(0) };
  for (const bankShift of SHIFTS) {
    const candidate = { bankShift, cycles: cycles(bankShift) };
    if (candidate.cycles < best.cycles) best = candidate;
  }
  return best.bankShift;
}

/** Cycles that the first warps take for the stores and loads of all exchanges: one a warp where no two lanes want different words of a bank. */
export function exchangeCycles(shape: StockhamShape): number {
  const lanes = Math.min(workgroupLanes(shape), WARP * WARPS);
  let cycles = 0;
  for (const { stores, loads } of exchanges(shape)) {
    for (const points of [stores, loads]) {
      for (let first = 0; first < lanes; first += WARP) {
        const accesses = Array.from({ length: Math.min(WARP, lanes - first) }, (_, i) => {
          const { slot, thread } = laneOf(shape, first + i);
          return points(thread)?.map((point) => exchangeIndex(shape, point, slot)) ?? [];
        });
        const count = Math.max(...accesses.map((places) => places.length));
        for (let r = 0; r < count; r++)
          cycles += conflicts(
            accesses.flatMap((places) => places[r] ?? []),
            shape.exchange === "split" ? 1 : 2,
          );
      }
    }
  }
  return cycles;
}

/** The most elements that lie in one bank; a pair of words counts in both halves, so that half as many go at a time. */
function conflicts(places: readonly number[], words: 1 | 2): number {
  const [atATime, banks] = [WARP / words, BANKS / words];
  let cycles = 0;
  for (let first = 0; first < places.length; first += atATime) {
    const perBank = Array.from({ length: banks }, () => 0);
    for (const place of new Set(places.slice(first, first + atATime))) perBank[place % banks]!++;
    cycles += Math.max(...perBank);
  }
  return cycles;
}
