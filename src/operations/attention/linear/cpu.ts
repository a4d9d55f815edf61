import { float64Array } from "../../../math/memory.ts";
import type { Head, HeadAttention, HeadGradients } from "../cpu-head.ts";
import { featureSlope, isNothing, plainFeature, type RowFeatures, RowState } from "./cpu-state.ts";

/**
 * out_i = Σ_j φ(q_i)·φ(k_j) v_j / Σ_j φ(q_i)·φ(k_j), over all j or over j ≤ i. A query of which the denominator is zero gets zero, and no
 * gradient.
 *
 * Exponentials: with m_d the largest key so far and r_i = max_d (q_id + m_d), φ(q_id) counts as exp(q_id + m_d − r_i), the state is relative
 * to exp(m_d), and the denominator is at least 1.
 *
 * The way back, with g the gradient of the output and o the output: p_i = 1/δ_i, n_i = −(g_i·o_i)/δ_i,
 *   dφ(q_i) = p_i s g_i + n_i z,   dφ(k_j) = U v_j + u,   dv_j = Uᵀ φ(k_j)
 * with U = Σ_i φ(q_i) p_i g_iᵀ and u = Σ_i φ(q_i) n_i over the queries that see key j. For exponentials the rows of U are q_i − r_i.
 */
export function createLinear(features: RowFeatures, dim: number, valueDim: number, causal: boolean): HeadAttention {
  const keys = new RowState(features, dim, valueDim);
  const queries = new RowState(features, dim, valueDim);
  const phi = new Float64Array(dim);

  /** φ(q_i) relative to the state, into `phi`; gives r_i. */
  const query = (q: Float64Array, i: number): number => {
    if (features !== "exponential") {
      for (let d = 0; d < dim; d++) phi[d] = plainFeature(features, q[i * dim + d]!);
      return 0;
    }
    let top = -Infinity;
    for (let d = 0; d < dim; d++) {
      phi[d] = q[i * dim + d]! + keys.reference[d]!;
      top = Math.max(top, phi[d]!);
    }
    for (let d = 0; d < dim; d++) phi[d] = Math.exp(phi[d]! - top);
    return top;
  };

  /** Calls `visit` for every query, with the state of the keys that it sees. */
  const eachQuery = ({ tokens, keys: count = tokens, k, v }: Head, visit: (i: number) => void) => {
    keys.reset();
    if (!causal) for (let j = 0; j < count; j++) keys.add(j, k, 0, v, 1, 1);
    for (let i = 0; i < tokens; i++) {
      if (causal) keys.add(i, k, 0, v, 1, 1);
      visit(i);
    }
  };

  return {
    forward(head, out) {
      eachQuery(head, (i) => {
        query(head.q, i);
        const row = zeroedRow(out, i, valueDim);
        let denominator = 0;
        for (let d = 0; d < dim; d++) {
          const feature = phi[d]!;
          denominator += feature * keys.sum[d]!;
          for (let e = 0, at = d * valueDim; e < valueDim; e++) row[e]! += feature * keys.products[at + e]!;
        }
        for (let e = 0; e < valueDim; e++) row[e] = isNothing(denominator) ? 0 : row[e]! / denominator;
      });
    },

    backward(head, g, { dq, dk, dv }: HeadGradients) {
      const { tokens, keys: count = tokens, q, k, v } = head;
      const references = float64Array("cpu attention", tokens);
      const p = float64Array("cpu attention", tokens);
      const n = float64Array("cpu attention", tokens);
      const products = new Float64Array(dim);
      eachQuery(head, (i) => {
        references[i] = query(q, i);
        let [denominator, inner] = [0, 0];
        for (let d = 0; d < dim; d++) {
          let product = 0;
          for (let e = 0, at = d * valueDim; e < valueDim; e++) product += g[i * valueDim + e]! * keys.products[at + e]!;
          products[d] = product;
          denominator += phi[d]! * keys.sum[d]!;
          inner += phi[d]! * product;
        }
        if (!isNothing(denominator)) {
          p[i] = 1 / denominator;
          n[i] = -inner / denominator / denominator;
        }
        for (let d = 0; d < dim; d++) dq[i * dim + d] = featureSlope(features, phi[d]!) * (p[i]! * products[d]! + n[i]! * keys.sum[d]!);
      });
      queries.reset();
      if (!causal) for (let i = 0; i < tokens; i++) queries.add(i, q, references[i]!, g, n[i]!, p[i]!);
      for (let j = count - 1; j >= 0; j--) {
        if (causal) queries.add(j, q, references[j]!, g, n[j]!, p[j]!);
        const values = zeroedRow(dv, j, valueDim);
        for (let d = 0; d < dim; d++) {
          const key = k[j * dim + d]!;
          const feature = features === "exponential" ? Math.exp(key + queries.reference[d]!) : plainFeature(features, key);
          let product = queries.sum[d]!;
          for (let e = 0, at = d * valueDim; e < valueDim; e++) {
            product += v[j * valueDim + e]! * queries.products[at + e]!;
            values[e]! += feature * queries.products[at + e]!;
          }
          dk[j * dim + d] = featureSlope(features, feature) * product;
        }
      }
    },
  };
}

/** Not `subarray(…).fill(0)`: Firefox 153 compiles that to a view of other numbers, once it has run a thousand times. */
function zeroedRow(rows: Float64Array, index: number, width: number): Float64Array {
  const [begin, end] = [index * width, (index + 1) * width];
  rows.fill(0, begin, end);
  return rows.subarray(begin, end);
}
