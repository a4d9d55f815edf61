/** The sizes of a head: its rows of queries, keys and values. */
export interface HeadShape {
  /** Tokens of a sequence, `N`. */
  readonly length: number;
  /** Numbers of a query or a key, `D`. */
  readonly headDim: number;
  /** Numbers of a row of values, `E`. */
  readonly valueDim: number;
}
