/**
 * By how much the errors of an attention are larger than those of its parts: what bounds of ill-conditioned data are made of. In float64, as direct
 * sums.
 */
import { orthogonalFeatures } from "../../../src/math/random-features.ts";
import { type AttentionSpec, keyShape } from "../../../src/testing/specs.ts";
import type { Arrays } from "../case.ts";
import { largest, largestSlice, norm } from "../data.ts";
import { countedWeights } from "./toeplitz.ts";

/** Features of the rows of all heads, [batch·heads, N, features], and of the keys that they see, [batch·heads, M, features]; of exponentials relative to the largest key, as they are evaluated. */
interface Features {
  readonly q: Float64Array;
  readonly k: Float64Array;
}

function elu(x: number): number {
  return x > 0 ? x + 1 : Math.exp(x);
}

/** Whether features are taken as they are, and not as exponentials relative to the largest key. */
export function isPlain({ featureMap }: AttentionSpec): boolean {
  return featureMap === "elu+1" || featureMap === "relu" || featureMap === "dpfp";
}

/** How many tokens of a slice count. */
function tokensOf(spec: AttentionSpec, lengths: readonly number[] | undefined, slice: number): number {
  return lengths?.[Math.floor(slice / spec.heads)] ?? spec.length;
}

/** The keys of a slice that count, of those of all slices. */
function keysOf(spec: AttentionSpec, lengths: readonly number[] | undefined, slice: number): { readonly firstKey: number; readonly endKey: number } {
  const { length } = keyShape(spec);
  return { firstKey: slice * length, endKey: slice * length + (lengths ? tokensOf(spec, lengths, slice) : length) };
}

function featuresOf(spec: AttentionSpec, data: Arrays, lengths: readonly number[] | undefined): Features {
  const { batch, heads, length, headDim, features, featureMap, scale, seed } = spec;
  const slices = batch * heads;
  const keyed = keyShape(spec);
  const random = featureMap === "favor+" ? orthogonalFeatures(features, headDim, seed).map((x) => x * Math.sqrt(scale)) : undefined;
  const [q, k] = [data["q"]!, data["k"]!];
  const result = { q: new Float64Array(slices * length * features), k: new Float64Array(slices * keyed.length * features) };
  const project = (x: Float32Array, row: number, target: Float64Array, to: number, key: boolean) => {
    const part = (i: number) => Math.max(0, i < headDim ? x[row * headDim + i]! : -x[row * headDim + i - headDim]!);
    const parts = 2 * headDim;
    let square = 0;
    for (let d = 0; key && random && d < headDim; d++) square += x[row * headDim + d]! ** 2;
    for (let r = 0; r < features; r++) {
      let sum = (-scale * square) / 2;
      if (featureMap === "dpfp") sum = part(r % parts) * part((r - Math.floor(r / parts) - 1 + parts) % parts);
      else if (!random) sum = x[row * headDim + r]!;
      else for (let d = 0; d < headDim; d++) sum += random[r * headDim + d]! * x[row * headDim + d]!;
      target[to * features + r] = featureMap === "elu+1" ? elu(sum) : featureMap === "relu" ? Math.max(sum, 0) : sum;
    }
  };
  for (let slice = 0; slice < slices; slice++) {
    const tokens = tokensOf(spec, lengths, slice);
    const first = slice * length;
    const { firstKey, endKey } = keysOf(spec, lengths, slice);
    const source = Math.floor(slice / (heads / keyed.heads)) * keyed.length - firstKey;
    for (let n = first; n < first + tokens; n++) project(q, n, result.q, n, false);
    for (let n = firstKey; n < endKey; n++) project(k, source + n, result.k, n, true);
    const isMasked = (n: number) => data["keyMask"]?.[Math.floor(slice / heads) * keyed.length + n - firstKey] === 0;
    for (let n = firstKey; n < endKey; n++) if (isMasked(n)) result.k.fill(isPlain(spec) ? 0 : -Infinity, n * features, (n + 1) * features);
    if (isPlain(spec)) continue;
    const top = new Float64Array(features).fill(-Infinity);
    for (let n = firstKey; n < endKey; n++) for (let d = 0; d < features; d++) top[d] = Math.max(top[d]!, result.k[n * features + d]!);
    // Where no key is seen, no feature is.
    if (!top.every(Number.isFinite)) {
      result.q.fill(0, first * features, (first + tokens) * features);
      result.k.fill(0, firstKey * features, endKey * features);
      continue;
    }
    for (let n = first; n < first + tokens; n++) {
      let most = -Infinity;
      for (let d = 0; d < features; d++) most = Math.max(most, result.q[n * features + d]! + top[d]!);
      for (let d = 0; d < features; d++) result.q[n * features + d] = Math.exp(result.q[n * features + d]! + top[d]! - most);
    }
    for (let n = firstKey; n < endKey; n++) {
      for (let d = 0; d < features; d++) result.k[n * features + d] = Math.exp(result.k[n * features + d]! - top[d]!);
    }
  }
  return result;
}

/**
 * Of features that are not exponentials, max_d φ′(q_id) z_d/δ_i and max_d φ(q_id) max_j φ′(k_jd)/δ_i for each row, [batch·heads·N]: what terms of the
 * gradients of queries and of keys are multiplied by. Of exponentials both are at most 1.
 */
