/**
 * One pass of a transform in place, decimated in time: it makes transforms of span · radix points out of `radix` neighbours of span points each. For
 * p < span it reads a_j at p + span · j of its block and writes, to the same places,
 *
 *     Σ_j w_pj a_j exp(−2πi jk / radix),   w_pj = exp(−2πi pj / (radix · span)).
 */
export interface Pass {
  readonly radix: number;
  readonly span: number;
  /** w_pj for each p and each j > 0, interleaved. */
  readonly twiddles: Float64Array;
}

/**
 * Which rows make up the tile, in an order that is good for the cache: for n < fan, d < spread and j < group, its row
 * slots[m] + rows/fan · n + rows/(fan · spread) · d + j is row sources[m] + n + fan · d + rows/group · j of what it is loaded from. Only a tile of one
 * column, whose rows are neighbours there, may have a fan.
 */
export interface Order {
  readonly rows: number;
  readonly fan: number;
  readonly spread: number;
  readonly group: number;
  readonly sources: Int32Array;
  readonly slots: Int32Array;
}

/** Where numbers of the tile go: row k of column q to start + (k − k mod group) · rowPitch + k mod group + q · columnPitch. */
export interface Place {
  readonly start: number;
  /** For the codelets of radix 4, a divisor of their span. */
  readonly group: number;
  readonly rowPitch: number;
  readonly columnPitch: number;
}

/** Points that a tile holds, all columns together: sixteen columns of the longest step. */
export const TILE = 16384;
