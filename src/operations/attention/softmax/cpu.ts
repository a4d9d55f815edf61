import { float64Array } from "../../../math/memory.ts";
import type { Head, HeadAttention } from "../cpu-head.ts";
import { type AttentionShape, keyLengthOf } from "../spec.ts";

/**
 * out_i = Σ_j softmax_j(scale·q_i·k_j + b_{j−i}) v_j, b being 0 without a bias in the logits, over the j that i sees: O(N²) time, or O(N·w) in a window,
 * a row of weights at a time.
 */
export function createSoftmax(shape: AttentionShape): HeadAttention {
  const { headDim: dim, valueDim, causal, window = Infinity, scale, length, grid } = shape;
  const [height, width] = grid ?? [1, Math.max(length, keyLengthOf(shape))];
  /** Where the weight of the offset from i to j lies. */
  const placeOf = (n: number) => Math.floor(n / width) * (2 * width - 1) + (n % width);
  const center = grid ? placeOf(height * width - 1) : length - 1;
  /** The weights of row i, into `weights`; gives where they begin and end. */
  const softmaxRow = (
    { tokens, keys = tokens, q, k, bias, keyMask }: Head,
    i: number,
    weights: Float64Array,
  ): readonly [begin: number, end: number] => {
    const [begin, end] = [Math.max(0, i - window + 1), Math.min(keys, causal ? i + 1 : i + window)];
    let top = -Infinity;
    for (let j = begin; j < end; j++) {
      let product = 0;
      for (let d = 0; d < dim; d++) product += q[i * dim + d]! * k[j * dim + d]!;
      const logit = scale * product + (bias ? bias[placeOf(j) - placeOf(i) + center]! : 0);
      weights[j] = keyMask?.[j] === 0 ? -Infinity : logit;
      top = Math.max(top, weights[j]!);
    }
    let sum = 0;
    for (let j = begin; j < end; j++) {
      weights[j] = top === -Infinity ? 0 : Math.exp(weights[j]! - top);
      sum += weights[j]!;
    }
    for (let j = begin; j < end && sum > 0; j++) weights[j]! /= sum;
    return [begin, end];
  };

  return {
    forward(head, out) {
      const weights = float64Array("cpu attention", head.keys ?? head.tokens);
      out.fill(0);
      for (let i = 0; i < head.tokens; i++) {
        const [begin, end] = softmaxRow(head, i, weights);
        for (let j = begin; j < end; j++) {
          for (let e = 0; e < valueDim; e++) out[i * valueDim + e]! += weights[j]! * head.v[j * valueDim + e]!;
        }
      }
    },

    // dS_ij = P_ij (g_i·v_j − Σ_l P_il g_i·v_l)
    backward(head, g, { dq, dk, dv }, sums) {
      const { tokens, keys = tokens, q, k, v } = head;
      const weights = float64Array("cpu attention", keys);
      const products = float64Array("cpu attention", keys);
      for (const gradient of [dq, dk, dv]) gradient.fill(0);
      for (let i = 0; i < tokens; i++) {
        const [begin, end] = softmaxRow(head, i, weights);
        let mean = 0;
        for (let j = begin; j < end; j++) {
          let product = 0;
          for (let e = 0; e < valueDim; e++) {
            product += g[i * valueDim + e]! * v[j * valueDim + e]!;
            dv[j * valueDim + e]! += weights[j]! * g[i * valueDim + e]!;
          }
          products[j] = product;
          mean += weights[j]! * product;
        }
        for (let j = begin; j < end; j++) {
          const logit = weights[j]! * (products[j]! - mean);
          const slope = scale * logit;
          if (head.bias) sums!.direct[placeOf(j) - placeOf(i) + center]! += logit;
          for (let d = 0; d < dim; d++) {
            dq[i * dim + d]! += slope * k[j * dim + d]!;
            dk[j * dim + d]! += slope * q[i * dim + d]!;
          }
        }
      }
    },
  };
}
