/**
 * What changes the parameters of a model in a step of training. All parameters lie side by side in one tensor, and so do their gradients and what an
 * optimiser keeps of each; `size` is their number.
 */
import { HISTORY_COLUMNS, HISTORY_ROWS, type RecordKernelSpec } from "../../../shaders/nn/record.ts";
import type { ParameterGroup } from "../../../shaders/nn/update.ts";

export { HISTORY_COLUMNS, HISTORY_ROWS, type ParameterGroup };

/** Numbers of a history. */
export const HISTORY_SIZE = HISTORY_ROWS * HISTORY_COLUMNS;

/** The sum of the squares of `x` [size] → `out` [1], which is not finite where a number is not, or the sum is beyond float32. */
export interface SumOfSquaresSpec {
  readonly operation: "sumOfSquares";
  readonly size: number;
}

export function sumOfSquaresSpec({ size }: { readonly size: number }): SumOfSquaresSpec {
  return Object.freeze({ operation: "sumOfSquares", size });
}

/**
 * Whether the step may change anything, from `norm` [1], the sum of squares of all gradients, `loss` [1] and the number of the step, `clock`[2] of 4
 * words: `health` [2] words is (0, 0) while all is well; once one of the two is not finite it is 1 + the number of that step, and 1 where it was the
 * loss, 2 where it was the sum, 3 where it was both. It stays so: what follows changes nothing.
 */
export interface GuardSpec {
  readonly operation: "guard";
}

export function guardSpec(): GuardSpec {
  return Object.freeze({ operation: "guard" });
}

/** What all optimisers take. */
interface UpdateOptions {
  readonly size: number;
  /** Default 0; with `groups`, each has its own. */
  readonly weightDecay?: number | undefined;
  /** Neighbours with a weight decay and a factor on the rate of their own, in order; they are all parameters. */
  readonly groups?: readonly ParameterGroup[] | undefined;
  /** The gradients are scaled so that the norm of all of them is at most about this. Left out: they are taken as they are, and there is no `norm`. */
  readonly clipNorm?: number | undefined;
  /** Where this optimiser's numbers start in the tensor `rates`. Default 0. */
  readonly rateIndex?: number | undefined;
  /** Size of the tensor `rates`, which several may share. Default: where this optimiser's numbers end. */
  readonly rateCount?: number | undefined;
}

/** What is in the specs of all optimisers. */
export interface UpdateSpec {
  readonly size: number;
  readonly groups: readonly ParameterGroup[];
  readonly clipNorm: number | undefined;
  readonly rateIndex: number;
  readonly rateCount: number;
}

/** A step of AdamW; `rates` has, from `rateIndex` on, the rate, 1 − beta1ᵗ and √(1 − beta2ᵗ) at step t, which counts from 1, and a number that is not used. */
export interface AdamWSpec extends UpdateSpec {
  readonly operation: "adamW";
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

export interface AdamWOptions extends UpdateOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

/** Numbers of AdamW in `rates`. */
const ADAM_W_RATES = 4;

export function adamWSpec({ beta1, beta2, epsilon, ...options }: AdamWOptions): AdamWSpec {
  return Object.freeze({ operation: "adamW", ...updateSpec(options, ADAM_W_RATES), beta1, beta2, epsilon });
}

/** A step of gradient descent; `rates` has the rate at `rateIndex`. Without momentum there is no tensor `momentum`. */
export interface SgdSpec extends UpdateSpec {
  readonly operation: "sgd";
  readonly momentum: number;
  readonly nesterov: boolean;
}

export interface SgdOptions extends UpdateOptions {
  /** Default 0: none. */
  readonly momentum?: number | undefined;
  /** Default `false`. */
  readonly nesterov?: boolean | undefined;
}

export function sgdSpec({ momentum = 0, nesterov = false, ...options }: SgdOptions): SgdSpec {
  if (nesterov && momentum === 0) throw new TypeError("sgd: nesterov without momentum");
  return Object.freeze({ operation: "sgd", ...updateSpec(options, 1), momentum, nesterov });
}

/** A step of the exponential moving average: `average` ← decay · average + (1 − decay) · `parameters`. */
export interface AverageSpec {
  readonly operation: "average";
  readonly size: number;
  readonly decay: number;
}

export function averageSpec({ size, decay }: { readonly size: number; readonly decay: number }): AverageSpec {
  return Object.freeze({ operation: "average", size, decay });
}

/**
 * What a step came to: `loss` [1], `counts` [2] words where targets are counted, and of the last batch of a step `norm` [1] and `health` [2] words →
 * its row of `history` [HISTORY_ROWS, HISTORY_COLUMNS], by the number of the step in `clock`.
 */
export interface RecordSpec extends RecordKernelSpec {
  readonly operation: "record";
}

export function recordSpec({ isFirst, isLast, counts }: RecordKernelSpec): RecordSpec {
  return Object.freeze({ operation: "record", isFirst, isLast, counts });
}

function updateSpec({ size, weightDecay = 0, groups, clipNorm, rateIndex = 0, rateCount }: UpdateOptions, rates: number): UpdateSpec {
  const all = groups ?? [{ end: size, weightDecay, rateFactor: 1 }];
  const ends = all.map(({ end }) => end);
  if (ends.at(-1) !== size || ends.some((end, i) => end <= (ends[i - 1] ?? 0))) throw new TypeError(`optimizer: groups end at ${ends} of ${size}`);
  if (rateCount !== undefined && rateCount < rateIndex + rates) throw new TypeError(`optimizer: ${rateCount} rates, ${rates} from ${rateIndex} on`);
  const frozen = Object.freeze(all.map(({ end, weightDecay: decay, rateFactor }) => Object.freeze({ end, weightDecay: decay, rateFactor })));
  return { size, groups: frozen, clipNorm, rateIndex, rateCount: rateCount ?? rateIndex + rates };
}
