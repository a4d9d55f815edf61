import { FastRpbError } from "../spec/errors.ts";
import { createBluestein } from "./fft/bluestein.ts";
import { createStockham, hasCodelets } from "./fft/stockham.ts";

/** A float64 transform of one length, with its tables and scratch memory. */
export interface Fft {
  readonly length: number;
  /**
   * X_k = Σ_n x_n exp(∓2πi kn/N), minus for `"forward"`; unscaled.
   *
   * @param data `length` complex numbers, interleaved (re, im); overwritten with the result
   */
  transform(data: Float64Array, direction: "forward" | "inverse"): void;
}

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
  const inPlace = hasCodelets(length) ? createStockham(length) : createBluestein(length, createStockham);
  return {
    length,
    transform(data, direction) {
      if (data.length !== 2 * length) throw new RangeError(`fft: ${data.length} floats for ${length} complex numbers`);
      inPlace(data, direction === "forward" ? 0 : 1);
    },
  };
}
