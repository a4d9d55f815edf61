/** Attention by its definition, O(N²): what the tests hold the fast code to. It shares nothing with it. */
import { orthogonalFeatures } from "../math/random-features.ts";
import type { AttentionShape } from "../spec/operations.ts";
import { toeplitzReference } from "./reference.ts";

/** Tensors of an attention: `q`, `k`: [batch, heads, N, D], `v`: [batch, heads, N, E], `weights` with a bias. */
export interface AttentionInputs {
  readonly q: ArrayLike<number>;
  readonly k: ArrayLike<number>;
  readonly v: ArrayLike<number>;
  readonly weights?: ArrayLike<number> | undefined;
  /** Tokens that count, of each batch row. */
  readonly lengths?: readonly number[] | undefined;
}

type Shape = Pick<AttentionShape, "batch" | "heads" | "length" | "headDim" | "valueDim"> & Partial<AttentionShape>;

/**
 * out_i = Σ_j P_ij v_j, plus Σ_j W_ij v_j with a bias "fastrpb", which is assumed where there are weights and none is named. P is what
 * {@link weightsReference} gives. Result: [batch, heads, N, E]; zero beyond the lengths.
 */
export function attentionReference(shape: Shape, inputs: AttentionInputs): Float64Array {
  const { batch, heads, length, headDim, valueDim } = shape;
  const { weights, lengths } = inputs;
  const bias = shape.bias ?? (weights ? "fastrpb" : "none");
  const tokens = Array.from({ length: batch }, (_, b) => lengths?.[b] ?? length);
  const rows = (tensor: ArrayLike<number>, slice: number, dim: number): number[][] =>
    Array.from({ length: tokens[Math.floor(slice / heads)]! }, (_, i) =>
      Array.from({ length: dim }, (__, d) => tensor[(slice * length + i) * dim + d]!),
    );
  const v = new Float64Array(batch * heads * length * valueDim);
  for (let slice = 0; slice < batch * heads; slice++) {
    for (const [j, row] of rows(inputs.v, slice, valueDim).entries()) v.set(row, (slice * length + j) * valueDim);
  }
  const out = bias === "fastrpb" ? toeplitzReference({ ...shape, channels: valueDim }, v, weights!) : new Float64Array(v.length);
  for (let slice = 0; slice < batch * heads; slice++) {
    const count = tokens[Math.floor(slice / heads)]!;
    out.fill(0, (slice * length + count) * valueDim, (slice + 1) * length * valueDim);
    const multiplier = (i: number, j: number) => (bias === "multiplicative" ? Math.exp(positionWeight(shape, weights!, slice % heads, i, j)) : 1);
    const p = weightsReference(shape, rows(inputs.q, slice, headDim), rows(inputs.k, slice, headDim), multiplier);
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < count; j++) {
        for (let e = 0; e < valueDim; e++) out[(slice * length + i) * valueDim + e]! += p[i]![j]! * v[(slice * length + j) * valueDim + e]!;
      }
    }
  }
  return out;
}

/** b_{j−i}, or on a grid that of the offset. */
function positionWeight({ length, grid }: Shape, weights: ArrayLike<number>, head: number, i: number, j: number): number {
  const [height, width] = grid ?? [1, length];
  const wide = 2 * width - 1;
  const rows = Math.floor(j / width) - Math.floor(i / width);
  return weights[head * (2 * height - 1) * wide + (rows + height - 1) * wide + (j % width) - (i % width) + width - 1]!;
}

/** The weight P_ij of v_j in the output of token i, of one head. */
export function weightsReference(
  shape: Shape,
  q: readonly (readonly number[])[],
  k: readonly (readonly number[])[],
  multiplier: (i: number, j: number) => number,
): number[][] {
  const { kind = "linear", featureMap = "sikf", causal = false, scale = 1 } = shape;
  const sees = (i: number, j: number) => !causal || j <= i;
  if (kind === "linear" && featureMap === "softmax") {
    return q.map((query, i) => {
      const overFeatures = softmax(query);
      const overPositions = query.map((_, d) => softmax(k.map((key, j) => (sees(i, j) ? key[d]! : -Infinity))));
      return k.map((_, j) => overFeatures.reduce((sum, rho, d) => sum + rho * overPositions[d]![j]!, 0));
    });
  }
  if (kind === "softmax") {
    return q.map((query, i) => softmax(k.map((key, j) => (sees(i, j) ? scale * dot(query, key) : -Infinity))));
  }
  let [queries, keys] = [q, k];
  if (featureMap === "favor+") {
    const { features: count = 0, seed = 0, headDim } = shape;
    const w = orthogonalFeatures(count, headDim, seed);
    const project = (x: readonly number[]) =>
      Array.from({ length: count }, (_, r) => Math.sqrt(scale) * dot(x, w.subarray(r * headDim, (r + 1) * headDim)) - (scale * dot(x, x)) / 2);
    [queries, keys] = [q.map(project), k.map(project)];
  }
  const exponential = featureMap === "sikf" || featureMap === "favor+";
  return queries.map((query, i) => {
    // With φ = exp, a factor exp(−top) on all of row i cancels; it is what keeps the terms finite.
    const top = Math.max(...keys.flatMap((key, j) => (sees(i, j) ? key.map((x, d) => x + query[d]!) : [])));
    const similarity = (key: readonly number[]) =>
      key.reduce((sum, x, d) => sum + (exponential ? Math.exp(x + query[d]! - top) : phi(featureMap, x) * phi(featureMap, query[d]!)), 0);
    const row = keys.map((key, j) => (sees(i, j) ? similarity(key) * multiplier(i, j) : 0));
    const denominator = row.reduce((sum, x) => sum + x, 0);
    return row.map((x) => (denominator === 0 ? 0 : x / denominator));
  });
}

function phi(featureMap: string, x: number): number {
  if (featureMap === "relu") return Math.max(x, 0);
  return x > 0 ? x + 1 : 1 + Math.expm1(x);
}

function softmax(x: readonly number[]): number[] {
  const top = Math.max(...x);
  const terms = x.map((value) => Math.exp(value - top));
  const sum = terms.reduce((total, term) => total + term, 0);
  return terms.map((term) => term / sum);
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
