/** How real operations are counted. */

/** Real operations of a complex product. */
export const MULTIPLY_FLOPS = 6;

/** The usual count of real operations of a complex transform, 5 n log₂ n. */
export function fftFlops(length: number): number {
  return 5 * length * Math.log2(length);
}
