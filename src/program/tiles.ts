import { limitError, type Planner } from "./ranges.ts";
import { mostLanes } from "./workgroups.ts";

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
