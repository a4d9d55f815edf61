import { largest, SMALLEST_NORMAL } from "../data.ts";

/**
 * The norm of the errors that zeros in the place of denormals may make. Each of `terms` numbers that an element of the result is made of (inputs,
 * and what is stored or summed up on the way) may be off by less than 2⁻¹²⁶, and reaches the result with a gain of at most the product of what it
 * is multiplied by: other inputs, whose sizes are at most (1 + max|x|), and coefficients of at most `gain`. So an element is off by
 * terms·gain·Π(1 + max|x|)·2⁻¹²⁶, and the norm of `count` elements by √count times that.
 */
export function flushFloor(count: number, terms: number, gain: number, factors: readonly ArrayLike<number>[]): number {
  const product = factors.reduce((product, values) => product * (1 + largest(values)), 1);
  return SMALLEST_NORMAL * Math.sqrt(count) * terms * gain * product;
}
