/**
 * Causal linear attention, token by token: takes the tokens from `firstToken` on into the state of each head, and gives their results.
 *
 *   out_i = Σ_d φ(q_id) s_de / Σ_d φ(q_id) z_d  (+ Σ_{j≤i} w[j − i] v_j)
 *
 * with z and s the sums over the keys so far, relative to exp(m_d), or to 2^m_d, m_d the largest key so far. Efficient Attention (`normalised`) divides
 * the rows of s by z. Sums of the present block of BLOCK tokens stand apart from those of the blocks before, so that ten thousands of small terms
 * do not join one large sum one by one. Of the bias, a token sums the values of its own block; those before are in `history` already
 * (attention/decode/add-pending.ts), but for the first block, which has none before.
 *
 * Layout: queries, keys [B·H, T, D], values, out [B·H, T, E], states [B·H, state] (DecodeStateLayout), history [B·H, 2, N, E], the values and what
 * blocks before add to the results, weights [H, BLOCK], the offsets 1 − BLOCK … 0. A workgroup does a head. Lanes first share out the vectors of a
 * key, then stand as WIDTH vectors of values × HEIGHT features.
 * Bindings: 0 queries, 1 keys, 2 values, 3 states, 4 out, and with a bias 5 history, 6 weights; then params.
 */
import {
  exponentialOfSum,
  featureBelow,
  featureSize,
  type KernelFeatureMap,
  MAXIMUM,
  relativeFunctions,
  sizeFactor,
  takeMaximum,
  wholeAndRest,
} from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { type Kernel, makeKernel, paddedToVec4, type WorkgroupVariable, workgroupBytes } from "../../wgsl/kernel.ts";
import { LARGEST_OF_LANES, partials, SUM_LANES } from "../../wgsl/lanes.ts";
import { loadVector, storeVector, vectorArray, vectorElement, vectorsOf, withinRow } from "../../wgsl/rows.ts";
import { LOWEST, u32, wgsl } from "../../wgsl/wgsl.ts";

export interface DecodeStepKernelSpec extends HeadShape {
  readonly featureMap: KernelFeatureMap;
  /** Whether the rows of s are divided by z, for Efficient Attention. */
  readonly normalised: boolean;
  readonly bias: boolean;
  /** Lanes of a workgroup, a power of two. */
  readonly lanes: number;
}

const PARAMS = ["firstHead", "tokens", "rows", "firstToken", "queriesBase", "keysBase", "valuesBase", "statesBase", "outBase"] as const;

/** Tokens of a block of the bias. */
export const BLOCK = 64;

/**
 * Layout of the state of a head, in floats: [tokens so far, 0, 0, 0], [m: D′], [z: D′] and [s: D × E′] of the blocks before, the same two of the
 * present block; D′ and E′ are D and E rounded up to 4.
 */
export interface DecodeStateLayout {
  readonly maximum: number;
  readonly sum: number;
  readonly products: number;
  /** From a sum of the blocks before to that of the present one. */
  readonly present: number;
  readonly size: number;
}

export function decodeStateLayout({ headDim, valueDim }: Omit<HeadShape, "length">): DecodeStateLayout {
  const head = paddedToVec4(headDim);
  const present = head + headDim * paddedToVec4(valueDim);
  const sum = 4 + head;
  return { maximum: 4, sum, products: sum + head, present, size: sum + 2 * present };
}

function variables({ headDim, lanes }: Pick<DecodeStepKernelSpec, "headDim" | "lanes">): readonly WorkgroupVariable[] {
  const rows = ["features", "added", "decay"].map((name) => vectorArray(name, vectorsOf(headDim)));
  return [...rows, partials("f32", lanes), vectorArray("sums", lanes)];
}

/** Bytes of workgroup memory of a step. */
export function decodeStepBytes(spec: Pick<DecodeStepKernelSpec, "headDim" | "lanes">): number {
  return workgroupBytes(variables(spec));
}

