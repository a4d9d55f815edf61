import type { Floats } from "../operation.ts";
/** One head of one batch entry, in float64, and only the tokens that count. */
export interface Head {
  /** Number of tokens. */
  readonly tokens: number;
  /** Number of keys; left out: that of the tokens. */
  readonly keys?: number;
  /** [tokens, D] */
  readonly q: Float64Array;
  /** [keys, D] */
  readonly k: Float64Array;
  /** [keys, E] */
  readonly v: Float64Array;
  /** Which of the heads of a batch row. */
  readonly index: number;
  /** Of a bias in the logits, its weights. */
  readonly bias?: Floats | undefined;
  /** 0 where a key is not seen; left out where all are. Only softmax attention looks: elsewhere the key itself has no feature. */
  readonly keyMask?: Floats | undefined;
}

/** Of the rows of a {@link Head}; overwritten. */
export interface HeadGradients {
  readonly dq: Float64Array;
  readonly dk: Float64Array;
  readonly dv: Float64Array;
}

/** Sums of which the gradient of a bias is made, of a head. */
export interface BiasSums {
  /** Of a multiplicative one the spectrum of the gradient with respect to the exponentials, of an additive one that with respect to the weights. */
  readonly spectrum: Float64Array;
  /** What is to be added to the gradient with respect to the weights: all of it with a bias in the logits. */
  readonly direct: Float64Array;
}

/** Attention of a head, without an additive bias. */
export interface HeadAttention {
  /** Overwrites `out: [tokens, E]`. */
  forward(head: Head, out: Float64Array): void;
  /**
   * @param g gradient of the output, [tokens, E]
   * @param sums with a bias that is not added to the output: where its gradient is added
   */
  backward(head: Head, g: Float64Array, gradients: HeadGradients, sums?: BiasSums): void;
}