export function slopeGains(
  spec: AttentionSpec,
  data: Arrays,
  lengths: readonly number[] | undefined,
): { readonly q: Float64Array; readonly k: Float64Array } {
  const { batch, heads, length, features, causal } = spec;
  const gains = { q: new Float64Array(batch * heads * length).fill(1), k: new Float64Array(batch * heads * length).fill(1) };
  if (!isPlain(spec)) return gains;
  const phi = featuresOf(spec, data, lengths);
  // φ′ of elu + 1 is the smaller one of φ and 1.
  const slope = (feature: number) => (spec.featureMap === "elu+1" ? Math.min(feature, 1) : 1);
  for (let slice = 0; slice < batch * heads; slice++) {
    const tokens = tokensOf(spec, lengths, slice);
    const [sums, slopes] = [new Float64Array(features), new Float64Array(features)];
    const see = (n: number) => {
      for (let d = 0; d < features; d++) {
        const feature = phi.k[n * features + d]!;
        sums[d]! += feature;
        slopes[d] = Math.max(slopes[d]!, slope(feature));
      }
    };
    const first = slice * length;
    const { firstKey, endKey } = keysOf(spec, lengths, slice);
    if (!causal) for (let n = firstKey; n < endKey; n++) see(n);
    for (let n = first; n < first + tokens; n++) {
      if (causal) see(n);
      let [delta, z, f] = [0, 0, 0];
      for (let d = 0; d < features; d++) {
        const feature = phi.q[n * features + d]!;
        delta += feature * sums[d]!;
        z = Math.max(z, slope(feature) * sums[d]!);
        f = Math.max(f, feature * slopes[d]!);
      }
      gains.q[n] = delta > 0 ? z / delta : 1;
      gains.k[n] = delta > 0 ? f / delta : 1;
    }
  }
  return gains;
}

/** Rows whose condition is more than this times √N do not go through transforms (shaders/attention/multiplicative/tolerances.ts). */
const LARGEST_CONDITION = 32;

/**
 * Of a multiplicative bias. A sum over keys of E_{j−i} φ(k_jd) v_je goes through transforms, whose errors are u·‖E‖·‖φ(k)_d v_e‖ in every row, however
 * small its own sum is. So row i is off by Σ_d φ(q_id)·‖E‖·‖φ(k)_d v_e‖ / δ_i in units of u: this, for each row with the largest |v| in the place of v,
 * as [batch·heads·N].
 */
export function multiplicativeCondition(spec: AttentionSpec, data: Arrays, lengths: readonly number[] | undefined): Float64Array {
  const { batch, heads, length, features, causal, grid } = spec;
  const phi = featuresOf(spec, data, lengths);
  const perHead = data["bias"]!.length / heads;
  const counted = countedWeights(spec, data["bias"]!);
  const [height, width] = grid ?? [1, length];
  const wide = 2 * width - 1;
  const result = new Float64Array(batch * heads * length);
  for (let slice = 0; slice < batch * heads; slice++) {
    const head = slice % heads;
    const tokens = tokensOf(spec, lengths, slice);
    const first = slice * length;
    const count = causal ? length : perHead;
    const b = data["bias"]!.subarray(head * perHead, head * perHead + count);
    const top = b.reduce((most, x) => Math.max(most, x), -Infinity);
    const exponentials = Float64Array.from(counted.subarray(head * perHead, (head + 1) * perHead), (x, i) => (i < count ? Math.exp(x - top) : 0));
    const weightNorm = norm(exponentials);
    const keyNorms = new Float64Array(features);
    for (let d = 0; d < features; d++) {
      let square = 0;
      for (let n = first; n < first + tokens; n++) square += phi.k[n * features + d]! ** 2;
      keyNorms[d] = Math.sqrt(square);
    }
    for (let i = 0; i < tokens; i++) {
      let [error, delta] = [0, 0];
      for (let j = 0; j < (causal ? i + 1 : tokens); j++) {
        const place = (height - 1 + Math.floor(j / width) - Math.floor(i / width)) * wide + width - 1 + (j % width) - (i % width);
        let dot = 0;
        for (let d = 0; d < features; d++) dot += phi.q[(first + i) * features + d]! * phi.k[(first + j) * features + d]!;
        delta += exponentials[place]! * dot;
      }
      for (let d = 0; d < features; d++) error += phi.q[(first + i) * features + d]! * keyNorms[d]! * weightNorm;
      // Rows that see nothing are zero, whatever the transforms leave; below a share of the error rows are summed directly.
      result[first + i] = delta > 0 ? Math.min(error / delta, LARGEST_CONDITION * Math.sqrt(length)) : 0;
    }
  }
  return result;
}

/**
 * The largest size that sums in the exponents may have on the way, for softmax attention, random features and causal Efficient Attention: rounding makes relative errors of u
 * times this of the exponentials.
 */
export function exponentSize(spec: AttentionSpec, data: Arrays): number {
  const { kind, featureMap, headDim, features, seed, scale } = spec;
  // A query less the logarithm of the sums before it is stored as one number.
  if (featureMap === "softmax" && spec.causal) return largest(data["q"]!) + largest(data["k"]!);
  if (kind !== "softmax" && featureMap !== "favor+") return 0;
  const [q, k] = [data["q"]!, data["k"]!].map((x) =>
    largestSlice(
      x.map((value) => (Number.isNaN(value) ? 0 : value)),
      headDim,
      norm,
    ),
  ) as [number, number];
  if (kind === "softmax") return scale * q * k + (spec.bias === "logits" ? largest(data["bias"]!) : 0);
  const longest = largestSlice(Float32Array.from(orthogonalFeatures(features, headDim, seed)), headDim, norm);
  const root = Math.sqrt(scale);
  return longest * root * Math.max(q, k) + (scale * k * k) / 2;
}
