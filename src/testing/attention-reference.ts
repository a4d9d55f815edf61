/**
 * Attention and its gradient by their definitions, as sums over all pairs of tokens, O(N²): what the tests hold the fast code to. They share
 * nothing with it but the vectors of the random features, which are part of the definition.
 */
import { orthogonalFeatures } from "../math/random-features.ts";
import type { AttentionShape } from "./specs.ts";

/** Tensors of an attention: `q`, `k`: [batch, heads, N, D], `v`: [batch, heads, N, E], `weights` with a bias. */
export interface AttentionInputs {
  readonly q: ArrayLike<number>;
  readonly k: ArrayLike<number>;
  readonly v: ArrayLike<number>;
  readonly weights?: ArrayLike<number> | undefined;
  /** Tokens that count, of each batch row. */
  readonly lengths?: ArrayLike<number> | undefined;
}

export interface AttentionGradients {
  readonly dq: Float64Array;
  readonly dk: Float64Array;
  readonly dv: Float64Array;
  /** Zeros without a bias. */
  readonly dBias: Float64Array;
}

/** A bias "fastrpb" is assumed where there are weights and none is named. */
export type ReferenceShape = Pick<AttentionShape, "batch" | "heads" | "length" | "headDim" | "valueDim"> & Partial<AttentionShape>;

/**
 * out_i = Σ_j P_ij v_j, plus Σ_j w_{j−i} v_j with a bias "fastrpb", over the tokens that count, and only j ≤ i if causal. P_ij is A_ij / Σ_j A_ij,
 * or 0 where that sum is 0:
 *
 * - A_ij = exp(scale·q_i·k_j) for kind "softmax", or exp(scale·q_i·k_j + b_{j−i}) with a bias "logits", or 0 where j is not in the window of i
 * - A_ij = exp(b_{j−i}) Σ_d φ(q_i)_d φ(k_j)_d for linear attention, without the first factor but for a bias "multiplicative"
 * - P_ij = Σ_d softmax_d(q_i)_d softmax_j(k_jd) for `"softmax"` features
 *
 * Result: [batch, heads, N, E]; zero beyond the lengths.
 */
export function attentionReference(shape: ReferenceShape, inputs: AttentionInputs): Float64Array {
  const { valueDim } = shape;
  const out = new Float64Array(shape.batch * shape.heads * shape.length * valueDim);
  forEachHead(shape, inputs, ({ first, tokens, v, weight, additive, attention }) => {
    for (let i = 0; i < tokens; i++) {
      const p = attention.row(i);
      const count = visible(shape, tokens, i);
      for (let j = 0; j < count; j++) {
        const share = p[j]! + (additive ? weight(i, j) : 0);
        for (let e = 0; e < valueDim; e++) out[(first + i) * valueDim + e]! += share * v[j * valueDim + e]!;
      }
    }
  });
  return out;
}

/** The gradients of Σ dOut·out, as the derivatives of one sum after the other. */
export function attentionGradientReference(shape: ReferenceShape, inputs: AttentionInputs, dOut: ArrayLike<number>): AttentionGradients {
  const { batch, heads, length, headDim, valueDim } = shape;
  const rows = batch * heads * length;
  const [dq, dk, dv] = [headDim, headDim, valueDim].map((dim) => new Float64Array(rows * dim)) as [Float64Array, Float64Array, Float64Array];
  const [height, width] = shape.grid ?? [1, length];
  const dBias = new Float64Array(heads * (2 * height - 1) * (2 * width - 1));
  forEachHead(shape, inputs, ({ first, tokens, v, weight, place, additive, attention }) => {
    for (let i = 0; i < tokens; i++) {
      const p = attention.row(i);
      const count = visible(shape, tokens, i);
      const dp = new Float64Array(count);
      for (let j = 0; j < count; j++) {
        const share = p[j]! + (additive ? weight(i, j) : 0);
        for (let e = 0; e < valueDim; e++) {
          const g = dOut[(first + i) * valueDim + e]!;
          dp[j]! += g * v[j * valueDim + e]!;
          dv[(first + j) * valueDim + e]! += share * g;
        }
        if (additive) dBias[place(i, j)]! += dp[j]!;
      }
      const factors = attention.back(i, dp);
      if (shape.bias === "multiplicative" || shape.bias === "logits") for (let j = 0; j < count; j++) dBias[place(i, j)]! += factors[j]!;
    }
    const gradients = attention.gradients();
    dq.set(gradients.dq, first * headDim);
    dk.set(gradients.dk, first * headDim);
  });
  return { dq, dk, dv, dBias };
}

/** How many tokens query i sees, but for a window. */
function visible({ causal = false }: ReferenceShape, tokens: number, i: number): number {
  return causal ? i + 1 : tokens;
}

/** Whether query i sees key j, of those that are {@link visible}. */
function isNear({ window = Infinity }: ReferenceShape, i: number, j: number): boolean {
  return Math.abs(i - j) < window;
}

