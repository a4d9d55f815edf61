/** Grids of workgroups, and the lanes and tiles of one. */
import type { PlannerLimits } from "../core/limits.ts";
import { limitError, type Planner } from "./ranges.ts";

/** How many workgroups a grid holds, with at most `limit` per dimension. */
export function gridCapacity(limit: number): number {
  return limit ** 3;
}

/**
 * Folds a number of workgroups over the grid: each dimension holds at most `limit`, and all of it no fewer. The grid may have a few
 * workgroups more than asked for; kernels return at once in those.
 */
export function foldWorkgroups(groups: number, limit: number): readonly [number, number, number] {
  const z = Math.ceil(groups / limit ** 2);
  const y = Math.ceil(groups / z / limit);
  const x = Math.ceil(groups / z / y);
  return Object.freeze([x, y, z] as const);
}

/** The least power of two that is not less than `n`. */
export function ceilPowerOfTwo(n: number): number {
  return 2 ** Math.ceil(Math.log2(n));
}

/** The largest power of two that is not more than `n`. */
export function floorPowerOfTwo(n: number): number {
  return 2 ** Math.floor(Math.log2(n));
}

type LaneLimits = Pick<PlannerLimits, "maxComputeInvocationsPerWorkgroup" | "maxComputeWorkgroupSizeX">;

/** How many lanes a workgroup may have. */
export function mostLanes(limits: LaneLimits): number {
  return Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
}

/** Lanes of a workgroup for kernels that do one element per lane. */
export function elementwiseLanes(limits: LaneLimits): number {
  const PREFERRED = 128;
  return Math.min(PREFERRED, mostLanes(limits));
}

/** Lanes that keep a core of a GPU busy: two warps of most of them. */
const ENOUGH_LANES = 64;

/**
 * The first of the candidates, best first, that a workgroup of this device has the lanes and the memory for: of those with enough lanes, or
 * else of any.
 *
 * @param of lanes and bytes of workgroup memory of a candidate, and what is too large where none fits; `enough`: lanes that make a candidate
 *   better than those before it, 64 when left out
 * @throws FastRpbError code `"limit"` where none fits
 */
export function firstTile<Tile>(
  planner: Planner,
  candidates: readonly Tile[],
  of: { readonly lanes: (tile: Tile) => number; readonly bytes: (tile: Tile) => number; readonly what: string; readonly enough?: number },
): Tile {
  const [lanes, memory] = [mostLanes(planner.limits), planner.limits.maxComputeWorkgroupStorageSize];
  const fitting = candidates.filter((tile) => of.lanes(tile) <= lanes && of.bytes(tile) <= memory);
  const enough = Math.min(of.enough ?? ENOUGH_LANES, lanes);
  const tile = fitting.find((candidate) => of.lanes(candidate) >= enough) ?? fitting[0];
  if (tile !== undefined) return tile;
  throw limitError(planner, "maxComputeWorkgroupStorageSize", Math.min(...candidates.map(of.bytes)), of.what);
}
