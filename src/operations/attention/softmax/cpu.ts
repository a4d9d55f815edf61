import { float64Array } from "../../../math/memory.ts";
import type { Head, HeadAttention } from "../cpu-head.ts";

/** out_i = Σ_j softmax_j(scale·q_i·k_j) v_j, over all j or over j ≤ i: O(N²) time, a row of weights at a time. */
export function createSoftmax(dim: number, valueDim: number, causal: boolean, scale: number): HeadAttention {
  /** The weights of row i, into `weights`; gives how many there are. */
  const softmaxRow = ({ tokens, q, k, keyMask }: Head, i: number, weights: Float64Array): number => {
    const count = causal ? i + 1 : tokens;
    let top = -Infinity;
    for (let j = 0; j < count; j++) {
      let product = 0;
      for (let d = 0; d < dim; d++) product += q[i * dim + d]! * k[j * dim + d]!;
      // Where no key is seen, all of them are, and their values are 0.
      weights[j] = keyMask?.[j] === 0 ? -Number.MAX_VALUE : scale * product;
      top = Math.max(top, weights[j]!);
    }
    let sum = 0;
    for (let j = 0; j < count; j++) {
      weights[j] = Math.exp(weights[j]! - top);
      sum += weights[j]!;
    }
    for (let j = 0; j < count; j++) weights[j]! /= sum;
    return count;
  };

  return {
    forward(head, out) {
      const weights = float64Array("cpu attention", head.tokens);
      out.fill(0);
      for (let i = 0; i < head.tokens; i++) {
        const count = softmaxRow(head, i, weights);
        for (let j = 0; j < count; j++) {
          for (let e = 0; e < valueDim; e++) out[i * valueDim + e]! += weights[j]! * head.v[j * valueDim + e]!;
        }
      }
    },

    // dS_ij = P_ij (g_i·v_j − Σ_l P_il g_i·v_l)
    backward(head, g, { dq, dk, dv }) {
      const { tokens, q, k, v } = head;
      const weights = float64Array("cpu attention", tokens);
      const products = float64Array("cpu attention", tokens);
      for (const gradient of [dq, dk, dv]) gradient.fill(0);
      for (let i = 0; i < tokens; i++) {
        const count = softmaxRow(head, i, weights);
        let mean = 0;
        for (let j = 0; j < count; j++) {
          let product = 0;
          for (let e = 0; e < valueDim; e++) {
            product += g[i * valueDim + e]! * v[j * valueDim + e]!;
            dv[j * valueDim + e]! += weights[j]! * g[i * valueDim + e]!;
          }
          products[j] = product;
          mean += weights[j]! * product;
        }
        for (let j = 0; j < count; j++) {
          const slope = scale * weights[j]! * (products[j]! - mean);
          for (let d = 0; d < dim; d++) {
            dq[i * dim + d]! += slope * k[j * dim + d]!;
            dk[j * dim + d]! += slope * q[i * dim + d]!;
          }
        }
      }
    },
  };
}