export function decodeStepKernel(spec: DecodeStepKernelSpec): Kernel {
  const { headDim, valueDim, lanes, normalised } = spec;
  const sikf = spec.featureMap === "sikf";
  const vectors = vectorsOf(valueDim);
  const width = Math.min(lanes, 2 ** Math.ceil(Math.log2(vectors)));
  const layout = decodeStateLayout(spec);
  const body = wgsl`  let bh = params.firstHead + group;
  let state = bh * STATE - params.statesBase;
  var position = u32(states[state].x);
  for (var token = 0u; token < params.tokens; token++) {
    let row = bh * params.rows + params.firstToken + token;
    let is_last = (position + 1u) % BLOCK == 0u; // of its block
    var largest = ${LOWEST};
    for (var c = lane; c < VECTORS; c += LANES) {
      let key = load_keys(row, c);
      let query = load_queries(row, c);
      let before = states[state + MAXIMUM + c];
      let reference = max(before, ${featureSize(spec.featureMap, "key")});
      states[state + MAXIMUM + c] = reference;
      decay[c] = ${sizeFactor(spec.featureMap, "before - reference")};
      added[c] = features_only(${featureBelow(spec.featureMap, "key", "reference")}, c);
      features[c] = query;
      largest = max(largest, largest_feature(${normalised ? "query" : sikf ? "round(query) + round(reference)" : "feature_exponent4(query) + reference"}, c));
    }
    partials[lane] = largest;
${LARGEST_OF_LANES}
    largest = partials[0];
    workgroupBarrier();
    var denominator = 0.0;
    for (var c = lane; c < VECTORS; c += LANES) {
      var feature = features[c];
      var past = states[state + SUM + c];
      var present = states[state + SUM + PRESENT + c];
      past *= decay[c];
      present *= decay[c];
#if ${normalised}
      feature = features_only(exponential4(feature - largest), c);
#elif ${sikf}
${takeMaximum("states[state + MAXIMUM + c]")}
      feature = features_only(${exponentialOfSum(wholeAndRest("feature"), MAXIMUM, "largest")}, c);
#else
      feature = features_only(relative_feature4(feature, states[state + MAXIMUM + c] - largest), c);
#endif
      present += added[c];
      let sum = past + present;
      states[state + SUM + c] = select(past, sum, is_last);
      states[state + SUM + PRESENT + c] = select(present, vec4f(), is_last);
#if ${normalised}
      denominator += dot(feature, vec4f(1.0));
      features[c] = features_only(feature / sum, c);
#else
      denominator += dot(feature, sum);
      features[c] = feature;
#endif
    }
    partials[lane] = denominator;
${SUM_LANES}
    denominator = partials[0];
    let part = lane / WIDTH;
    for (var first = 0u; first < VALUE_VECTORS; first += WIDTH) {
      let column = first + lane % WIDTH;
      var result = vec4f();
      if (column < VALUE_VECTORS) {
        let value = load_values(row, column);
        for (var d = part; d < D; d += HEIGHT) {
          let at = state + PRODUCTS + d * VALUE_VECTORS + column;
          var past = states[at];
          var present = states[at + PRESENT];
          let factor = decay[d / 4u][d % 4u];
          past *= factor;
          present *= factor;
          present = fma(vec4f(added[d / 4u][d % 4u]), value, present);
          let product = past + present;
          result = fma(vec4f(features[d / 4u][d % 4u]), product, result);
          states[at] = select(past, product, is_last);
          states[at + PRESENT] = select(present, vec4f(), is_last);
        }
        result = select(result / denominator, vec4f(), denominator == 0.0);
#if ${spec.bias}
        let values = bh * 2u * N;
        let weight = bh % params.heads * BLOCK + BLOCK - 1u;
        for (var j = position / BLOCK * BLOCK + part; j < position; j += HEIGHT) {
          result = fma(vec4f(weights[weight + j - position]), load_history(values + j, column), result);
        }
        if (part == 0u) {
          result = fma(vec4f(weights[weight]), value, result);
          if (position >= BLOCK) { result += load_history(values + N + position, column); }
          store_history(values + position, column, value);
        }
#endif
      }
      sums[lane] = result;
      workgroupBarrier();
      for (var half = HEIGHT / 2u; half > 0u; half /= 2u) {
        if (part < half) { sums[lane] += sums[lane + half * WIDTH]; }
        workgroupBarrier();
      }
      if (part == 0u && column < VALUE_VECTORS) { store_out(row, column, sums[lane]); }
      workgroupBarrier();
    }
    position++;
    storageBarrier();
  }
  if (lane == 0u) { states[state] = vec4f(f32(position), 0.0, 0.0, 0.0); }
`;
  return makeKernel({
    id: "attention/decode/step",
    label: `decode ${normalised ? "softmax" : spec.featureMap}${spec.bias ? " + bias" : ""}`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim) },
      { name: "keys", access: "read", element: vectorElement(headDim) },
      { name: "values", access: "read", element: vectorElement(valueDim) },
      { name: "states", access: "read_write", element: "vec4f" },
      { name: "out", access: "read_write", element: vectorElement(valueDim) },
      ...(spec.bias
        ? ([
            { name: "history", access: "read_write", element: vectorElement(valueDim) },
            { name: "weights", access: "read", element: "f32" },
          ] as const)
        : []),
    ],
    params: [...PARAMS, ...(spec.bias ? ["heads", "historyBase"] : [])],
    declarations: [
      wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const BLOCK = ${u32(BLOCK)};
const VECTORS = ${u32(vectorsOf(headDim))}; // of a key
const VALUE_VECTORS = ${u32(vectors)};
const WIDTH = ${u32(width)};
const HEIGHT = ${u32(lanes / width)};
// In vec4f.
const STATE = ${u32(layout.size / 4)};
const MAXIMUM = ${u32(layout.maximum / 4)};
const SUM = ${u32(layout.sum / 4)};
const PRODUCTS = ${u32(layout.products / 4)};
const PRESENT = ${u32(layout.present / 4)};`,
      ...variables(spec),
      wgsl`${relativeFunctions(spec.featureMap)}${loadVector("load_queries", "queries", headDim)}${loadVector("load_keys", "keys", headDim)}
${loadVector("load_values", "values", valueDim)}${storeVector("store_out", "out", valueDim, false)}
${spec.bias ? loadVector("load_history", "history", valueDim) + storeVector("store_history", "history", valueDim, false) : ""}
fn features_only(vector: vec4f, c: u32) -> vec4f {
  return select(vec4f(), vector, ${withinRow("c", "D")});
}

fn largest_feature(vector: vec4f, c: u32) -> f32 {
  let v = select(vec4f(${LOWEST}), vector, ${withinRow("c", "D")});
  return max(max(v.x, v.y), max(v.z, v.w));
}
`,
    ],
    body,
  });
}
