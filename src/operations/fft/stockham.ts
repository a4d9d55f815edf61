/** Chooses how a workgroup does an FFT: radices, threads, columns. */
import type { Radix } from "../../../shaders/fft/butterfly.ts";
import { exchangeBytes, registerCount, type StockhamShape } from "../../../shaders/fft/stockham.ts";
import { elementCount } from "../../core/check.ts";
import { type Choices, DEFAULT_CHOICES } from "../../core/choices.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import { CODELET_PRIMES, isSmooth, nextSmooth } from "../../math/smooth.ts";
import { chooseBankShift } from "./banks.ts";
import { ceilPowerOfTwo, floorPowerOfTwo, mostLanes } from "../../program/workgroups.ts";

/** Where threads are few, more registers per thread than chosen are better than another pass over memory, up to here. */
const MOST_REGISTERS = 26;
/** Exchanging re and im together halves the barriers; worth it while occupancy is not limited by workgroup memory. */
const WHOLE_EXCHANGE_BYTES = 8192;
/** Sectors of a memory line. */
const LINE_SECTORS = 4;

/** Whether there are butterflies for every prime factor. */
export function hasRadices(length: number): boolean {
  return isSmooth(length, CODELET_PRIMES);
}

/**
 * Radices of a length that has them, largest first. Powers of two go into as few stages as the largest radix allows, evenly. Where a
 * radix occurs twice it stands first and last: then a spectrum's product leaves every value where the inverse transform starts.
 */
export function chooseRadices(length: number, maxRadix: 4 | 8 | 16 = 16): Radix[] {
  if (length === 1) return [1];
  const radices: Radix[] = [];
  let rest = length;
  for (const prime of [13, 11, 7, 5, 3] as const) {
    for (; rest % prime === 0; rest /= prime) radices.push(prime);
  }
  let bits = Math.log2(rest);
  for (let stages = Math.ceil(bits / Math.log2(maxRadix)); stages > 0; stages--) {
    const take = Math.ceil(bits / stages);
    radices.push((2 ** take) as Radix);
    bits -= take;
  }
  radices.sort((a, b) => b - a);
  const twin = radices.find((radix, i) => radices[i + 1] === radix);
  if (twin === undefined) return radices;
  const middle = [...radices];
  middle.splice(middle.indexOf(twin), 2);
  return [twin, ...middle, twin];
}

/** Transforms that workgroups are to hold, several columns in each. */
export interface ShapeRequest {
  /** Lengths of the axes, the slowest first; all with codelets. */
  readonly lengths: readonly number[];
  /** How many transforms there are in all, so that short work gets no idle lanes. */
  readonly columns: number;
  readonly lanes: StockhamShape["lanes"];
  /** Whether points also change places with their mirror images. Default `false`. */
  readonly mirrors?: boolean;
  /** Whether neighbouring columns are to fill a 128-byte line, not a sector: points lie far apart. Default `false`. */
  readonly wide?: boolean;
  /** Whether twiddles may be fused with butterflies: fewer operations, of which more round. Default `false`. */
  readonly fused?: boolean;
}

/**
 * The shape of one workgroup's FFT, or `undefined` where it does not fit into one workgroup of this device, which does not depend on the
 * choices.
 */
export function chooseShape(request: ShapeRequest, limits: PlannerLimits): StockhamShape | undefined {
  const shape = shapeFor(request, limits, limits.choices) ?? shapeFor(request, limits, DEFAULT_CHOICES);
  if (!shape || exchangeBytes(shape, request.mirrors) === 0) return shape;
  const spread = Object.freeze({ ...shape, bankShift: chooseBankShift(shape) });
  return exchangeBytes(spread, request.mirrors) <= limits.maxComputeWorkgroupStorageSize ? spread : shape; // filled up to whole rows of banks
}

