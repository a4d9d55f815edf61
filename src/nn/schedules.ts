/** Rates that go by the step of training. */
import { checkFinite, checkSize } from "../core/check.ts";
import { refuse } from "../core/errors.ts";

/** The learning rate of each step. */
export interface Schedule {
  /** The name of the function that made it. */
  readonly name: string;
  /**
   * The rate of a step.
   *
   * @param step its number; that of the first update is 1
   * @throws FastRpbError code `"value"` for what is no positive integer
   */
  at(step: number): number;
}

/**
 * The same learning rate at every step.
 *
 * @param rate not negative
 * @throws FastRpbError code `"value"`
 */
export function constant(rate: number): Schedule {
  checkRate("constant", "rate", rate);
  return schedule("constant", () => rate);
}

/**
 * A learning rate that rises in proportion to the step up to `peak` at step `warmupSteps`, and then falls along half a period of a cosine to `floor`
 * at step `totalSteps`, where it stays (Loshchilov and Hutter 2017, without restarts).
 *
 * @param peak the largest rate
 * @param warmupSteps steps until the peak; 0 starts just below it
 * @param totalSteps steps until the floor, more than `warmupSteps`
 * @param floor the last rate, from 0 to `peak`. Default 0
 * @throws FastRpbError code `"value"`
 */
export function warmupCosine(peak: number, warmupSteps: number, totalSteps: number, floor = 0): Schedule {
  const caller = "warmupCosine";
  checkRate(caller, "peak", peak);
  checkSize(caller, "warmupSteps", warmupSteps, 0);
  checkSize(caller, "totalSteps", totalSteps, warmupSteps + 1);
  checkRate(caller, "floor", floor);
  if (floor > peak) throw refuse("value", caller, "floor", `at most the peak, ${peak}`, floor);
  return schedule(caller, (step) => {
    if (step < warmupSteps) return (peak * step) / warmupSteps;
    const done = Math.min(1, (step - warmupSteps) / (totalSteps - warmupSteps));
    return floor + ((peak - floor) * (1 + Math.cos(Math.PI * done))) / 2;
  });
}

/**
 * A learning rate that rises in proportion to the step up to `peak` at step `warmupSteps`, and then falls as one over the root of the step: the
 * schedule of Vaswani et al. 2017, whose peak is (width · warmupSteps)^−½.
 *
 * @param peak the largest rate
 * @param warmupSteps steps until the peak, at least 1
 * @throws FastRpbError code `"value"`
 */
export function inverseSquareRoot(peak: number, warmupSteps: number): Schedule {
  const caller = "inverseSquareRoot";
  checkRate(caller, "peak", peak);
  checkSize(caller, "warmupSteps", warmupSteps);
  return schedule(caller, (step) => peak * Math.min(step / warmupSteps, Math.sqrt(warmupSteps / step)));
}

function schedule(name: string, rateOf: (step: number) => number): Schedule {
  return Object.freeze({ name, at: (step: number) => rateOf(checkSize(`${name}().at`, "step", step)) });
}

/** A rate that is finite as a float32, and not negative. */
function checkRate(caller: string, argument: string, rate: number): void {
  if (checkFinite(caller, argument, rate) < 0) throw refuse("value", caller, argument, "at least 0", rate);
}
