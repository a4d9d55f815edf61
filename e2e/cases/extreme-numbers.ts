/**
 * Attention of numbers whose features, or products, are no numbers of float32, held to the definition in float64 over all pairs of tokens: the quotient
 * does not see a factor on all features of a query, or of all keys.
 */
import { SMALLEST_NORMAL } from "../../shaders/wgsl/exponential.ts";
import type { AttentionOptions, Runtime } from "../../src/index.ts";
import { attentionGradientReference, attentionReference } from "../../src/testing/attention-reference.ts";
import { attentionSpec } from "../../src/testing/specs.ts";
import { attend, attendBackward, ATTENTION_BOUND, type AttentionData, drawAttention, GRADIENT_BOUND, norm } from "./attention-harness.ts";
import { type Case, type CaseContext, check, checkClose, type Suite, together } from "./case.ts";

/** A number in the place of x, by row and column. */
type Change = (x: number, row: number, d: number) => number;
interface Changes {
  readonly q?: Change;
  readonly k?: Change;
}

const plus =
  (shift: number): Change =>
  (x) =>
    x + shift;
const times =
  (factor: number): Change =>
  (x) =>
    x * factor;
/** Exponentials of negative numbers of that size are zero in float64, too. */
const positiveTimes =
  (factor: number): Change =>
  (x) =>
    x > 0 ? x * factor : x;
/** Sizes that follow each other in the rows of a sequence. */
const mixed =
  (largest: number): Change =>
  (x, row) =>
    x * [1 / largest, 1, largest, largest ** (-2 / 3), largest ** (2 / 3)][row % 5]!;

function changed(data: AttentionData, headDim: number, { q, k }: Changes): AttentionData {
  const rows = (x: Float32Array, change: Change = Number) => x.map((value, at) => change(value, Math.floor(at / headDim), at % headDim));
  return { ...data, q: rows(data.q, q), k: rows(data.k, k) };
}

/** What makes features of elu + 1 tiny or huge. */
const OF_ELU: Readonly<Record<string, Changes>> = {
  "queries of −90": { q: plus(-90) },
  "queries and keys of −90": { q: plus(-90), k: plus(-90) },
  "queries and keys of −200": { q: plus(-200), k: plus(-200) },
  "queries and keys of 1e20": { q: positiveTimes(1e20), k: positiveTimes(1e20) },
  "queries from −200 to 1e20, keys that grow from −150": {
    q: (x, row, d) => [positiveTimes(1e20), plus(-200), plus(0)][row % 3]!(x, row, d),
    k: (x, row) => x - 150 + 2 * (row % 70),
  },
};

/** The same of ReLU. */
const OF_RELU: Readonly<Record<string, Changes>> = {
  "queries and keys of 1e-20": { q: times(1e-20), k: times(1e-20) },
  "queries and keys of 1e20": { q: times(1e20), k: times(1e20) },
  "queries of 1e-30, keys of 1e30": { q: times(1e-30), k: times(1e30) },
  "queries and keys of 1e-30": { q: times(1e-30), k: times(1e-30) },
  "queries and keys of 1e30": { q: times(1e30), k: times(1e30) },
  "queries of 1e-20 to 1e20, keys of 1e-15 to 1e15": { q: mixed(1e20), k: mixed(1e15) },
  "features of a query, and of keys, that are 1e20 apart": {
    q: (x, _, d) => (d % 2 === 0 ? 1e-20 * x : x),
    k: (x, _, d) => (d % 2 === 0 ? x : 1e-20 * x),
  },
};

const SIZES: Readonly<Record<"plain" | "causal", readonly Omit<AttentionOptions, "featureMap" | "kind" | "heads">[]>> = {
  plain: [
    { length: 1, headDim: 3 },
    { batch: 2, length: 37, headDim: 7, valueDim: 5, variableLengths: true },
    { length: 300, headDim: 12, valueDim: 6, bias: "fastrpb" },
    { batch: 3, length: 29, headDim: 5, keyMask: true },
  ],
  causal: [
    { length: 1, headDim: 3 },
    { batch: 2, length: 150, headDim: 9, valueDim: 7, variableLengths: true },
    { length: 100, headDim: 68, valueDim: 6, bias: "fastrpb" },
  ],
};

