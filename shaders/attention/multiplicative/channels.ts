/**
 * Channels of F features: F·E products with values, (d, e) at d·E + e, then the F features themselves, for the denominator, from an even place on.
 * Transforms take channels in pairs, and rounding mixes the two of a pair: values that are large would leave nothing of a denominator beside them,
 * and denominators nothing of values that are small.
 */

/** The sizes that all kernels depend on that read or write channels. */
export interface ChannelKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  /** Tokens of a sequence, `N`. */
  readonly length: number;
  /** Features of a row, `D`. */
  readonly features: number;
  /** Numbers of a row of values, `E`. */
  readonly valueDim: number;
}

/** Where the features themselves begin; the channel before may be padding, of zeros. */
export function firstPlainChannel(features: number, valueDim: number): number {
  return 2 * Math.ceil((features * valueDim) / 2);
}

/**
 * Rows of totals: E numerators, then the denominator, and what a denominator must exceed for transforms to be trusted with its row. Backward
 * these become the gradients of numerators and denominator, and of rows that are summed directly: 1/δ, the largest weight and the exponent that δ is
 * relative to, g·o.
 */
export function totalsWidth(valueDim: number): number {
  return valueDim + 5;
}

/** Channels of so many features, with the padding. */
export function multiplicativeChannels(features: number, valueDim: number): number {
  return firstPlainChannel(features, valueDim) + features;
}
