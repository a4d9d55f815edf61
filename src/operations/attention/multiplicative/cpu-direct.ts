import { float64Array } from "../../../math/memory.ts";
import type { BiasSums, Head, HeadGradients } from "../cpu-head.ts";
import type { RowFeatures } from "../linear/cpu-state.ts";
import type { AttentionShape } from "../spec.ts";

/** Rows of an attention with a multiplicative bias by their definition, a query and a key at a time. */
export interface DirectRows {
  /** Overwrites row `i` of the totals, numerators and denominator, relative to its largest term: zeros where it sees nothing. */
  forward(head: Head, weights: Float64Array, i: number, totals: Float64Array): void;
  /** Adds to the gradients of everything what that row adds, g of which has the output o. */
  backward(head: Head, weights: Float64Array, i: number, g: Float64Array, gradients: HeadGradients, bias: BiasSums | undefined): void;
}

export function createDirectRows(features: RowFeatures, shape: AttentionShape): DirectRows {
  const { features: dim, valueDim, causal, length } = shape;
  const [height, width] = shape.grid ?? [1, length];
  const visible = ({ tokens }: Head, i: number) => (causal ? i + 1 : tokens);

  /** The place of the weight of a pair. */
  const placeOf = (i: number, j: number) =>
    (Math.floor(j / width) - Math.floor(i / width) + height - 1) * (2 * width - 1) + (j % width) - (i % width) + width - 1;

  const relu = features === "relu";
  const logFeature = (x: number): number => (features === "exponential" ? x : x > 0 ? Math.log(relu ? x : x + 1) : relu ? -Infinity : x);
  const slopeOverFeature = (x: number): number => (features === "exponential" ? 1 : x > 0 ? 1 / (relu ? x : x + 1) : relu ? 0 : 1);

  /** exp(b_{j−i}) φ(q_id) φ(k_jd), relative to the largest, and the sum. */
  const termsOf = ({ q, k }: Head, weights: Float64Array, i: number, count: number) => {
    const terms = float64Array("cpu attention", count * dim).fill(-Infinity);
    const own = Float64Array.from({ length: dim }, (_, d) => logFeature(q[i * dim + d]!));
    const keys = (j: number) => Float64Array.from({ length: dim }, (_, d) => own[d]! + logFeature(k[j * dim + d]!));
    // First the largest weight: beside one of −1e38 nothing would be left of a key.
    let largest = -Infinity;
    for (let j = 0; j < count; j++) if (keys(j).some((x) => x > -Infinity)) largest = Math.max(largest, weights[placeOf(i, j)]!);
    let top = -Infinity;
    for (let j = 0; largest > -Infinity && j < count; j++) {
      const bias = weights[placeOf(i, j)]! - largest;
      // A weight of −∞ is stronger than all else.
      if (bias > -Infinity)
        terms.set(
          keys(j).map((x) => x + bias),
          j * dim,
        );
      for (let at = j * dim; at < (j + 1) * dim; at++) top = Math.max(top, terms[at]!);
    }
    let sum = 0;
    for (let at = 0; at < terms.length; at++) {
      terms[at] = top === -Infinity ? 0 : Math.exp(terms[at]! - top);
      sum += terms[at]!;
    }
    return { terms, sum };
  };

  /** Σ_d of the terms of key j. */
  const pair = (terms: Float64Array, j: number): number => {
    let sum = 0;
    for (let d = 0; d < dim; d++) sum += terms[j * dim + d]!;
    return sum;
  };

  return {
    forward(head, weights, i, totals) {
      const count = visible(head, i);
      const { terms, sum } = termsOf(head, weights, i, count);
      const row = totals.subarray(i * (valueDim + 1), (i + 1) * (valueDim + 1));
      row.fill(0);
      for (let j = 0; j < count; j++) {
        const p = pair(terms, j);
        if (p !== 0) for (let e = 0; e < valueDim; e++) row[e]! += p * head.v[j * valueDim + e]!;
      }
      row[valueDim] = sum;
    },

    backward(head, weights, i, g, { dq, dk, dv }, bias) {
      const { q, k, v } = head;
      const count = visible(head, i);
      const { terms, sum } = termsOf(head, weights, i, count);
      if (sum === 0) return;
      const inner = float64Array("cpu attention", count);
      let product = 0;
      for (let j = 0; j < count; j++) {
        const p = pair(terms, j) / sum;
        if (p === 0) continue;
        for (let e = 0; e < valueDim; e++) {
          inner[j]! += g[i * valueDim + e]! * v[j * valueDim + e]!;
          dv[j * valueDim + e]! += p * g[i * valueDim + e]!;
        }
        product += p * inner[j]!;
      }
      const querySlopes = Float64Array.from({ length: dim }, (_, d) => slopeOverFeature(q[i * dim + d]!));
      for (let j = 0; j < count; j++) {
        for (let d = 0; d < dim; d++) {
          const term = terms[j * dim + d]!;
          if (term === 0) continue;
          const a = (term / sum) * (inner[j]! - product);
          dq[i * dim + d]! += a * querySlopes[d]!;
          dk[j * dim + d]! += a * slopeOverFeature(k[j * dim + d]!);
          if (bias) bias.direct[placeOf(i, j)]! += a;
        }
      }
    },
  };
}