/** Numbers of the same shape as rows of D. */
type Weights = (row: number, d: number) => number;

/**
 * What makes gradients of queries and of keys comparable with each other, and with the rounding of what cancels in them. With M_id the largest feature of the
 * keys that row i sees, M_d of all, and R_i = max_e φ(q_ie) M_ie, they are about M_d / R_i of a query, and max_i φ(q_id) / R_i over the rows that see it of
 * a key; M_d in units of the largest feature seen so far. φ is said to be max(x, least), or 0 of tokens that do not count.
 */
function gradientWeights(
  { q, k, lengths, keyMask }: AttentionData,
  { heads, length, headDim, causal }: ReturnType<typeof attentionSpec>,
  least: number,
) {
  const [dq, dk] = [new Float64Array(q.length), new Float64Array(k.length)];
  const dims = Array.from({ length: headDim }, (_, d) => d);
  for (let start = 0; start < q.length; start += length * headDim) {
    const batchRow = Math.floor(start / (heads * length * headDim));
    const tokens = lengths?.[batchRow] ?? length;
    const queryFeature = (i: number, d: number) => (i < tokens ? Math.max(q[start + i * headDim + d]!, least) : 0);
    const keyFeature = (j: number, d: number) =>
      j < tokens && keyMask?.[batchRow * length + j] !== 0 ? Math.max(k[start + j * headDim + d]!, least) : 0;
    const all = dims.map((d) => Array.from({ length }, (_, j) => keyFeature(j, d)).reduce((most, x) => Math.max(most, x), 0));
    const seen = causal ? dims.map(() => 0) : all;
    const sizes = Array.from({ length }, (_, i) => {
      if (causal) for (const d of dims) seen[d] = Math.max(seen[d]!, keyFeature(i, d));
      const share = dims.reduce((most, d) => Math.max(most, all[d]! && seen[d]! / all[d]!), 0);
      const size = dims.reduce((most, d) => Math.max(most, queryFeature(i, d) * seen[d]!), 0);
      for (const d of dims) dq[start + i * headDim + d] = size / (all[d]! * share || 1);
      return size;
    });
    for (const d of dims) {
      const shares = sizes.map((size, i) => size && queryFeature(i, d) / size);
      let most = causal ? 0 : shares.reduce((largest, x) => Math.max(largest, x), 0);
      for (let j = length - 1; j >= 0; j--) {
        most = Math.max(most, shares[j]!);
        dk[start + j * headDim + d] = most && 1 / most;
      }
    }
  }
  return { dq: (row: number, d: number) => dq[row * headDim + d]!, dk: (row: number, d: number) => dk[row * headDim + d]! };
}

async function compare(
  runtime: Runtime,
  options: AttentionOptions,
  data: AttentionData,
  what: string,
  weights: { readonly dq: Weights; readonly dk: Weights },
): Promise<void> {
  const spec = attentionSpec(options);
  const { dOut, ...inputs } = data;
  checkClose(await attend(runtime, options, data), attentionReference(spec, inputs), ATTENTION_BOUND, what);
  const expected = attentionGradientReference(spec, inputs, dOut);
  const actual = await attendBackward(runtime, options, data);
  for (const name of ["dq", "dk", "dv"] as const) {
    const weight = (at: number) => (name === "dv" ? 1 : weights[name](Math.floor(at / spec.headDim), at % spec.headDim));
    let [error, size] = [0, 0];
    for (const [at, value] of expected[name].entries()) {
      // GPUs may take what is below the normal numbers for zero.
      error += (weight(at) * Math.max(0, Math.abs(actual[name]![at]! - value) - SMALLEST_NORMAL)) ** 2;
      size += (weight(at) * value) ** 2;
    }
    // Of one token, or where one has all of the weight, nothing is left of what comes in but rounding.
    const bound = GRADIENT_BOUND * Math.max(Math.sqrt(size), norm(dOut));
    check(Math.sqrt(error) <= bound, `${name} of ${what}: off by ${Math.sqrt(error)}, more than ${bound}`);
  }
}

