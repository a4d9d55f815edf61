/** Splits long transforms into passes, by the four-step framework (Bailey 1990). */
import { FastRpbError } from "../../core/errors.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import { convolutionLength, fits } from "./stockham.ts";

/** Beyond this, a transform by passes is worse than one by a convolution. */
const MOST_PASSES = 3;

/** N = a·b with both transforms inside a workgroup, as even as possible, a ≥ b; `undefined` where there is no such pair. */
export function chooseSplit(
  length: number,
  limits: PlannerLimits,
  fitting: (length: number) => boolean = (n) => fits(limits, n),
): { readonly a: number; readonly b: number } | undefined {
  for (let b = Math.floor(Math.sqrt(length)); b >= 2; b--) {
    if (length % b !== 0) continue;
    const a = length / b;
    // A shorter length may have the wider radices: that one does not fit says nothing of the next.
    if (fitting(a) && fitting(b)) return { a, b };
  }
  return undefined;
}

/**
 * The factors a·b of a length that takes two passes.
 *
 * @param caller the public function that errors name
 * @throws FastRpbError code `"limit"` where there are none
 */
export function splitLength(caller: string, length: number, limits: PlannerLimits): { readonly a: number; readonly b: number } {
  const split = chooseSplit(length, limits);
  if (!split) throw tooLong(caller, length, limits);
  return split;
}

/** The error for a length that no plan can do. @returns a FastRpbError code `"limit"` */
export function tooLong(caller: string, length: number, limits: PlannerLimits): FastRpbError {
  const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup } = limits;
  return new FastRpbError(
    "limit",
    `${caller}: a transform of ${length} points takes more passes than there are plans for, with ${maxComputeWorkgroupStorageSize} bytes of workgroup memory (maxComputeWorkgroupStorageSize) and ${maxComputeInvocationsPerWorkgroup} invocations; use a shorter length.`,
  );
}

/** Length of the convolution that makes a transform of `points` points inside a workgroup (Bluestein 1970). */
export function chirpLength(points: number, limits: PlannerLimits): number {
  return convolutionLength(2 * points - 1, limits);
}

/** Whether one pass can do a transform of this length, with codelets or as a convolution. */
export function fitsPass(limits: PlannerLimits, length: number): boolean {
  return fits(limits, length) || fits(limits, chirpLength(length, limits));
}

/**
 * Lengths of the passes of a transform, as few as possible, their product `length`; passes with codelets before passes that are
 * convolutions. `undefined` where a prime factor is too long for a pass, or more than {@link MOST_PASSES} would be needed.
 */
export function choosePasses(length: number, limits: PlannerLimits): readonly number[] | undefined {
  const direct = (n: number) => fits(limits, n);
  const any = (n: number) => fitsPass(limits, n);
  for (let passes = 1; passes <= MOST_PASSES; passes++) {
    for (const fitting of [direct, any]) {
      const split = splitInto(passes, length, limits, fitting);
      if (split) return split;
    }
  }
  return undefined;
}

function splitInto(passes: number, length: number, limits: PlannerLimits, fitting: (length: number) => boolean): readonly number[] | undefined {
  if (passes === 1) return fitting(length) ? [length] : undefined;
  if (passes === 2) {
    const pair = chooseSplit(length, limits, fitting);
    return pair && [pair.a, pair.b];
  }
  for (let first = Math.ceil(length ** (1 / passes)); first <= length / 2; first++) {
    if (length % first !== 0 || !fitting(first)) continue;
    const rest = splitInto(passes - 1, length / first, limits, fitting);
    if (rest) return [first, ...rest];
  }
  return undefined;
}
