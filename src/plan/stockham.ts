/** Chooses how a workgroup does an FFT: radices, threads, columns. */
import type { Radix } from "../../shaders/butterfly.ts";
import { exchangeBytes, registerCount, type StockhamShape } from "../../shaders/stockham.ts";
import type { PlannerLimits } from "../spec/limits.ts";
import { ceilPowerOfTwo, floorPowerOfTwo } from "./workgroups.ts";

/** Complex values per thread that modern GPUs keep in registers beside the temporaries of a radix-16 butterfly. */
const PREFERRED_REGISTERS = 16;
/** Where threads are few, more registers per thread are better than another pass over memory, up to here. */
const MOST_REGISTERS = 24;
/** Enough lanes to hide latency, few enough for several workgroups per core. */
const PREFERRED_LANES = 128;
/** Neighbouring complex columns that fill a 32-byte memory sector. */
const SECTOR_COLUMNS = 4;
/** Exchanging re and im together halves the barriers; worth it while occupancy is not limited by workgroup memory. */
const WHOLE_EXCHANGE_BYTES = 8192;

/**
 * Radices of a 7-smooth length, largest first. Powers of two go into as few stages as radix 16 allows, evenly. Where a radix occurs
 * twice it stands first and last: then a spectrum's product leaves every value where the inverse transform starts.
 */
export function chooseRadices(length: number): Radix[] {
  if (length === 1) return [1];
  const radices: Radix[] = [];
  let rest = length;
  for (const prime of [7, 5, 3] as const) {
    for (; rest % prime === 0; rest /= prime) radices.push(prime);
  }
  let bits = Math.log2(rest);
  for (let stages = Math.ceil(bits / 4); stages > 0; stages--) {
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

/** The shape of one workgroup's FFT, or `undefined` where the length does not fit into one workgroup of this device. */
export function chooseShape(length: number, totalColumns: number, lanes: StockhamShape["lanes"], limits: PlannerLimits): StockhamShape | undefined {
  const radices = chooseRadices(length);
  const mostLanes = Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
  let threads = 1;
  while (threads < mostLanes && registerCount({ length, radices, threads }) > PREFERRED_REGISTERS) threads++;
  if (registerCount({ length, radices, threads }) > MOST_REGISTERS) return undefined;

  const exchanges = radices.length > 1;
  const memory = limits.maxComputeWorkgroupStorageSize - (limits.maxComputeWorkgroupStorageSize % 16); // sizes are rounded up to 16
  const fitting = exchanges ? Math.floor(memory / (4 * length)) : Infinity;
  if (fitting < 1) return undefined;
  const wanted = lanes === "columns" ? Math.max(PREFERRED_LANES / threads, SECTOR_COLUMNS) : PREFERRED_LANES / threads;
  const columns = floorPowerOfTwo(Math.max(1, Math.min(wanted, fitting, mostLanes / threads, ceilPowerOfTwo(totalColumns))));
  const whole: StockhamShape = Object.freeze({ length, radices: Object.freeze(radices), threads, columns, lanes, exchange: "whole" });
  const wholeFits = exchangeBytes(whole) <= Math.min(WHOLE_EXCHANGE_BYTES, memory);
  return wholeFits ? whole : Object.freeze({ ...whole, exchange: "split" });
}

/** N = a·b with both transforms inside a workgroup, as even as possible, a ≥ b; `undefined` where there is no such pair. */
export function chooseSplit(length: number, limits: PlannerLimits): { readonly a: number; readonly b: number } | undefined {
  for (let b = Math.floor(Math.sqrt(length)); b >= 2; b--) {
    if (length % b !== 0) continue;
    const a = length / b;
    // A shorter length may have the wider radices: that one does not fit says nothing of the next.
    if (fits(a, limits) && fits(b, limits)) return { a, b };
  }
  return undefined;
}

/** Whether a transform of this length fits into one workgroup. */
export function fits(length: number, limits: PlannerLimits): boolean {
  return chooseShape(length, 1, "columns", limits) !== undefined;
}

/** The usual count of real operations, 5 n log₂ n. */
export function fftFlops(length: number): number {
  return 5 * length * Math.log2(length);
}