interface ReferenceHead {
  /** Its first row in the tensors. */
  readonly first: number;
  readonly tokens: number;
  readonly v: Float64Array;
  /** Where the weight of the offset from i to j lies, and what it is. */
  place(i: number, j: number): number;
  weight(i: number, j: number): number;
  /** Whether the weights are added. */
  readonly additive: boolean;
  readonly attention: HeadReference;
}

function forEachHead(shape: ReferenceShape, inputs: AttentionInputs, visit: (head: ReferenceHead) => void): void {
  const { batch, heads, length, headDim, valueDim } = shape;
  const { weights, lengths } = inputs;
  const bias = shape.bias ?? (weights ? "fastrpb" : "none");
  const [height, width] = shape.grid ?? [1, length];
  for (let slice = 0; slice < batch * heads; slice++) {
    const first = slice * length;
    const tokens = lengths?.[Math.floor(slice / heads)] ?? length;
    const rows = (tensor: ArrayLike<number>, dim: number) => Float64Array.from({ length: tokens * dim }, (_, at) => tensor[first * dim + at]!);
    const place = (i: number, j: number) => {
      const [dy, dx] = [Math.floor(j / width) - Math.floor(i / width), (j % width) - (i % width)];
      return ((slice % heads) * (2 * height - 1) + dy + height - 1) * (2 * width - 1) + dx + width - 1;
    };
    const weight = (i: number, j: number) => weights![place(i, j)]!;
    const [q, k, v] = [rows(inputs.q, headDim), rows(inputs.k, headDim), rows(inputs.v, valueDim)];
    const attention = headReference(shape, tokens, q, k, bias === "multiplicative" || bias === "logits" ? weight : () => 0);
    visit({ first, tokens, v, place, weight, additive: bias === "fastrpb", attention });
  }
}

/** The matrix P of a head, row by row. */
interface HeadReference {
  /** P_ij of all j that query i sees. */
  row(i: number): Float64Array;
  /** Adds to the gradients what dL/dP_ij makes; gives dL/db_{j−i} of row i. */
  back(i: number, dp: Float64Array): Float64Array;
  gradients(): { readonly dq: Float64Array; readonly dk: Float64Array };
}

type Bias = (i: number, j: number) => number;

function headReference(shape: ReferenceShape, tokens: number, q: Float64Array, k: Float64Array, bias: Bias): HeadReference {
  const { kind = "linear", featureMap = "sikf", headDim, seed = 0 } = shape;
  if (kind === "softmax") return softmaxReference(shape, tokens, q, k, bias);
  switch (featureMap) {
    case "softmax":
      return efficientReference(shape, tokens, q, k);
    case "sikf":
      return linearReference(shape, tokens, q, k, headDim, true, bias);
    case "favor+": {
      const { features: count = headDim, scale = 1 } = shape;
      const w = orthogonalFeatures(count, headDim, seed);
      // log φ(x)_r = √scale·w_r·x − scale·|x|²/2
      const project = (x: Float64Array) => {
        const logs = new Float64Array(tokens * count);
        for (let at = 0; at < logs.length; at++) {
          const [i, r] = [Math.floor(at / count), at % count];
          for (let d = 0; d < headDim; d++)
            logs[at]! += Math.sqrt(scale) * w[r * headDim + d]! * x[i * headDim + d]! - (scale * x[i * headDim + d]! ** 2) / 2;
        }
        return logs;
      };
      const back = (dLogs: Float64Array, x: Float64Array) =>
        x.map((value, at) => {
          const [i, d] = [Math.floor(at / headDim), at % headDim];
          let sum = 0;
          for (let r = 0; r < count; r++) sum += dLogs[i * count + r]! * (Math.sqrt(scale) * w[r * headDim + d]! - scale * value);
          return sum;
        });
      const linear = linearReference(shape, tokens, project(q), project(k), count, true, bias);
      const gradients = () => {
        const { dq, dk } = linear.gradients();
        return { dq: back(dq, q), dk: back(dk, k) };
      };
      return { ...linear, gradients };
    }
    default: {
      const phi = (x: number) => (featureMap === "relu" ? Math.max(x, 0) : x > 0 ? x + 1 : Math.exp(x));
      const slope = (x: number) => (x > 0 ? 1 : featureMap === "relu" ? 0 : Math.exp(x));
      const linear = linearReference(shape, tokens, q.map(phi), k.map(phi), headDim, false, bias);
      const gradients = () => {
        const { dq, dk } = linear.gradients();
        return { dq: dq.map((value, at) => value * slope(q[at]!)), dk: dk.map((value, at) => value * slope(k[at]!)) };
      };
      return { ...linear, gradients };
    }
  }
}

/**
 * A_ij = exp(b_{j−i}) Σ_d T_ijd with T_ijd = exp(x_id + y_jd), or x_id y_jd. Gradients are those of x and y, [tokens, count].
 *
 * Exponents are relative to the largest of a row: that factor cancels, and is what keeps the terms finite.
 */
