/**
 * How fast a device is, measured once there is so much work that it would be cut by what a slow GPU can do. By softmax attention: it is what takes
 * long, and it comes nearer to the peak than the other kernels do.
 */
import { SLOW_GPU, type Speed } from "../core/limits.ts";
import { CAUTION, MOST_DISPATCH_SECONDS } from "../program/duration.ts";

/** Work of one kind that can be made longer, and timed. */
export interface Probe {
  /** Operations of one workgroup. */
  readonly groupFlops: number;
  /** How many workgroups a dispatch can have: powers of two up to this one. */
  readonly mostGroups: number;
  /** Seconds until the device has done so many dispatches, one after the other, of so many workgroups each. */
  time(groups: number, dispatches: number): Promise<number>;
}

/** A measurement lasts at least so long, against the time of a submit, which is taken off. */
const ENOUGH_SECONDS = 0.008;
const MOST_DISPATCHES = 4096;
/** Of several, the shortest counts: whatever else goes on makes them longer. */
const TRIES = 3;
/** By how much the work grows at a time while nobody knows how long it will take. */
const GROWTH = 8;
/** How many times as fast the kernels of softmax attention are as others are at least, by the operations they count: 3 on an H100. */
const PACE = 4;
const PACED = ["forward", "statistics", "query-gradient", "key-gradient"].map((name) => `attention/softmax/${name}`);

/**
 * Measures a device in some ten milliseconds; it does nothing for longer than a dispatch may take.
 *
 * @throws Error where the clock shows no time for what was done
 */
export async function measureSpeed({ groupFlops, mostGroups, time }: Probe): Promise<Speed> {
  let submit = Infinity;
  for (let i = 0; i < TRIES; i++) submit = Math.min(submit, await time(1, 0));
  const measure = async (groups: number, dispatches: number) => Math.max(0, (await time(groups, dispatches)) - submit);

  /** Seconds of one of so many dispatches that time shows. */
  const secondsEach = async (groups: number) => {
    for (let dispatches = 1; ;) {
      let seconds = await measure(groups, dispatches);
      if (seconds >= ENOUGH_SECONDS || dispatches === MOST_DISPATCHES) {
        for (let i = 1; i < TRIES && seconds < ENOUGH_SECONDS * GROWTH; i++) seconds = Math.min(seconds, await measure(groups, dispatches));
        return seconds / dispatches;
      }
      const growth = Math.min(GROWTH, Math.ceil((1.2 * ENOUGH_SECONDS) / Math.max(seconds, 1e-9)));
      dispatches = Math.min(MOST_DISPATCHES, dispatches * Math.max(2, growth));
    }
  };

  await time(1, 1); // the first run of a pipeline takes longer
  const alone = await secondsEach(1);
  let best = groupFlops / alone;
  let seconds = alone;
  for (let groups = 1; groups < mostGroups && 2 * seconds <= MOST_DISPATCH_SECONDS;) {
    // It takes so many times as long at most.
    const growth = 2 ** Math.floor(Math.log2(Math.min(GROWTH, MOST_DISPATCH_SECONDS / seconds)));
    groups = Math.min(mostGroups, groups * growth);
    seconds = await secondsEach(groups);
    best = Math.max(best, (groups * groupFlops) / seconds);
  }
  if (!(alone > 0 && best < Infinity)) throw new Error("the clock is too coarse to measure the device by");
  const flopsPerSecond = (CAUTION * best) / PACE;
  return Object.freeze({
    flopsPerSecond,
    // Not measured: memory is as much faster than that of the slow one as arithmetic is.
    bytesPerSecond: SLOW_GPU.bytesPerSecond * (flopsPerSecond / SLOW_GPU.flopsPerSecond),
    workgroupShare: groupFlops / alone / best,
    paces: Object.freeze(Object.fromEntries(PACED.map((kernel) => [kernel, PACE]))),
  });
}
