/** Attention of sequences that come token by token, against causal attention of the whole sequence in float64. */
import type { DecoderOptions, DecoderState, FeatureMap, Runtime, Tensor } from "../../src/index.ts";
import { attend, ATTENTION_BOUND, type AttentionData, drawAttention } from "./attention-harness.ts";
import { type CaseContext, check, checkClose, checkRefused, type Scope, scoped, type Suite, together } from "./case.ts";

const FEATURE_MAPS: readonly FeatureMap[] = ["sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"];

function parallel(options: DecoderOptions) {
  return { ...options, causal: true } as const;
}

/** The tokens from `first` on, as tensors. */
function tokensOf(scope: Scope, options: DecoderOptions, data: AttentionData, first: number, count: number) {
  const { batch = 1, heads, length, headDim, valueDim = headDim } = options;
  const part = (rows: Float32Array, dim: number) => {
    const taken = new Float32Array(batch * heads * count * dim);
    for (let bh = 0; bh < batch * heads; bh++) {
      const from = (bh * length + first) * dim;
      taken.set(rows.subarray(from, from + count * dim), bh * count * dim);
    }
    return scope.tensor(taken, [batch, heads, count, dim]);
  };
  return { q: part(data.q, headDim), k: part(data.k, headDim), v: part(data.v, valueDim) };
}

/** The results of a sequence that comes in parts of so many tokens: the last one again and again, to the end. Tensors start as NaN. */
async function decodeParts(
  runtime: Runtime,
  options: DecoderOptions,
  data: AttentionData,
  parts: readonly number[],
  { from, until = options.length }: { readonly from?: DecoderState; readonly until?: number } = {},
): Promise<{ readonly out: Float32Array; readonly state: DecoderState }> {
  const { batch = 1, heads, length, headDim, valueDim = headDim } = options;
  return scoped(runtime, async (scope) => {
    const decoder = scope.keep(await runtime.decoder(options));
    decoder.start(options.bias === "fastrpb" ? { bias: scope.tensor(data.weights, [heads, 2 * length - 1]) } : {});
    if (from) decoder.load(from);
    const pieces: { readonly first: number; readonly count: number; readonly out: Tensor }[] = [];
    for (let i = 0; decoder.position < until; i++) {
      const first = decoder.position;
      const count = Math.min(parts[Math.min(i, parts.length - 1)]!, until - first);
      const out = scope.unwritten([batch, heads, count, valueDim]);
      const inputs = tokensOf(scope, options, data, first, count);
      if (i % 2 === 1) await decoder.stepAsync(inputs, { out });
      else decoder.step(inputs, { out });
      pieces.push({ first, count, out });
    }
    const out = new Float32Array(batch * heads * length * valueDim);
    for (const piece of pieces) {
      const rows = await piece.out.data();
      for (let bh = 0; bh < batch * heads; bh++) {
        const width = piece.count * valueDim;
        out.set(rows.subarray(bh * width, (bh + 1) * width), (bh * length + piece.first) * valueDim);
      }
    }
    return { out, state: await decoder.save() };
  });
}

async function compare(context: CaseContext, options: DecoderOptions, seed: number, parts: readonly number[], runtime?: Runtime): Promise<void> {
  const data = drawAttention(parallel(options), seed);
  const expected = await attend(await context.cpu, parallel(options), data);
  const what = `${JSON.stringify(options)}, parts ${parts.join(", ")}, seed ${seed}`;
  for (const one of runtime ? [runtime] : [await context.runtime, await context.cpu]) {
    const { out } = await decodeParts(one, options, data, parts);
    checkClose(out, expected, ATTENTION_BOUND, `${one.backend}: ${what}`);
  }
}

