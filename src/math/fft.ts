import { FastRpbError } from "../core/errors.ts";
import { createBluestein } from "./fft/bluestein.ts";
import { createSmooth, hasCodelets, type SmoothFft } from "./fft/smooth.ts";

/** A float64 transform of one length, with its tables and scratch memory. */
export interface Fft {
  readonly length: number;
  /**
   * X_k = Σ_n x_n exp(∓2πi kn/N), minus for `"forward"`; unscaled.
   *
   * @param data `length` complex numbers, interleaved (re, im); overwritten with the result
   */
  transform(data: Float64Array, direction: "forward" | "inverse"): void;
  /** The same times `scale` from one array of float32 to another, or in its place, rounded once. Not for every length. */
  readonly round?: (from: Float32Array, to: Float32Array, direction: "forward" | "inverse", scale: number) => void;
}

/** A transform of that length; whoever shares it shares its scratch, and runs one after the other. */
export type FftOf = (length: number) => Fft;

/** With the padding of {@link createBluestein}, indices of floats stay below 2^30: the codelets count on it. */
const LONGEST = 2 ** 28;

/**
 * Tables for any length. Products of primes up to 13 are the fast ones; others take three transforms of twice the length.
 *
 * @throws RangeError for a length that is no positive integer
 * @throws FastRpbError code `"limit"` above 2^28, or where the machine has no room for the tables
 */
export function createFft(length: number): Fft {
  if (!Number.isInteger(length) || length < 1) throw new RangeError(`createFft: length ${length}`);
  if (length > LONGEST) throw new FastRpbError("limit", `cpu fft: ${length} points along one axis, more than ${LONGEST}.`);
  const { inPlace, rounding }: SmoothFft = hasCodelets(length)
    ? createSmooth(length)
    : { inPlace: createBluestein(length, (period) => createSmooth(period).inPlace), rounding: undefined };
  return {
    length,
    transform(data, direction) {
      if (data.length !== 2 * length) throw new RangeError(`fft: ${data.length} floats for ${length} complex numbers`);
      inPlace(data, partOf(direction));
    },
    ...(rounding && {
      round(from, to, direction, scale) {
        if (from.length !== 2 * length || to.length !== 2 * length)
          throw new RangeError(`fft: ${from.length} floats to ${to.length} for ${length} complex numbers`);
        rounding(from, to, partOf(direction), scale);
      },
    }),
  };
}

/** The place of the real part in each pair of floats: with both parts exchanged a transform is its inverse. */
function partOf(direction: "forward" | "inverse"): number {
  return direction === "forward" ? 0 : 1;
}
