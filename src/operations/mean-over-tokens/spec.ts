interface Tokens {
  readonly batch: number;
  /** Tokens of a sequence, at most. */
  readonly length: number;
  readonly width: number;
  /** Whether sequences have lengths of their own: tokens beyond do not count, and the mean of none is 0. */
  readonly variableLengths: boolean;
}

/** The mean over the tokens of each sequence: `x` [batch, length, width], and `lengths` [batch] where they vary → `out` [batch, width]. */
export interface MeanOverTokensSpec extends Tokens {
  readonly operation: "meanOverTokens";
}

/** Its gradient: `dOut`, and `lengths` → `dX`. */
export interface MeanOverTokensGradientSpec extends Tokens {
  readonly operation: "meanOverTokensGradient";
}

export function meanOverTokensSpec({ batch, length, width, variableLengths }: Tokens): MeanOverTokensSpec {
  return Object.freeze({ operation: "meanOverTokens", batch, length, width, variableLengths });
}

export function meanOverTokensGradientSpec({ batch, length, width, variableLengths }: Tokens): MeanOverTokensGradientSpec {
  return Object.freeze({ operation: "meanOverTokensGradient", batch, length, width, variableLengths });
}