export const decodeSuite: Suite = {
  name: "decoding",
  cases: [
    {
      name: "every feature map, with a bias and without, in parts of all kinds",
      sample: true,
      run: (context) =>
        together(
          FEATURE_MAPS.flatMap((featureMap) => (["none", "fastrpb"] as const).map((bias) => ({ featureMap, bias }))),
          (choice, i) =>
            compare(context, { batch: 2, heads: 3, length: 201, headDim: 5, valueDim: 7, ...choice }, 900 + 10 * i, [70, 1, 57, 2, 1, 64, 3]),
        ),
    },
    {
      name: "one token at a time, over block products of 64 to 256",
      run: (context) => compare(context, { heads: 1, length: 520, headDim: 8, featureMap: "sikf", bias: "fastrpb" }, 1100, [1]),
    },
    {
      name: "lengths of 1, of a block and around it",
      run: (context) =>
        together([1, 2, 63, 64, 65, 128, 129], (length, i) =>
          compare(context, { heads: 2, length, headDim: 4, featureMap: "elu+1", bias: "fastrpb" }, 1200 + 10 * i, [1, length]),
        ),
    },
    {
      name: "65,536 tokens, right at every one",
      slow: true,
      run: async (context) => {
        const options = { heads: 1, length: 65536, headDim: 4, featureMap: "sikf", bias: "fastrpb" } as const;
        const data = drawAttention(parallel(options), 1150);
        const expected = await attend(await context.cpu, parallel(options), data);
        const { out } = await decodeParts(await context.runtime, options, data, [4096, 64, 1, 60000]);
        const norm = Math.sqrt(expected.reduce((sum, x) => sum + x * x, 0) / options.length);
        for (let i = 0; i < options.length; i++) {
          const error = Math.hypot(...[0, 1, 2, 3].map((e) => out[4 * i + e]! - expected[4 * i + e]!));
          check(error <= 1e-5 * norm, `token ${i}: off by ${error / norm} of a row, seed 1150`);
        }
      },
    },
    {
      name: "keys that rise and fall by hundreds, and large heads",
      run: async (context) => {
        const options = { heads: 1, length: 150, headDim: 66, valueDim: 130, featureMap: "sikf", bias: "none" } as const;
        const data = drawAttention(parallel(options), 1300);
        for (let i = 0; i < data.k.length; i++) data.k[i]! += 300 * Math.sin(Math.floor(i / options.headDim) / 9);
        const expected = await attend(await context.cpu, parallel(options), data);
        const { out } = await decodeParts(await context.runtime, options, data, [100, 1]);
        checkClose(out, expected, ATTENTION_BOUND, "keys up to ±300, seed 1300");
      },
    },
    {
      name: "heads in groups, where bindings and scratch are small",
      run: async (context) => {
        const runtime = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 16 }, workspaceBytes: 2 ** 19 });
        try {
          await compare(context, { batch: 2, heads: 3, length: 300, headDim: 8, featureMap: "sikf", bias: "fastrpb" }, 1400, [300], runtime);
        } finally {
          runtime.dispose();
        }
      },
    },
    {
      name: "goes on from a saved state, as often as wanted, and on the other backend",
      sample: true,
      run: async (context) => {
        const options = { heads: 2, length: 300, headDim: 6, featureMap: "sikf", bias: "fastrpb" } as const;
        const data = drawAttention(parallel(options), 1500);
        const expected = await attend(await context.cpu, parallel(options), data);
        const [gpu, cpu] = [await context.runtime, await context.cpu];
        const { state } = await decodeParts(gpu, options, data, [130], { until: 130 });
        check(state.position === 130, `saved at ${state.position}`);
        const rest = (out: Float32Array) => [0, 1].flatMap((h) => [...out.subarray((h * 300 + 130) * 6, (h + 1) * 300 * 6)]);
        for (const [runtime, parts] of [
          [gpu, [1, 169]],
          [gpu, [170]],
          [cpu, [64, 1]],
        ] as const) {
          const { out } = await decodeParts(runtime, options, data, parts, { from: state });
          checkClose(rest(out), rest(expected), ATTENTION_BOUND, `${runtime.backend}, from 130 in parts ${parts.join(", ")}, seed 1500`);
        }
      },
    },
    {
      name: "refuses what is wrong, and stays as it was",
      sample: true,
      run: async (context) => {
        for (const runtime of [await context.runtime, await context.cpu]) {
          await scoped(runtime, async (scope) => {
            const options = { heads: 2, length: 10, headDim: 4, featureMap: "sikf", bias: "fastrpb" } as const;
            await checkRefused(() => runtime.decoder({ ...options, length: 0 }), "value", "runtime.decoder", "options.length");
            await checkRefused(() => runtime.decoder({ ...options, bias: "multiplicative" as "none" }), "value", "options.bias");
            await checkRefused(() => runtime.decoder({ ...options, causal: true } as DecoderOptions), "value", "causal");
            const decoder = scope.keep(await runtime.decoder(options));
            const data = drawAttention(parallel(options), 1600);
            const some = (first: number, count: number) => tokensOf(scope, options, data, first, count);
            await checkRefused(() => decoder.step(some(0, 1)), "value", "Decoder.step", "start");
            await checkRefused(() => decoder.start(), "value", "Decoder.start", "inputs.bias");
            const bias = scope.tensor(data.weights, [2, 19]);
            await checkRefused(() => decoder.start({ bias: scope.tensor(data.weights, [38]) }), "shape", "inputs.bias", "[2, 19]");
            decoder.start({ bias });
            decoder.step(some(0, 4)).dispose();
            const { q, k, v } = some(4, 3);
            await checkRefused(() => decoder.step({ q, k, v: some(4, 2).v }), "shape", "inputs.v", "[1, 2, 3, 4]");
            await checkRefused(() => decoder.step({ q, k, v }, { out: v }), "value", "options.out");
            await checkRefused(() => decoder.step(some(0, 7)), "value", "at most 6 tokens");
            const state = await decoder.save();
            await checkRefused(() => decoder.load({ ...state, position: 11 }), "value", "state.position");
            await checkRefused(() => decoder.load({ ...state, states: new Float32Array(3) }), "shape", "state.states");
            await checkRefused(() => decoder.stepAsync({ q, k, v }, { signal: AbortSignal.abort() }), "aborted", "Decoder.stepAsync");
            check(decoder.position === 4, `at ${decoder.position} after refusals`);
            const expected = await attend(await context.cpu, parallel(options), data);
            const out = await scope.keep(decoder.step(some(4, 6))).data();
            const rest = [0, 1].flatMap((h) => [...expected.subarray((h * 10 + 4) * 4, (h + 1) * 40)]);
            checkClose(out, rest, ATTENTION_BOUND, "after refusals, seed 1600");
            decoder.dispose();
            await checkRefused(() => decoder.start({ bias }), "disposed", "Decoder.start");
          });
        }
      },
    },
  ],
};