function linearReference(
  shape: ReferenceShape,
  tokens: number,
  x: Float64Array,
  y: Float64Array,
  count: number,
  exponential: boolean,
  bias: Bias,
): HeadReference {
  const [dq, dk] = [x.slice().fill(0), y.slice().fill(0)];

  const rowOf = (i: number) => {
    const seen = visible(shape, tokens, i);
    let [top, topBias, denominator] = [-Infinity, -Infinity, 0];
    for (let j = 0; j < seen; j++) {
      topBias = Math.max(topBias, bias(i, j));
      for (let d = 0; d < count; d++) top = Math.max(top, x[i * count + d]! + y[j * count + d]!);
    }
    const term = (j: number, d: number) => {
      const [xd, yd] = [x[i * count + d]!, y[j * count + d]!];
      return exponential ? Math.exp(xd + yd - top) : xd * yd;
    };
    const factors = Float64Array.from({ length: seen }, (_, j) => Math.exp(bias(i, j) - topBias));
    const p = new Float64Array(seen);
    for (let j = 0; j < seen; j++) {
      for (let d = 0; d < count; d++) p[j]! += term(j, d);
      p[j]! *= factors[j]!;
      denominator += p[j]!;
    }
    for (let j = 0; j < seen; j++) p[j] = denominator === 0 ? 0 : p[j]! / denominator;
    return { p, term, factors, denominator };
  };

  return {
    row: (i) => rowOf(i).p,
    back(i, dp) {
      const { p, term, factors, denominator } = rowOf(i);
      const mean = dot(p, dp);
      for (let j = 0; j < p.length && denominator !== 0; j++) {
        const dA = (factors[j]! * (dp[j]! - mean)) / denominator;
        for (let d = 0; d < count; d++) {
          dq[i * count + d]! += dA * (exponential ? term(j, d) : y[j * count + d]!);
          dk[j * count + d]! += dA * (exponential ? term(j, d) : x[i * count + d]!);
        }
      }
      return p.map((share, j) => share * (dp[j]! - mean));
    },
    gradients: () => ({ dq, dk }),
  };
}

function softmaxReference(shape: ReferenceShape, tokens: number, q: Float64Array, k: Float64Array, bias: Bias): HeadReference {
  const { headDim, scale = 1 } = shape;
  const [dq, dk] = [q.slice().fill(0), k.slice().fill(0)];
  const row = (i: number) => {
    const query = q.subarray(i * headDim, (i + 1) * headDim);
    return softmax(
      Float64Array.from({ length: visible(shape, tokens, i) }, (_, j) =>
        isNear(shape, i, j) ? scale * dot(query, k.subarray(j * headDim, (j + 1) * headDim)) + bias(i, j) : -Infinity,
      ),
    );
  };
  return {
    row,
    back(i, dp) {
      const dLogits = softmaxBack(row(i), dp);
      for (const [j, dLogit] of dLogits.entries()) {
        for (let d = 0; d < headDim; d++) {
          dq[i * headDim + d]! += scale * dLogit * k[j * headDim + d]!;
          dk[j * headDim + d]! += scale * dLogit * q[i * headDim + d]!;
        }
      }
      return dLogits;
    },
    gradients: () => ({ dq, dk }),
  };
}

/** Efficient Attention: two softmaxes, and no denominator. */
function efficientReference(shape: ReferenceShape, tokens: number, q: Float64Array, k: Float64Array): HeadReference {
  const { headDim } = shape;
  const [dq, dk] = [q.slice().fill(0), k.slice().fill(0)];
  const rowOf = (i: number) => {
    const seen = visible(shape, tokens, i);
    const overFeatures = softmax(q.subarray(i * headDim, (i + 1) * headDim));
    const overTokens = Array.from({ length: headDim }, (_, d) => softmax(Float64Array.from({ length: seen }, (__, j) => k[j * headDim + d]!)));
    return { overFeatures, overTokens };
  };
  return {
    row(i) {
      const { overFeatures, overTokens } = rowOf(i);
      return overTokens[0]!.map((_, j) => overTokens.reduce((sum, shares, d) => sum + overFeatures[d]! * shares[j]!, 0));
    },
    back(i, dp) {
      const { overFeatures, overTokens } = rowOf(i);
      const dFeatures = Float64Array.from(overTokens, (shares) => dot(shares, dp));
      softmaxBack(overFeatures, dFeatures).forEach((value, d) => (dq[i * headDim + d]! += value));
      for (const [d, shares] of overTokens.entries()) {
        const dShares = dp.map((value) => value * overFeatures[d]!);
        softmaxBack(shares, dShares).forEach((value, j) => (dk[j * headDim + d]! += value));
      }
      return dp.map(() => 0);
    },
    gradients: () => ({ dq, dk }),
  };
}

function softmax(x: Float64Array): Float64Array {
  const top = x.reduce((largest, value) => Math.max(largest, value), -Infinity);
  if (top === -Infinity) return x.map(() => 0);
  const terms = x.map((value) => Math.exp(value - top));
  const sum = terms.reduce((total, term) => total + term, 0);
  return terms.map((term) => term / sum);
}

function softmaxBack(shares: Float64Array, gradient: Float64Array): Float64Array {
  const mean = dot(shares, gradient);
  return shares.map((share, at) => share * (gradient[at]! - mean));
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let at = 0; at < x.length; at++) sum += x[at]! * y[at]!;
  return sum;
}
