/** How long a dispatch takes at most, and into how many dispatches its work is cut so that none is taken for a hang. */
import { FastRpbError } from "../core/errors.ts";
import type { Speed } from "../core/limits.ts";

/** Windows resets a GPU after 2 s, Android after less, and a page that draws wants it back: no dispatch is planned to take longer. */
export const MOST_DISPATCH_SECONDS = 0.25;

/** What is planned to take a time takes less by this, on a device that was measured. */
export const CAUTION = 0.95;

/** The work of a dispatch, or of a share of one. */
export interface DispatchWork {
  /** The id of the kernel. */
  readonly kernel: string;
  readonly flops: number;
  readonly bytes: number;
  /** Number of workgroups. */
  readonly groups: number;
}

/** One workgroup takes too long, on a device of the speed that was planned for. */
export class LongWorkgroupError extends FastRpbError {}

/**
 * Seconds that work takes on a device of this speed: by arithmetic or by traffic, whichever takes longer, at the pace of its kernel. A few workgroups
 * have only a share of the device each.
 */
export function estimatedSeconds({ kernel, flops, bytes, groups }: DispatchWork, speed: Speed): number {
  const share = Math.min(1, groups * speed.workgroupShare);
  return Math.max(flops / speed.flopsPerSecond, bytes / speed.bytesPerSecond) / share / (speed.paces?.[kernel] ?? 1);
}

/**
 * How many dispatches the work of a kernel is cut into.
 *
 * @param caller the public function that errors name
 * @param label of the kernel
 * @throws LongWorkgroupError code `"limit"` where a single workgroup takes longer than {@link MOST_DISPATCH_SECONDS}
 */
export function dispatchesFor(caller: string, label: string, work: DispatchWork, speed: Speed): number {
  const { groups } = work;
  const ofGroups = (count: number) =>
    estimatedSeconds({ ...work, flops: (work.flops / groups) * count, bytes: (work.bytes / groups) * count, groups: count }, speed);
  const seconds = ofGroups(groups);
  if (seconds <= MOST_DISPATCH_SECONDS) return 1;
  if (ofGroups(1) > MOST_DISPATCH_SECONDS) {
    throw new LongWorkgroupError(
      "limit",
      `${caller}: one workgroup of "${label}" takes about ${ofGroups(1).toFixed(2)} s, but a dispatch of more than ${MOST_DISPATCH_SECONDS} s may be stopped by the operating system. Use a shorter length.`,
    );
  }
  // As many workgroups as have a share of the device each take as long as one; more take longer in proportion.
  const most = Math.max(Math.floor(1 / speed.workgroupShare), Math.floor((groups * MOST_DISPATCH_SECONDS) / seconds));
  return Math.ceil(groups / most);
}

/** Work that most data does not make is cut into this many dispatches at most: each takes some microseconds, though it does nothing. */
const MOST_DISPATCHES = 256;

/** How many dispatches work is cut into that takes so many operations for some data, on a device that all its workgroups fill. */
export function dispatchesForMost(flops: number, groups: number, speed: Speed): number {
  return Math.max(1, Math.min(groups, MOST_DISPATCHES, Math.ceil(flops / (speed.flopsPerSecond * MOST_DISPATCH_SECONDS))));
}
