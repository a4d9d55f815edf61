/**
 * Attention and its gradient by their definitions, as sums over all pairs of tokens, O(N²): what the tests hold the fast code to. They share
 * nothing with it but the vectors of the random features, which are part of the definition.
 */
import { orthogonalFeatures } from "../math/random-features.ts";
import { gridOf, weightPlace } from "./reference.ts";
import type { AttentionShape } from "./specs.ts";

/** Tensors of an attention: `q`: [batch, heads, N, D], `k`: [batch, keyHeads, M, D], `v`: [batch, keyHeads, M, E], `weights` with a bias. */
export interface AttentionInputs {
  readonly q: ArrayLike<number>;
  readonly k: ArrayLike<number>;
  readonly v: ArrayLike<number>;
  readonly weights?: ArrayLike<number> | undefined;
  /** Tokens that count, of each batch row. */
  readonly lengths?: ArrayLike<number> | undefined;
  /** 0 for keys that are not seen, [batch, M]. */
  readonly keyMask?: ArrayLike<number> | undefined;
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
 * out_i = Σ_j P_ij v_j, plus Σ_j w_{j−i} v_j with a bias "fastrpb", over the tokens that count and are not masked, and only j ≤ i if causal. P_ij is A_ij / Σ_j A_ij,
 * or 0 where that sum is 0:
 *
 * - A_ij = exp(scale·q_i·k_j) for kind "softmax", or exp(scale·q_i·k_j + b_{j−i}) with a bias "logits", or 0 where j is not in the window of i
 * - A_ij = exp(b_{j−i}) Σ_d φ(q_i)_d φ(k_j)_d for linear attention, without the first factor but for a bias "multiplicative"
 * - P_ij = Σ_d softmax_d(q_i)_d softmax_j(k_jd) for `"softmax"` features
 *
 * Cross-attention has weights w of the offsets 1 − N … M − 1 in that order; query head h sees the keys of head ⌊h·keyHeads / heads⌋.
 *
 * Result: [batch, heads, N, E]; zero beyond the lengths.
 */
export function attentionReference(shape: ReferenceShape, inputs: AttentionInputs): Float64Array {
  const { valueDim } = shape;
  const out = new Float64Array(shape.batch * shape.heads * shape.length * valueDim);
  forEachHead(shape, inputs, ({ first, tokens, keys, v, weight, additive, isSeen, attention }) => {
    for (let i = 0; i < tokens; i++) {
      const p = attention.row(i);
      const count = visible(shape, keys, i);
      for (let j = 0; j < count; j++) {
        const share = p[j]! + (additive && isSeen(j) ? weight(i, j) : 0);
        for (let e = 0; e < valueDim; e++) out[(first + i) * valueDim + e]! += share * v[j * valueDim + e]!;
      }
    }
  });
  return out;
}

/** The gradients of Σ dOut·out, as the derivatives of one sum after the other. */
export function attentionGradientReference(shape: ReferenceShape, inputs: AttentionInputs, dOut: ArrayLike<number>): AttentionGradients {
  const { batch, heads, length, headDim, valueDim, keyLength = length, keyHeads = heads } = shape;
  const [rows, keyRows] = [batch * heads * length, batch * keyHeads * keyLength];
  const [dq, dk, dv] = [rows * headDim, keyRows * headDim, keyRows * valueDim].map((size) => new Float64Array(size)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  const dBias = new Float64Array(heads * offsets(shape));
  forEachHead(shape, inputs, ({ first, firstKey, tokens, keys, v, weight, place, additive, isSeen, attention }) => {
    for (let i = 0; i < tokens; i++) {
      const p = attention.row(i);
      const count = visible(shape, keys, i);
      const dp = new Float64Array(count);
      for (let j = 0; j < count; j++) {
        const share = p[j]! + (additive && isSeen(j) ? weight(i, j) : 0);
        for (let e = 0; e < valueDim; e++) {
          const g = dOut[(first + i) * valueDim + e]!;
          dp[j]! += g * v[j * valueDim + e]!;
          dv[(firstKey + j) * valueDim + e]! += share * g;
        }
        const at = place(i, j);
        if (additive && at !== undefined && isSeen(j)) dBias[at]! += dp[j]!;
      }
      const factors = attention.back(i, dp);
      if (shape.bias === "multiplicative" || shape.bias === "logits") for (let j = 0; j < count; j++) dBias[place(i, j)!]! += factors[j]!;
    }
    const gradients = attention.gradients();
    dq.set(gradients.dq, first * headDim);
    for (const [at, value] of gradients.dk.entries()) dk[firstKey * headDim + at]! += value;
  });
  return { dq, dk, dv, dBias };
}

/** How many keys of so many query i sees, but for a window. */
function visible({ causal = false }: ReferenceShape, keys: number, i: number): number {
  return causal ? i + 1 : keys;
}

/** How many offsets there are between the tokens of a head. */
function offsets(shape: ReferenceShape): number {
  const [height, width] = gridOf(shape);
  const { between } = shape.form ?? {};
  return between ? between[0] + between[1] - 1 : (2 * height - 1) * (2 * width - 1);
}

/** Whether query i sees key j, of those that are {@link visible}. */
function isNear({ window = Infinity }: ReferenceShape, i: number, j: number): boolean {
  return Math.abs(i - j) < window;
}

interface ReferenceHead {
  /** Its first row in the tensors. */
  readonly first: number;
  readonly tokens: number;
  /** The first row of its keys, and how many they are. */
  readonly firstKey: number;
  readonly keys: number;
  readonly v: Float64Array;
  /** Where the weight of the offset from i to j lies, if there is one, and what it is. */
  place(i: number, j: number): number | undefined;
  weight(i: number, j: number): number;
  /** Whether the weights are added. */
  readonly additive: boolean;
  /** Whether the mask lets key j be seen. */
  isSeen(j: number): boolean;
  readonly attention: HeadReference;
}

function forEachHead(shape: ReferenceShape, inputs: AttentionInputs, visit: (head: ReferenceHead) => void): void {
  const { batch, heads, length, headDim, valueDim, keyLength = length, keyHeads = heads } = shape;
  const { weights, lengths, keyMask } = inputs;
  const bias = shape.bias ?? (weights ? "fastrpb" : "none");
  for (let slice = 0; slice < batch * heads; slice++) {
    const first = slice * length;
    const tokens = lengths?.[Math.floor(slice / heads)] ?? length;
    const [batchRow, head] = [Math.floor(slice / heads), slice % heads];
    const firstKey = (batchRow * keyHeads + Math.floor((head * keyHeads) / heads)) * keyLength;
    const keys = lengths ? tokens : keyLength;
    const rows = (tensor: ArrayLike<number>, from: number, count: number, dim: number) =>
      Float64Array.from({ length: count * dim }, (_, at) => tensor[from * dim + at]!);
    const place = (i: number, j: number) => {
      const at = shape.form?.between ? j - i + length - 1 : weightPlace(shape, tokens, i, j);
      return at === undefined ? undefined : head * offsets(shape) + at;
    };
    const weight = (i: number, j: number) => weights![place(i, j) ?? -1] ?? 0;
    const [q, k] = [rows(inputs.q, first, tokens, headDim), rows(inputs.k, firstKey, keys, headDim)];
    const v = rows(inputs.v, firstKey, keys, valueDim);
    const isSeen = (j: number) => keyMask?.[batchRow * keyLength + j] !== 0;
    const attention = headReference(shape, keys, q, k, bias === "multiplicative" || bias === "logits" ? weight : () => 0, isSeen);
    visit({ first, firstKey, tokens, keys, v, place, weight, additive: bias === "fastrpb", isSeen, attention });
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
type Seen = (j: number) => boolean;

function headReference(shape: ReferenceShape, keys: number, q: Float64Array, k: Float64Array, bias: Bias, isSeen: Seen): HeadReference {
  const { kind = "linear", featureMap = "sikf", headDim, seed = 0 } = shape;
  if (kind === "softmax") return softmaxReference(shape, keys, q, k, bias, isSeen);
  switch (featureMap) {
    case "softmax":
      return efficientReference(shape, keys, q, k, isSeen);
    case "sikf":
      return linearReference(shape, keys, q, k, headDim, true, bias, isSeen);
    case "favor+": {
      const { features: count = headDim, scale = 1 } = shape;
      const w = orthogonalFeatures(count, headDim, seed);
      // log φ(x)_r = √scale·w_r·x − scale·|x|²/2
      const project = (x: Float64Array) => {
        const logs = new Float64Array((x.length / headDim) * count);
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
      const linear = linearReference(shape, keys, project(q), project(k), count, true, bias, isSeen);
      const gradients = () => {
        const { dq, dk } = linear.gradients();
        return { dq: back(dq, q), dk: back(dk, k) };
      };
      return { ...linear, gradients };
    }
    case "dpfp": {
      const { features: count = 2 * headDim } = shape;
      const roll = (x: readonly number[], shift: number) => x.map((_, i) => x.at((i - shift) % x.length)!);
      const shifts = Array.from({ length: count / (2 * headDim) }, (_, j) => j + 1);
      const rows = (x: Float64Array) =>
        Array.from({ length: x.length / headDim }, (_, i) => {
          const row = [...x.subarray(i * headDim, (i + 1) * headDim)];
          return [...row.map((value) => Math.max(value, 0)), ...row.map((value) => Math.max(-value, 0))];
        });
      const phi = (x: Float64Array) =>
        Float64Array.from(rows(x).flatMap((row) => shifts.flatMap((shift) => roll(row, shift).map((other, i) => other * row[i]!))));
      // A product is linear in either factor.
      const back = (dPhi: Float64Array, x: Float64Array) => {
        const dRows = rows(x).map((row, n) =>
          row.map((_, part) => {
            const unit = row.map((__, i) => (i === part ? 1 : 0));
            const slopes = shifts.flatMap((shift) => roll(row, shift).map((other, i) => other * unit[i]! + row[i]! * roll(unit, shift)[i]!));
            return dot(Float64Array.from(slopes), dPhi.subarray(n * count, (n + 1) * count));
          }),
        );
        return x.map((value, at) => {
          const [n, d] = [Math.floor(at / headDim), at % headDim];
          return value > 0 ? dRows[n]![d]! : value < 0 ? -dRows[n]![d + headDim]! : 0;
        });
      };
      const linear = linearReference(shape, keys, phi(q), phi(k), count, false, bias, isSeen);
      const gradients = () => {
        const { dq, dk } = linear.gradients();
        return { dq: back(dq, q), dk: back(dk, k) };
      };
      return { ...linear, gradients };
    }
    default: {
      const phi = (x: number) => (featureMap === "relu" ? Math.max(x, 0) : x > 0 ? x + 1 : Math.exp(x));
      const slope = (x: number) => (x > 0 ? 1 : featureMap === "relu" ? 0 : Math.exp(x));
      const linear = linearReference(shape, keys, q.map(phi), k.map(phi), headDim, false, bias, isSeen);
      const gradients = () => {
        const { dq, dk } = linear.gradients();
        return { dq: dq.map((value, at) => value * slope(q[at]!)), dk: dk.map((value, at) => value * slope(k[at]!)) };
      };
      return { ...linear, gradients };
    }
  }
}

/**
 * A_ij = exp(b_{j−i}) Σ_d T_ijd with T_ijd = exp(x_id + y_jd), or x_id y_jd. Gradients are those of x and y, rows of `count`.
 *
 * Weights are relative to the largest of a row, and then the exponents to the largest there: such factors cancel, and are what keeps the terms in range.
 */
function linearReference(
  shape: ReferenceShape,
  keys: number,
  x: Float64Array,
  y: Float64Array,
  count: number,
  exponential: boolean,
  bias: Bias,
  isSeen: Seen,
): HeadReference {
  const [dq, dk] = [x.slice().fill(0), y.slice().fill(0)];

  const rowOf = (i: number) => {
    const seen = visible(shape, keys, i);
    const features = range(count);
    const product = (j: number, d: number) => x[i * count + d]! * y[j * count + d]!;
    const met = (j: number) => isSeen(j) && (exponential || features.some((d) => product(j, d) > 0));
    const topBias = range(seen).reduce((top, j) => (met(j) ? Math.max(top, bias(i, j)) : top), -Infinity);
    const logFactors = Float64Array.from({ length: seen }, (_, j) => (bias(i, j) === -Infinity || !met(j) ? -Infinity : bias(i, j) - topBias));
    const exponent = (j: number, d: number) => x[i * count + d]! + y[j * count + d]! + logFactors[j]!;
    let top = -Infinity;
    for (let j = 0; j < seen; j++) for (const d of features) if (exponential && met(j)) top = Math.max(top, exponent(j, d));
    /** Of A_ij; of a map that is no exponential with another number in the place of x_id y_jd. */
    const term = (j: number, d: number, plain: number) => {
      if (logFactors[j] === -Infinity) return 0;
      return exponential ? Math.exp(exponent(j, d) - top) : Math.exp(logFactors[j]!) * plain;
    };
    const p = new Float64Array(seen);
    for (let j = 0; j < seen; j++) for (const d of features) p[j]! += term(j, d, product(j, d));
    const denominator = p.reduce((sum, share) => sum + share, 0);
    return { p: p.map((share) => (denominator === 0 ? 0 : share / denominator)), term, denominator };
  };

  return {
    row: (i) => rowOf(i).p,
    back(i, dp) {
      const { p, term, denominator } = rowOf(i);
      const mean = dot(p, dp);
      for (let j = 0; j < p.length && denominator !== 0; j++) {
        if (!isSeen(j)) continue;
        const dA = (dp[j]! - mean) / denominator;
        for (let d = 0; d < count; d++) {
          dq[i * count + d]! += dA * term(j, d, y[j * count + d]!);
          dk[j * count + d]! += dA * term(j, d, x[i * count + d]!);
        }
      }
      return p.map((share, j) => share * (dp[j]! - mean));
    },
    gradients: () => ({ dq, dk }),
  };
}

function softmaxReference(shape: ReferenceShape, keys: number, q: Float64Array, k: Float64Array, bias: Bias, isSeen: Seen): HeadReference {
  const { headDim, scale = 1 } = shape;
  const [dq, dk] = [q.slice().fill(0), k.slice().fill(0)];
  const row = (i: number) => {
    const query = q.subarray(i * headDim, (i + 1) * headDim);
    return softmax(
      Float64Array.from({ length: visible(shape, keys, i) }, (_, j) =>
        isSeen(j) && isNear(shape, i, j) ? scale * dot(query, k.subarray(j * headDim, (j + 1) * headDim)) + bias(i, j) : -Infinity,
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
function efficientReference(shape: ReferenceShape, keys: number, q: Float64Array, k: Float64Array, isSeen: Seen): HeadReference {
  const { headDim } = shape;
  const [dq, dk] = [q.slice().fill(0), k.slice().fill(0)];
  const rowOf = (i: number) => {
    const seen = visible(shape, keys, i);
    const overFeatures = softmax(q.subarray(i * headDim, (i + 1) * headDim));
    const overTokens = Array.from({ length: headDim }, (_, d) =>
      softmax(Float64Array.from({ length: seen }, (__, j) => (isSeen(j) ? k[j * headDim + d]! : -Infinity))),
    );
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
  if (top === -Infinity) return x.map(() => 0); // nothing is seen
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

function range(count: number): readonly number[] {
  return Array.from({ length: count }, (_, i) => i);
}
