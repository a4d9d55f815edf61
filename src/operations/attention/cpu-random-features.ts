import { float64Array } from "../../math/memory.ts";
import { orthogonalFeatures } from "../../math/random-features.ts";
import type { AttentionShape } from "./spec.ts";
import type { Head, HeadAttention } from "./cpu-head.ts";

type RandomShape = Pick<AttentionShape, "features" | "seed" | "scale">;

/** √scale·w_r, one after the other. */
function scaledFeatures(dim: number, { features, seed, scale }: RandomShape): Float64Array {
  return orthogonalFeatures(features, dim, seed).map((x) => x * Math.sqrt(scale));
}

/** Rows of `dim` numbers to the logarithms of their random features: of queries w_r·q′, of keys w_r·k′ − |k′|²/2. */
export function randomProjection(dim: number, random: RandomShape, features = scaledFeatures(dim, random)) {
  const { features: count, scale } = random;
  return (x: Float32Array | Float64Array, keys: boolean, rows = x.length / dim): Float64Array => {
    const result = float64Array("cpu attention", rows * count);
    for (let i = 0; i < rows; i++) {
      let square = 0;
      for (let d = 0; keys && d < dim; d++) square += x[i * dim + d]! ** 2;
      for (let r = 0; r < count; r++) {
        let sum = (-scale * square) / 2;
        for (let d = 0; d < dim; d++) sum += features[r * dim + d]! * x[i * dim + d]!;
        result[i * count + r] = sum;
      }
    }
    return result;
  };
}

/**
 * FAVOR+ (Choromanski et al. 2020): φ(x)_r = exp(w_r·x′ − |x′|²/2) with x′ = √scale·x. That is SIKF attention of w_r·q′ and
 * w_r·k′ − |k′|²/2: the query's own factor exp(−|q′|²/2) cancels.
 *
 * @param sikf attention of `count` exponentials
 */
export function createRandom(dim: number, random: RandomShape, sikf: HeadAttention): HeadAttention {
  const { features: count, scale } = random;
  const features = scaledFeatures(dim, random);
  const project = randomProjection(dim, random, features);
  const projected = (head: Head): Head => ({ ...head, q: project(head.q, false, head.tokens), k: project(head.k, true, head.tokens) });

  /** From the gradient of projected rows to that of rows. */
  const back = (from: Float64Array, rows: number, to: Float64Array, keys: Float64Array | undefined) => {
    for (let i = 0; i < rows; i++) {
      let total = 0;
      for (let r = 0; r < count; r++) total += from[i * count + r]!;
      for (let d = 0; d < dim; d++) {
        let sum = keys ? -scale * keys[i * dim + d]! * total : 0;
        for (let r = 0; r < count; r++) sum += features[r * dim + d]! * from[i * count + r]!;
        to[i * dim + d] = sum;
      }
    }
  };

  return {
    forward: (head, out) => sikf.forward(projected(head), out),
    backward(head, g, { dq, dk, dv }, weights) {
      const { tokens, k } = head;
      const inner = { dq: float64Array("cpu attention", tokens * count), dk: float64Array("cpu attention", tokens * count), dv };
      sikf.backward(projected(head), g, inner, weights);
      back(inner.dq, tokens, dq, undefined);
      back(inner.dk, tokens, dk, k);
    },
  };
}
