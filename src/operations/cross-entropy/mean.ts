/** The mean of what workgroups have summed: the last step of each loss. */
import { meanOfSumsKernel } from "../../../shaders/nn/mean-of-sums.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import type { Handle, NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { largestScratch } from "../../program/ranges.ts";
import { FLOAT_BYTES, WORD_BYTES } from "../../program/units.ts";
import { floorPowerOfTwo, mostLanes } from "../../program/workgroups.ts";

/** Bytes of what a workgroup has summed: a number, and two counts. */
export const SUM_BYTES = 3 * WORD_BYTES;
/** One workgroup adds up all of them. */
const MOST_SUMS = 2 ** 14;

/** How many workgroups may sum, so that with one more for each of so many pieces of the work there is scratch for all, and for two counts. */
export function mostSums(limits: PlannerLimits, scratch: number, pieces: number): number {
  return Math.max(1, Math.min(MOST_SUMS, Math.floor(largestScratch(limits, scratch) / SUM_BYTES) - 1) - pieces);
}

/** Lanes that add up numbers by halves, of so many bytes each in workgroup memory and some to spare. */
export function summingLanes(limits: PlannerLimits, most: number): number {
  return floorPowerOfTwo(Math.min(most, mostLanes(limits), limits.maxComputeWorkgroupStorageSize / (2 * FLOAT_BYTES)));
}

/** Adds the mean of the sums of so many workgroups. */
export function addMean(program: ProgramBuilder, sums: Handle, count: number, { loss, counts }: NamedHandles<"loss" | "counts">): void {
  program.dispatch({
    kernel: meanOfSumsKernel({ lanes: summingLanes(program.limits, 256) }),
    groups: 1,
    params: { sums: count },
    uses: {
      sums: { buffer: sums, reads: count * SUM_BYTES },
      loss: { buffer: loss, writes: FLOAT_BYTES },
      counts: { buffer: counts, writes: 2 * WORD_BYTES },
    },
    flops: 3 * count,
  });
}
