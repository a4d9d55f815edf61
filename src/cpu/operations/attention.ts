import { FastRpbError } from "../../spec/errors.ts";
import { float64Array } from "../../math/memory.ts";
import { biasSpec, type AttentionSpec, type FeatureMap } from "../../spec/operations.ts";
import { FLOAT_BYTES, type CpuOperation, type FftOf } from "../operation.ts";
import { spectrumCostBytes, spectrumStorageBytes } from "./spectrum.ts";
import { createToeplitz } from "./toeplitz.ts";

/**
 * out_i = φ(q_i)·S / φ(q_i)·z with S = Σ_j φ(k_j) v_jᵀ and z = Σ_j φ(k_j), plus the FastRPB product of the values if there is a bias.
 * `q`, `k`: [batch, heads, N, D], `v` and `out`: [batch, heads, N, E].
 */
export function attentionOperation(spec: AttentionSpec, fftOf: FftOf): CpuOperation {
  const { batch, heads, length, headDim, valueDim } = spec;
  const slices = batch * heads;
  const bias = spec.bias === "fastrpb" ? biasSpec(spec) : undefined;
  const toeplitz = bias && createToeplitz(bias, fftOf);
  const keyBytes = FLOAT_BYTES * slices * length * headDim;
  const valueBytes = FLOAT_BYTES * slices * length * valueDim;
  const bytes = { q: keyBytes, k: keyBytes, v: valueBytes, out: valueBytes };
  return {
    label: "attention",
    bytes: bias ? { ...bytes, spectrum: spectrumStorageBytes(bias) } : bytes,
    bytesMinimum: 2 * keyBytes + 2 * valueBytes + (bias ? spectrumCostBytes(bias) : 0),
    flops: 4 * slices * length * headDim * (valueDim + 1) + (toeplitz ? slices * toeplitz.flops : 0),
    run(binding) {
      const [q, k, v, out] = [binding("q").floats, binding("k").floats, binding("v").floats, binding("out").floats];
      const spectra = bias && binding("spectrum").doubles;
      const result = float64Array("cpu attention", length * valueDim);
      for (let slice = 0; slice < slices; slice++) {
        const [keyStart, keyEnd] = [slice * length * headDim, (slice + 1) * length * headDim];
        const [valueStart, valueEnd] = [slice * length * valueDim, (slice + 1) * length * valueDim];
        const values = v.subarray(valueStart, valueEnd);
        attend(spec, q.subarray(keyStart, keyEnd), k.subarray(keyStart, keyEnd), values, result);
        if (toeplitz && spectra) {
          toeplitz.multiply(values, spectra, slice % heads, (index, value) => {
            result[index]! += value;
          });
        }
        out.set(result, valueStart);
      }
    },
  };
}

/** One head of one batch entry: `q`, `k`: [N, D], `v`: [N, E]; overwrites `result: [N, E]`. */
function attend(spec: AttentionSpec, q: Float32Array, k: Float32Array, v: Float32Array, result: Float64Array): void {
  const { length, headDim, valueDim } = spec;
  const map = FEATURE_MAPS[spec.featureMap ?? "softmax"];
  if (map === undefined) throw new FastRpbError("unavailable", "cpu attention: not supported in this version.");
  const features = map(k, headDim);
  const row = new Float64Array(headDim);
  const state = float64Array("cpu attention", headDim * valueDim);
  const sum = new Float64Array(headDim);
  for (let j = 0; j < length; j++) {
    features.key(k, j * headDim, row);
    for (let d = 0; d < headDim; d++) {
      const feature = row[d]!;
      sum[d]! += feature;
      for (let e = 0; e < valueDim; e++) state[d * valueDim + e]! += feature * v[j * valueDim + e]!;
    }
  }
  for (let i = 0; i < length; i++) {
    features.query(q, i * headDim, row);
    const out = result.subarray(i * valueDim, (i + 1) * valueDim).fill(0);
    let denominator = 0;
    for (let d = 0; d < headDim; d++) {
      const feature = row[d]!;
      denominator += feature * sum[d]!;
      for (let e = 0; e < valueDim; e++) out[e]! += feature * state[d * valueDim + e]!;
    }
    // elu + 1 underflows to 0 far below zero; a query that attends to nothing gets nothing.
    for (let e = 0; e < valueDim; e++) out[e] = denominator === 0 ? 0 : out[e]! / denominator;
  }
}

/** Writes φ of the vector that starts at `start` to `row`. */
interface Features {
  key(k: Float32Array, start: number, row: Float64Array): void;
  query(q: Float32Array, start: number, row: Float64Array): void;
}

const FEATURE_MAPS: Readonly<Partial<Record<FeatureMap, (k: Float32Array, headDim: number) => Features>>> = {
  sikf,
  "elu+1": () => ({ key: eluPlusOne, query: eluPlusOne }),
};

/**
 * φ(x) = exp(x), with factors that cancel in the quotient taken out: exp(k_jd − m_d) with m_d = max_j k_jd, and
 * exp(q_id + m_d − max_e (q_ie + m_e)). No exponent is above 0, and the denominator is at least 1.
 */
function sikf(k: Float32Array, headDim: number): Features {
  const largest = new Float64Array(headDim).fill(-Infinity);
  for (let i = 0; i < k.length; i++) largest[i % headDim] = Math.max(largest[i % headDim]!, k[i]!);
  return {
    key(keys, start, row) {
      for (let d = 0; d < headDim; d++) row[d] = Math.exp(keys[start + d]! - largest[d]!);
    },
    query(queries, start, row) {
      let top = -Infinity;
      for (let d = 0; d < headDim; d++) {
        row[d] = queries[start + d]! + largest[d]!;
        top = Math.max(top, row[d]!);
      }
      for (let d = 0; d < headDim; d++) row[d] = Math.exp(row[d]! - top);
    },
  };
}

function eluPlusOne(x: Float32Array, start: number, row: Float64Array): void {
  for (let d = 0; d < row.length; d++) {
    const value = x[start + d]!;
    row[d] = value > 0 ? value + 1 : Math.exp(value);
  }
}