function linearCases(featureMap: "elu+1" | "relu", changes: Readonly<Record<string, Changes>>): readonly Case[] {
  return (["plain", "causal"] as const).map((kind) => ({
    name: `${featureMap}${kind === "causal" ? ", causal" : ""}: features from 1e-30 to 1e30, and exponentials of −200`,
    run: async (context) => {
      const runtimes = [await context.runtime, await context.cpu];
      await together(SIZES[kind], async (size, i) => {
        const options: AttentionOptions = { heads: 2, ...size, featureMap, causal: kind === "causal" } as AttentionOptions;
        const spec = attentionSpec(options);
        for (const [j, [name, change]] of Object.entries(changes).entries()) {
          const seed = 7000 + 100 * i + 10 * j;
          const data = changed(drawAttention(options, seed), spec.headDim, change);
          const weights = gradientWeights(data, spec, featureMap === "relu" ? 0 : 1);
          for (const runtime of runtimes) {
            await compare(runtime, options, data, `${JSON.stringify(options)}, ${name}, ${runtime.backend}, seed ${seed}`, weights);
          }
        }
      });
    },
  }));
}

const SOFTMAX_SIZES: Readonly<Record<string, readonly AttentionOptions[]>> = {
  softmax: [
    { kind: "softmax", heads: 1, length: 1, headDim: 3 },
    { kind: "softmax", heads: 2, length: 37, headDim: 7, valueDim: 5, causal: true },
    { kind: "softmax", heads: 2, batch: 3, length: 29, headDim: 5, keyMask: true, bias: "logits" },
  ],
  "softmax in splits, or in a window": [
    { kind: "softmax", heads: 1, length: 1100, headDim: 4, window: 40 },
    { kind: "softmax", heads: 1, length: 1300, headDim: 8, scale: 3 },
  ],
};

/** Keys of 1e20 in pairs that are the same, with queries from 1e-20 to 1e20. */
function softmaxData(options: AttentionOptions, seed: number): AttentionData {
  const { headDim, length } = attentionSpec(options);
  const data = changed(drawAttention(options, seed), headDim, {
    q: (x, row) => x * [1e20, 1e-20, 1e18, 1e-25, 3e19][row % 5]!,
    k: times(1e20),
  });
  const twin = (at: number) => {
    const [row, d] = [Math.floor(at / headDim), at % headDim];
    return row % length < Math.floor(length / 2) * 2 ? (row - ((row % length) % 2)) * headDim + d : at;
  };
  return { ...data, k: data.k.map((_, at) => data.k[twin(at)]!) };
}

export const extremeNumbersSuite: Suite = {
  name: "extreme numbers",
  cases: [
    ...linearCases("elu+1", OF_ELU),
    ...linearCases("relu", OF_RELU),
    ...Object.entries(SOFTMAX_SIZES).map(([name, sizes]) => ({
      name: `${name}: logits of ±1e40 beside those near 0`,
      sample: name === "softmax",
      run: async (context: CaseContext) => {
        const runtimes = [await context.runtime, await context.cpu];
        await together(sizes, async (options, i) => {
          const seed = 7900 + 10 * i;
          const data = softmaxData(options, seed);
          const largest = (rows: Float32Array) => rows.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
          const [q, k] = [data.q, data.k].map(largest) as [number, number];
          for (const runtime of runtimes) {
            const what = `${JSON.stringify(options)}, ${runtime.backend}, seed ${seed}`;
            await compare(runtime, options, data, what, { dq: () => 1 / k, dk: () => 1 / q });
          }
        });
      },
    })),
  ],
};
