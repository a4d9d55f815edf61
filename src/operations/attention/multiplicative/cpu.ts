import { float64Array } from "../../../math/memory.ts";
import type { Store } from "../../toeplitz/cpu-product.ts";
import type { Head, HeadAttention } from "../cpu-head.ts";
import type { Multiplier } from "../cpu.ts";
import { exponentialsOf } from "../../toeplitz/cpu-spectrum.ts";
import { featureSlope, isNothing, plainFeature, type RowFeatures } from "../linear/cpu-state.ts";
import type { AttentionShape } from "../spec.ts";
import { createDirectRows } from "./cpu-direct.ts";

/** How far a denominator must be above ‖E‖‖φ‖, of which transforms in float64 have an error of about 1e-15. */
const MARGIN = 1e-6;

/**
 * Luo et al. 2021: out_i = Σ_j E_{j−i} φ(q_i)·φ(k_j) v_j / Σ_j E_{j−i} φ(q_i)·φ(k_j) with E = exp(b − max b). For each feature d the sums
 * over j of E_{j−i} φ(k_jd) v_je, and with 1 in the place of v, are Toeplitz products.
 *
 * Exponentials are relative to the largest key of all, m_d, and to r_i = max_d (q_id + m_d); their factors cancel. Transforms have an error in
 * proportion to ‖E‖‖φ(k)_d‖ in all rows: those whose denominator is not far above it are summed by definition instead, of large weights, masks, and
 * queries that see nothing.
 */
export function createMultiplicative(features: RowFeatures, shape: AttentionShape, { toeplitz, spectrumOf, weightsOf }: Multiplier): HeadAttention {
  const { features: dim, valueDim } = shape;
  const width = valueDim + 1;
  const direct = createDirectRows(features, shape);

  const featuresOf = ({ tokens, q, k }: Head) => {
    const [phiQ, phiK] = [float64Array("cpu attention", tokens * dim), float64Array("cpu attention", tokens * dim)];
    if (features !== "exponential") {
      for (let at = 0; at < tokens * dim; at++) {
        phiQ[at] = plainFeature(features, q[at]!);
        phiK[at] = plainFeature(features, k[at]!);
      }
      return { phiQ, phiK };
    }
    const largest = new Float64Array(dim).fill(-Infinity);
    for (let at = 0; at < tokens * dim; at++) largest[at % dim] = Math.max(largest[at % dim]!, k[at]!);
    for (let i = 0; i < tokens; i++) {
      let top = -Infinity;
      for (let d = 0; d < dim; d++) top = Math.max(top, q[i * dim + d]! + largest[d]!);
      for (let d = 0, at = i * dim; d < dim; d++, at++) {
        phiQ[at] = Math.exp(q[at]! + largest[d]! - top);
        phiK[at] = Math.exp(k[at]! - largest[d]!);
      }
    }
    return { phiQ, phiK };
  };

  /** Column d of φ(k), times [v, 1]: [tokens, E + 1]. */
  const expand = ({ tokens, v }: Head, phiK: Float64Array, d: number): Float64Array => {
    const x = float64Array("cpu attention", tokens * width);
    for (let j = 0; j < tokens; j++) {
      for (let e = 0; e < width; e++) x[j * width + e] = phiK[j * dim + d]! * (e < valueDim ? v[j * valueDim + e]! : 1);
    }
    return x;
  };

  const into =
    (target: Float64Array): Store =>
    (index, value) => {
      target[index] = value;
    };

  /** Σ_d φ(q_id) Y_ide: [tokens, E + 1], numerators and denominator; and which rows are summed directly. */
  const sums = (head: Head, phiQ: Float64Array, phiK: Float64Array) => {
    const { tokens } = head;
    const total = float64Array("cpu attention", tokens * width);
    for (let d = 0; d < dim; d++) {
      toeplitz.multiply(expand(head, phiK, d), tokens, width, spectrumOf(head.index), (index, value) => {
        total[index]! += phiQ[Math.floor(index / width) * dim + d]! * value;
      });
    }
    const weights = weightsOf(head.index);
    const norm = Math.sqrt(exponentialsOf(weights, shape).reduce((sum, x) => sum + x * x, 0));
    const squares = new Float64Array(dim);
    for (let at = 0; at < tokens * dim; at++) squares[at % dim]! += phiK[at]! ** 2;
    const rows: number[] = [];
    for (let i = 0; i < tokens; i++) {
      let bound = 0;
      for (let d = 0; d < dim; d++) bound += MARGIN * norm * Math.sqrt(squares[d]!) * phiQ[i * dim + d]!;
      if (!(total[i * width + valueDim]! <= bound)) continue;
      rows.push(i);
      direct.forward(head, weights, i, total);
    }
    return { total, rows };
  };

  return {
    forward(head, out) {
      const { phiQ, phiK } = featuresOf(head);
      const { total } = sums(head, phiQ, phiK);
      for (let i = 0; i < head.tokens; i++) {
        const denominator = total[i * width + valueDim]!;
        for (let e = 0; e < valueDim; e++) out[i * valueDim + e] = isNothing(denominator) ? 0 : total[i * width + e]! / denominator;
      }
    },

    backward(head, g, { dq, dk, dv }, weights) {
      const { tokens, v } = head;
      const { phiQ, phiK } = featuresOf(head);
      const { total, rows } = sums(head, phiQ, phiK);
      // The gradient of numerators and denominator: g/δ and −(g·o)/δ.
      const inner = float64Array("cpu attention", tokens * width);
      for (let i = 0; i < tokens; i++) {
        const denominator = total[i * width + valueDim]!;
        if (isNothing(denominator)) continue;
        let product = 0;
        for (let e = 0; e < valueDim; e++) {
          inner[i * width + e] = g[i * valueDim + e]! / denominator;
          product += (g[i * valueDim + e]! * total[i * width + e]!) / denominator;
        }
        inner[i * width + valueDim] = -product / denominator;
      }
      for (const i of rows) inner.fill(0, i * width, (i + 1) * width);
      dv.fill(0);
      const spectrum = spectrumOf(head.index);
      const [y, dy, dx] = [0, 1, 2].map(() => float64Array("cpu attention", tokens * width)) as [Float64Array, Float64Array, Float64Array];
      for (let d = 0; d < dim; d++) {
        const x = expand(head, phiK, d);
        toeplitz.multiply(x, tokens, width, spectrum, into(y));
        for (let at = 0; at < tokens * width; at++) dy[at] = phiQ[Math.floor(at / width) * dim + d]! * inner[at]!;
        toeplitz.multiply(dy, tokens, width, spectrum, into(dx), true);
        if (weights) toeplitz.correlate(dy, x, tokens, width, weights.spectrum);
        for (let i = 0; i < tokens; i++) {
          let [query, key] = [0, dx[i * width + valueDim]!];
          for (let e = 0; e < width; e++) query += inner[i * width + e]! * y[i * width + e]!;
          for (let e = 0; e < valueDim; e++) {
            key += dx[i * width + e]! * v[i * valueDim + e]!;
            dv[i * valueDim + e]! += phiK[i * dim + d]! * dx[i * width + e]!;
          }
          const at = i * dim + d;
          dq[at] = featureSlope(features, phiQ[at]!) * query;
          dk[at] = featureSlope(features, phiK[at]!) * key;
        }
      }
      for (const i of rows) direct.backward(head, weightsOf(head.index), i, g, { dq, dk, dv }, weights);
    },
  };
}
