import type { PlannerLimits } from "../core/limits.ts";

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
