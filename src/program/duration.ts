/** How long a dispatch takes at most, and into how many dispatches its work is cut so that none is taken for a hang. */
import { FastRpbError } from "../core/errors.ts";
import type { Speed } from "../core/limits.ts";

/** Windows resets a GPU after 2 s, Android after less, and a page that draws wants it back: no dispatch is planned to take longer. */
export const MOST_DISPATCH_SECONDS = 0.25;

/** The work of a dispatch, or of a share of one. */
export interface DispatchWork {
  readonly flops: number;
  readonly bytes: number;
  /** Number of workgroups. */
  readonly groups: number;
}

/**
 * Seconds that work takes on a device of this speed: by arithmetic or by traffic, whichever takes longer. A few workgroups have only a share of the
 * device each.
 */
export function estimatedSeconds({ flops, bytes, groups }: DispatchWork, speed: Speed): number {
  const share = Math.min(1, groups * speed.workgroupShare);
  return Math.max(flops / speed.flopsPerSecond, bytes / speed.bytesPerSecond) / share;
}

/**
 * How many dispatches the work of a kernel is cut into.
 *
 * @param caller the public function that errors name
 * @param label of the kernel
 * @throws FastRpbError code `"limit"` where a single workgroup takes longer than {@link MOST_DISPATCH_SECONDS}
 */
export function dispatchesFor(caller: string, label: string, work: DispatchWork, speed: Speed): number {
  const { groups } = work;
  const ofGroups = (count: number) =>
    estimatedSeconds({ flops: (work.flops / groups) * count, bytes: (work.bytes / groups) * count, groups: count }, speed);
  if (ofGroups(groups) <= MOST_DISPATCH_SECONDS) return 1;
  if (ofGroups(1) > MOST_DISPATCH_SECONDS) {
    throw new FastRpbError(
      "limit",
      `${caller}: one workgroup of "${label}" takes about ${ofGroups(1).toFixed(2)} s, but a dispatch of more than ${MOST_DISPATCH_SECONDS} s may be stopped by the operating system. Use a shorter length.`,
    );
  }
  for (let most = groups; ; most = Math.floor(most * LESS)) if (ofGroups(most) <= MOST_DISPATCH_SECONDS) return Math.ceil(groups / most);
}

/** Steps in which the size of a dispatch is sought; work grows with the workgroups, but for a handful of them. */
const LESS = 0.9;

/** Work that most data does not make is cut into this many dispatches at most: each takes some microseconds, though it does nothing. */
const MOST_DISPATCHES = 256;

/** How many dispatches work is cut into that takes so many operations for some data, on a device that all its workgroups fill. */
export function dispatchesForMost(flops: number, groups: number, speed: Speed): number {
  return Math.max(1, Math.min(groups, MOST_DISPATCHES, Math.ceil(flops / (speed.flopsPerSecond * MOST_DISPATCH_SECONDS))));
}
