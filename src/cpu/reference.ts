/**
 * The definitions of the README as direct double loops, O(N²): what the tests hold the fast code to. They share nothing with it.
 */
import type { AttentionSpec, ToeplitzSpec } from "../spec/operations.ts";

/** X_k = Σ_n x_n exp(∓2πi kn/N), minus for `"forward"`; unscaled. `x`: N complex numbers, interleaved. */
export function dftReference(x: ArrayLike<number>, direction: "forward" | "inverse"): Float64Array {
  const length = x.length / 2;
  const turn = ((direction === "forward" ? -2 : 2) * Math.PI) / length;
  const result = new Float64Array(x.length);
  for (let k = 0; k < length; k++) {
    for (let n = 0; n < length; n++) {
      // The remainder keeps the angle small, hence exact.
      const angle = turn * ((k * n) % length);
      result[2 * k]! += x[2 * n]! * Math.cos(angle) - x[2 * n + 1]! * Math.sin(angle);
      result[2 * k + 1]! += x[2 * n]! * Math.sin(angle) + x[2 * n + 1]! * Math.cos(angle);
    }
  }
  return result;
}

/** out_i = Σ_j w[j − i + N − 1] v_j. `v`, result: [batch, heads, N, channels]; `weights`: [heads, 2N − 1]. */
export function toeplitzReference(
  spec: Pick<ToeplitzSpec, "batch" | "heads" | "length" | "channels">,
  v: ArrayLike<number>,
  weights: ArrayLike<number>,
): Float64Array {
  const { batch, heads, length, channels } = spec;
  const result = new Float64Array(batch * heads * length * channels);
  for (let slice = 0; slice < batch * heads; slice++) {
    const middle = (slice % heads) * (2 * length - 1) + length - 1;
    for (let i = 0; i < length; i++) {
      for (let j = 0; j < length; j++) {
        const weight = weights[middle + j - i]!;
        for (let c = 0; c < channels; c++) {
          result[(slice * length + i) * channels + c]! += weight * v[(slice * length + j) * channels + c]!;
        }
      }
    }
  }
  return result;
}

/** Tensors of an attention: `q`, `k`: [batch, heads, N, D], `v`: [batch, heads, N, E], `weights`: [heads, 2N − 1] with a bias. */
export interface AttentionInputs {
  readonly q: ArrayLike<number>;
  readonly k: ArrayLike<number>;
  readonly v: ArrayLike<number>;
  readonly weights?: ArrayLike<number> | undefined;
}

/**
 * out_i = Σ_j a_ij v_j / Σ_j a_ij + Σ_j w[j − i + N − 1] v_j with a_ij = Σ_d φ(q_id) φ(k_jd); the second sum where `weights` are given.
 * Result: [batch, heads, N, E].
 */
export function attentionReference(
  spec: Pick<AttentionSpec, "batch" | "heads" | "length" | "headDim" | "valueDim" | "featureMap">,
  inputs: AttentionInputs,
): Float64Array {
  const { batch, heads, length, headDim, valueDim } = spec;
  const { q, k, v, weights } = inputs;
  const result = weights
    ? toeplitzReference({ batch, heads, length, channels: valueDim }, v, weights)
    : new Float64Array(batch * heads * length * valueDim);
  for (let slice = 0; slice < batch * heads; slice++) {
    for (let i = slice * length; i < (slice + 1) * length; i++) {
      // With φ = exp, a factor exp(−top) on all of row i cancels; it is what keeps the terms finite.
      let top = -Infinity;
      for (let j = slice * length; j < (slice + 1) * length; j++) {
        for (let d = 0; d < headDim; d++) top = Math.max(top, q[i * headDim + d]! + k[j * headDim + d]!);
      }
      const numerator = new Float64Array(valueDim);
      let denominator = 0;
      for (let j = slice * length; j < (slice + 1) * length; j++) {
        let similarity = 0;
        for (let d = 0; d < headDim; d++) {
          const x = q[i * headDim + d]!;
          const y = k[j * headDim + d]!;
          similarity += spec.featureMap === "sikf" ? Math.exp(x + y - top) : (elu(x) + 1) * (elu(y) + 1);
        }
        denominator += similarity;
        for (let e = 0; e < valueDim; e++) numerator[e]! += similarity * v[j * valueDim + e]!;
      }
      for (let e = 0; e < valueDim; e++) {
        result[i * valueDim + e]! += denominator === 0 ? 0 : numerator[e]! / denominator;
      }
    }
  }
  return result;
}

function elu(x: number): number {
  return x > 0 ? x : Math.expm1(x);
}
