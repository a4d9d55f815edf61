/** One head of one batch entry, in float64, and only the tokens that count. */
export interface Head {
  /** Number of tokens. */
  readonly tokens: number;
  /** [tokens, D] */
  readonly q: Float64Array;
  readonly k: Float64Array;
  /** [tokens, E] */
  readonly v: Float64Array;
  /** Which of the heads of a batch row. */
  readonly index: number;
  /** Of a bias in the logits, its weights. */
  readonly bias?: Float32Array | undefined;
}

/** Of the rows of a {@link Head}; overwritten. */
export interface HeadGradients {
  readonly dq: Float64Array;
  readonly dk: Float64Array;
  readonly dv: Float64Array;
}

/** Attention of a head, without an additive bias. */
export interface HeadAttention {
  /** Overwrites `out: [tokens, E]`. */
  forward(head: Head, out: Float64Array): void;
  /**
   * @param g gradient of the output, [tokens, E]
   * @param weights where the gradient of a bias in the logits is added, or the spectrum of that of the exponentials of a multiplicative one
   */
  backward(head: Head, g: Float64Array, gradients: HeadGradients, weights?: Float64Array): void;
}
