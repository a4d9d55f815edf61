import { float64Array } from "../../math/memory.ts";
import { orthogonalFeatures } from "../../math/random-features.ts";
import type { Head, HeadAttention } from "./cpu-head.ts";
import type { AttentionShape } from "./spec.ts";

/** Features of the rows of `x`, and gradients of rows from those of their features, where nothing is yet. */
interface Projection {
  project(x: Float64Array, features: Float64Array, keys: boolean): void;
  back(gradients: Float64Array, x: Float64Array, dx: Float64Array, keys: boolean): void;
}

/**
 * Attention of features that are made of queries and keys first.
 *
 * @param linear attention of these features: SIKF of random ones, ReLU of those of DPFP
 */
export function createProjected(shape: AttentionShape, linear: HeadAttention): HeadAttention {
  const { features: count } = shape;
  const { project, back } = createProjection(shape);
  const featureRows = ({ tokens, keys = tokens }: Head) =>
    [float64Array("cpu attention", tokens * count), float64Array("cpu attention", keys * count)] as const;
  const projected = (head: Head): Head => {
    const [q, k] = featureRows(head);
    project(head.q, q, false);
    project(head.k, k, true);
    return { ...head, q, k };
  };
  return {
    forward: (head, out) => linear.forward(projected(head), out),
    backward(head, g, { dq, dk, dv }, weights) {
      const { q, k } = head;
      const features = featureRows(head);
      const inner = { dq: features[0], dk: features[1], dv };
      linear.backward(projected(head), g, inner, weights);
      back(inner.dq, q, dq.fill(0), false);
      back(inner.dk, k, dk.fill(0), true);
    },
  };
}

/** What makes the features of queries and keys. */
export function createProjection(shape: AttentionShape): Projection {
  return shape.featureMap === "dpfp" ? dpfpProjection(shape) : randomProjection(shape);
}

/**
 * FAVOR+ (Choromanski et al. 2020): φ(x)_r = exp(w_r·x′ − |x′|²/2) with x′ = √scale·x. That is SIKF attention of w_r·q′ and
 * w_r·k′ − |k′|²/2: the query's own factor exp(−|q′|²/2) cancels.
 */
function randomProjection({ headDim: dim, features: count, seed, scale }: AttentionShape): Projection {
  const features = orthogonalFeatures(count, dim, seed).map((x) => x * Math.sqrt(scale));
  return {
    project(x, result, keys) {
      for (let i = 0; i * dim < x.length; i++) {
        let square = 0;
        for (let d = 0; keys && d < dim; d++) square += x[i * dim + d]! ** 2;
        for (let r = 0; r < count; r++) {
          let sum = (-scale * square) / 2;
          for (let d = 0; d < dim; d++) sum += features[r * dim + d]! * x[i * dim + d]!;
          result[i * count + r] = sum;
        }
      }
    },
    back(gradients, x, dx, keys) {
      for (let i = 0; i * dim < x.length; i++) {
        let total = 0;
        for (let r = 0; r < count; r++) total += gradients[i * count + r]!;
        for (let d = 0; d < dim; d++) {
          let sum = keys ? -scale * x[i * dim + d]! * total : 0;
          for (let r = 0; r < count; r++) sum += features[r * dim + d]! * gradients[i * count + r]!;
          dx[i * dim + d] = sum;
        }
      }
    },
  };
}

/** DPFP (Schlag et al. 2021): with x′ = [max(x, 0), max(−x, 0)] and j = 1 … ν, the products x′_i x′_{i−j}, indices modulo 2D. */
function dpfpProjection({ headDim: dim, features: count }: AttentionShape): Projection {
  const parts = 2 * dim;
  const part = (x: Float64Array, row: number, i: number) => Math.max(0, i < dim ? x[row * dim + i]! : -x[row * dim + i - dim]!);
  /** Calls `visit` for every feature, with its place and those of its factors. */
  const eachFeature = (x: Float64Array, visit: (at: number, row: number, i: number, other: number) => void) => {
    for (let at = 0; at < (x.length / dim) * count; at++) {
      const [i, shift] = [at % parts, Math.floor((at % count) / parts) + 1];
      visit(at, Math.floor(at / count), i, (i - shift + parts) % parts);
    }
  };
  return {
    project(x, features) {
      eachFeature(x, (at, row, i, other) => {
        features[at] = part(x, row, i) * part(x, row, other);
      });
    },
    back(gradients, x, dx) {
      const add = (row: number, i: number, slope: number) => {
        if (part(x, row, i) > 0) dx[row * dim + (i % dim)]! += i < dim ? slope : -slope;
      };
      eachFeature(x, (at, row, i, other) => {
        add(row, i, gradients[at]! * part(x, row, other));
        add(row, other, gradients[at]! * part(x, row, i));
      });
    },
  };
}
