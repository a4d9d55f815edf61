/** What a device is seen to do while it works. */

/** What is planned to take a time takes less by this. */
export const CAUTION = 0.95;
/** Work that takes so long says more of the device than of a submit. */
export const TELLING_SECONDS = 0.02;
/** By how much a pace changes at a time, at most: something else may have kept the device. */
const MOST_CHANGE = 2;

/** The pace of a kernel, after work of it that was estimated with the pace so far took so many seconds. */
export function paceAfter(pace: number, estimated: number, seconds: number): number {
  return pace * Math.min(MOST_CHANGE, Math.max(1 / MOST_CHANGE, (CAUTION * estimated) / seconds));
}
