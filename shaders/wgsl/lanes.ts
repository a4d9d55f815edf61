/** Brings together through workgroup memory what the lanes of a workgroup have found. */
import type { WorkgroupVariable } from "./kernel.ts";

/** The workgroup variable of {@link joinLanes}: a number for each lane. */
export function partials(element: WorkgroupVariable["element"], lanes: number): WorkgroupVariable {
  return { name: "partials", element, count: lanes };
}

/**
 * Statements that leave in `partials[0]` what all lanes have put into their `partials[lane]`, joined by halves: the number of lanes is a power of
 * two. They hold barriers.
 *
 * @param join makes the WGSL statement that joins another number to a lane's own
 */
export function joinLanes(join: (own: string, other: string) => string): string {
  return `  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) { ${join("partials[lane]", "partials[lane + half]")} }
    workgroupBarrier();
  }`;
}

/** {@link joinLanes} for a sum. */
export const SUM_LANES = joinLanes((own, other) => `${own} += ${other};`);
/** {@link joinLanes} for a maximum. */
export const LARGEST_OF_LANES = joinLanes((own, other) => `${own} = max(${own}, ${other});`);