function shapeFor(request: ShapeRequest, limits: PlannerLimits, choices: Choices): StockhamShape | undefined {
  const { lengths, lanes, mirrors = false, wide = false, fused = false } = request;
  const length = elementCount(lengths);
  const long = lengths.filter((size) => size > 1);
  const axes = Object.freeze((long.length > 0 ? long : [1]).map((size) => Object.freeze(chooseRadices(size, choices.maxRadix))));
  const available = mostLanes(limits);
  // A thread holds a butterfly at least: beyond one for each, threads would only idle.
  const mostThreads = Math.min(available, length / Math.min(...axes.flat()));
  let threads = Math.min(mostThreads, Math.ceil(length / choices.registers)); // fewer would hold more each
  while (threads < mostThreads && registerCount({ length, axes, threads }) > choices.registers) threads++;
  if (registerCount({ length, axes, threads }) > Math.max(MOST_REGISTERS, choices.registers)) return undefined;

  const memory = limits.maxComputeWorkgroupStorageSize - (limits.maxComputeWorkgroupStorageSize % 16); // sizes are rounded up to 16
  const column: StockhamShape = { length, axes, threads, columns: 1, lanes, exchange: "split", bankShift: 0, fused: fused && fusible(axes) };
  const columnBytes = exchangeBytes(column, mirrors);
  const fitting = columnBytes > 0 ? Math.floor(memory / columnBytes) : Infinity;
  if (fitting < 1) return undefined;

  const wanted = lanes === "columns" ? Math.max(choices.lanes / threads, choices.columns * (wide ? LINE_SECTORS : 1)) : choices.lanes / threads;
  const columns = floorPowerOfTwo(Math.max(1, Math.min(wanted, fitting, available / threads, ceilPowerOfTwo(request.columns))));
  const whole: StockhamShape = Object.freeze({ ...column, columns, exchange: "whole" });
  const mostWhole = choices.exchange === "auto" ? Math.min(WHOLE_EXCHANGE_BYTES, memory) : choices.exchange === "whole" ? memory : 0;
  return exchangeBytes(whole, mirrors) <= mostWhole ? whole : Object.freeze({ ...whole, exchange: "split" });
}

/** Whether there are twiddles, and all radices are powers of two. */
function fusible(axes: StockhamShape["axes"]): boolean {
  return axes.some((radices) => radices.length > 1) && axes.flat().every((radix) => Number.isInteger(Math.log2(radix)));
}

/** Whether a transform over axes of these lengths has codelets and fits into one workgroup. */
export function fits(limits: PlannerLimits, ...lengths: readonly number[]): boolean {
  return lengths.every(hasRadices) && shapeFor({ lengths, columns: 1, lanes: "columns" }, limits, DEFAULT_CHOICES) !== undefined;
}

/** How much longer than asked for a convolution may be, if that makes it cheaper: in one workgroup, and where every point is traffic. */
const MOST_PADDING = { inside: 1.25, beyond: 1.02 } as const;
/** Beyond it the workspace holds few columns at a time, each group reads the spectrum again, and padding costs most. */
const LONGEST_PADDED = 2 ** 20;
/** What a stage costs, beside one of a power of two: odd butterflies take more operations, and round more often. */
const ODD_STAGES: Readonly<Partial<Record<Radix, number>>> = { 3: 1.1, 5: 1.4, 7: 1.8 };
/** What loads, stores and the product with the spectrum cost, in stages. */
const FIXED_STAGES = 2;

/**
 * The 7-smooth lengths ≥ `points` at which a convolution over these axes is cheapest by estimate, points times stages; in one workgroup
 * if that is possible at all. Does not depend on the choices, so that a spectrum fits every plan.
 */
export function convolutionLengths(points: readonly number[], limits: PlannerLimits): readonly number[] {
  const shortest = points.map(nextSmooth);
  if (!fits(limits, ...shortest)) return shortest.map((length, i) => cheapestLength(points[i]!, length, MOST_PADDING.beyond, limits));
  const cheapest = shortest.map((length, i) => cheapestLength(points[i]!, length, MOST_PADDING.inside, limits));
  return fits(limits, ...cheapest) ? cheapest : shortest;
}

/** The length ≥ `points` at which a convolution over one axis is cheapest: {@link convolutionLengths}. */
export function convolutionLength(points: number, limits: PlannerLimits): number {
  return convolutionLengths([points], limits)[0]!;
}

function cheapestLength(points: number, shortest: number, padding: number, limits: PlannerLimits): number {
  if (points > LONGEST_PADDED) return shortest;
  const fitting = fits(limits, shortest);
  let best = { length: shortest, cost: Infinity };
  for (const length of smoothLengths(points, points * padding)) {
    if (fitting && !fits(limits, length)) continue;
    const cost = length * chooseRadices(length).reduce<number>((stages, radix) => stages + (ODD_STAGES[radix] ?? 1), FIXED_STAGES);
    if (cost < best.cost) best = { length, cost };
  }
  return best.length;
}

/** For each odd part of a 7-smooth length the shortest one from `low` on, as far as `high`, in no order. */
function* smoothLengths(low: number, high: number): Generator<number> {
  for (let seven = 1; seven <= high; seven *= 7) {
    for (let five = seven; five <= high; five *= 5) {
      for (let odd = five; odd <= high; odd *= 3) {
        let length = odd;
        while (length < low) length *= 2;
        if (length <= high) yield length;
      }
    }
  }
}
