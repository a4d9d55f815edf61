/** Causal linear attention against its O(N²) definition in float64, and that nothing later has any influence. */
import type { AttentionOptions, Runtime } from "../../src/index.ts";
import { type AttentionSpec, attentionSpec } from "../../src/spec/operations.ts";
import { attend, ATTENTION_BOUND, type AttentionData, drawAttention } from "./attention-harness.ts";
import { type CaseContext, checkClose, type Suite, together } from "./case.ts";

const elu = (x: number) => (x > 0 ? x + 1 : Math.exp(x));
const relu = (x: number) => Math.max(x, 0);

/**
 * out_i = Σ_{j≤i} a_ij v_j / Σ_{j≤i} a_ij + Σ_{j≤i} w[j − i + N − 1] v_j, with a_ij = Σ_d φ(q_id) φ(k_jd) of rows below the length; the
 * others are zero. "softmax" features are SIKF of the queries q_id − log Σ_{j≤i} exp(k_jd).
 */
export function causalReference(spec: AttentionSpec, data: AttentionData): Float64Array {
  const { batch, heads, length, headDim: D, valueDim: E, featureMap } = spec;
  const out = new Float64Array(batch * heads * length * E);
  const scores = new Float64Array(length);
  const x = new Float64Array(D);
  for (let bh = 0; bh < batch * heads; bh++) {
    const at = (row: number, dim: number) => (bh * length + row) * dim;
    const tokens = data.lengths?.[Math.floor(bh / heads)] ?? length;
    const largest = new Float64Array(D).fill(-Infinity);
    const sums = new Float64Array(D);
    for (let i = 0; i < tokens; i++) {
      let top = -Infinity;
      for (let d = 0; d < D; d++) {
        const key = data.k[at(i, D) + d]!;
        const m = Math.max(largest[d]!, key);
        sums[d] = sums[d]! * Math.exp(largest[d]! - m) + Math.exp(key - m);
        largest[d] = m;
        x[d] = data.q[at(i, D) + d]!;
        if (featureMap === "softmax") x[d]! -= m + Math.log(sums[d]!);
        // A factor exp(−top) on all of row i cancels; it is what keeps the terms finite.
        top = Math.max(top, x[d]! + m);
      }
      let denominator = 0;
      for (let j = 0; j <= i; j++) {
        let score = 0;
        for (let d = 0; d < D; d++) {
          const key = data.k[at(j, D) + d]!;
          if (featureMap === "elu+1") score += elu(x[d]!) * elu(key);
          else if (featureMap === "relu") score += relu(x[d]!) * relu(key);
          else score += Math.exp(x[d]! + key - top);
        }
        scores[j] = score;
        denominator += score;
      }
      for (let j = 0; j <= i; j++) {
        let weight = denominator === 0 ? 0 : scores[j]! / denominator;
        if (spec.bias === "fastrpb") weight += data.weights[(bh % heads) * (2 * length - 1) + j - i + length - 1]!;
        for (let e = 0; e < E; e++) out[at(i, E) + e]! += weight * data.v[at(j, E) + e]!;
      }
    }
  }
  return out;
}

async function compare(runtime: Runtime, options: AttentionOptions, data: AttentionData, what: string, bound = ATTENTION_BOUND): Promise<void> {
  checkClose(await attend(runtime, options, data), causalReference(attentionSpec(options), data), bound, `${JSON.stringify(options)}, ${what}`);
}

async function compareDrawn(runtime: Runtime, options: AttentionOptions, seed: number): Promise<void> {
  await compare(runtime, options, drawAttention(options, seed), `seed ${seed}`);
}

const MAPS = ["sikf", "elu+1", "relu"] as const;

/** Lengths around tiles and chunks; dimensions of 1, odd ones, more than a tile. */
const SIZES = [
  { heads: 2, length: 1, headDim: 3 },
  { heads: 2, length: 2, headDim: 1 },
  { heads: 1, length: 31, headDim: 7, valueDim: 70 },
  { heads: 2, length: 33, headDim: 64 },
  { heads: 1, length: 64, headDim: 130, valueDim: 5 },
  { heads: 2, batch: 2, length: 65, headDim: 7, valueDim: 5 },
  { heads: 1, length: 200, headDim: 64, valueDim: 32 },
  { heads: 1, length: 1000, headDim: 12, valueDim: 36 },
] as const;

const steps = (data: AttentionData, dim: number, height: (row: number, d: number) => number): AttentionData => ({
  ...data,
  k: data.k.map((x, i) => x + height(Math.floor(i / dim), i % dim)),
});

export const causalAttentionSuite: Suite = {
  name: "causal attention",
  cases: [
    ...MAPS.map((featureMap, seed) => ({
      name: `${featureMap}, sizes`,
      run: async (context: CaseContext) => {
        const runtime = await context.runtime;
        await together(SIZES, (size, i) => compareDrawn(runtime, { ...size, featureMap, causal: true }, seed + 10 * i));
      },
    })),
    {
      name: "keys that rise, fall and jump by 1e4 within a chunk",
      run: async (context) => {
        const runtime = await context.runtime;
        const options: AttentionOptions = { heads: 1, length: 150, headDim: 8, valueDim: 6, featureMap: "sikf", causal: true };
        const data = drawAttention(options, 90);
        const shapes: Record<string, AttentionData> = {
          rising: steps(data, 8, (row) => (row % 70) * 150),
          falling: steps(data, 8, (row) => -(row % 70) * 150),
          slowly: steps(data, 8, (row, d) => row * (d + 1) * 0.7),
          "in steps": steps(data, 8, (row, d) => (row % 9 === d ? 1e4 : 0)),
          "±1e4": { ...data, q: data.q.map((x) => 1e4 * x), k: data.k.map((x) => 1e4 * x) },
          vast: { ...data, q: data.q.map((x) => 1e10 * x), k: data.k.map((x) => 1e3 * x) },
          equal: { ...data, k: data.k.map(() => 0.5) },
        };
        for (const [name, inputs] of Object.entries(shapes)) await compare(runtime, options, inputs, `keys ${name}, seed 90`);
      },
    },
  ],
};
