/**
 * Channels of F features: F·E products with values, (d, e) at d·E + e, then the F features themselves, for the denominator, from an even place on.
 * Transforms take channels in pairs, and rounding mixes the two of a pair: values that are large would leave nothing of a denominator beside them,
 * and denominators nothing of values that are small.
 */

/** Where the features themselves begin; the channel before may be padding, of zeros. */
export function firstPlainChannel(features: number, valueDim: number): number {
  return 2 * Math.ceil((features * valueDim) / 2);
}

export function multiplicativeChannels(features: number, valueDim: number): number {
  return firstPlainChannel(features, valueDim) + features;
}
