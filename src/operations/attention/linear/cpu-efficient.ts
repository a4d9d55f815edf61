import { float64Array } from "../../../math/memory.ts";
import type { Head, HeadAttention } from "../cpu-head.ts";
import { createLinear } from "./cpu.ts";

/**
 * Efficient Attention (Shen et al. 2018): out_i = Σ_d softmax(q_i)_d Σ_j exp(k_jd) v_j / Σ_j exp(k_jd). That is SIKF attention of the queries
 * x_id = q_id − L_id with L_id = log Σ_j exp(k_jd): its denominator Σ_d exp(x_id) Σ_j exp(k_jd) = Σ_d exp(q_id) makes the softmax over
 * features. So dq = dx, and keys get −exp(k_jd) Σ_i dx_id exp(−L_id) on top.
 */
export function createEfficient(dim: number, valueDim: number, causal: boolean): HeadAttention {
  const sikf = createLinear("exponential", dim, valueDim, causal);

  /** L: [tokens or keys, dim], over the keys that a query sees. */
  const logSums = ({ tokens, keys = tokens, k }: Head): Float64Array => {
    const rows = Math.max(tokens, keys);
    const logs = float64Array("cpu attention", rows * dim);
    for (let d = 0; d < dim; d++) {
      let [top, sum] = [-Infinity, 0];
      for (let j = 0; j < keys; j++) {
        const key = k[j * dim + d]!;
        if (key > top) {
          sum *= Math.exp(top - key);
          top = key;
        }
        sum += Math.exp(key - top);
        logs[j * dim + d] = top + Math.log(sum);
      }
      if (!causal) for (let j = 0; j < rows; j++) logs[j * dim + d] = top + Math.log(sum);
    }
    return logs;
  };
  const shifted = (head: Head, logs: Float64Array): Head => ({ ...head, q: head.q.map((x, i) => x - logs[i]!) });

  return {
    forward: (head, out) => sikf.forward(shifted(head, logSums(head)), out),

    backward(head, g, gradients) {
      const { tokens, keys = tokens, k } = head;
      const logs = logSums(head);
      sikf.backward(shifted(head, logs), g, gradients);
      const { dq, dk } = gradients;
      for (let d = 0; d < dim; d++) {
        // Σ_i dx_id exp(L_jd − L_id) over the queries that see key j: L does not fall, so no factor is above 1.
        let sum = 0;
        let last = logs[(tokens - 1) * dim + d]!;
        const take = (i: number) => {
          const log = logs[i * dim + d]!;
          sum = sum * Math.exp(log - last) + dq[i * dim + d]!;
          last = log;
        };
        if (!causal) for (let i = tokens - 1; i >= 0; i--) take(i);
        for (let j = keys - 1; j >= 0; j--) {
          if (causal) take(j);
          dk[j * dim + d]! -= Math.exp(k[j * dim + d]! - logs[j * dim + d]!) * sum;
        }
      }
    },
  };
}
