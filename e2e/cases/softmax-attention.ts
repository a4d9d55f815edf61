/** Softmax attention, forward and backward: against its O(N²) definition, against the float64 CPU, and its properties. */
import { attentionReference } from "../../src/cpu/attention-reference.ts";
import type { AttentionOptions, Runtime } from "../../src/index.ts";
import { attentionSpec } from "../../src/spec/operations.ts";
import {
  attend,
  ATTENTION_BOUND,
  attendBackward,
  type AttentionData,
  checkGradients,
  compareBackward,
  compareForward,
  drawAttention,
  GRADIENT_BOUND,
  norm,
} from "./attention-harness.ts";
import { type CaseContext, check, checkClose, type Suite, together } from "./case.ts";

const softmax = (options: Partial<AttentionOptions>): AttentionOptions => ({ kind: "softmax", heads: 1, ...options }) as AttentionOptions;

/** One token, dimensions of 1, odd ones, E ≠ D; several tiles; rows that go through workgroup memory in pieces. */
const SIZES: readonly AttentionOptions[] = [
  softmax({ heads: 2, length: 1, headDim: 3 }),
  softmax({ length: 5, headDim: 1, valueDim: 2 }),
  softmax({ heads: 2, batch: 2, length: 77, headDim: 7, valueDim: 5, scale: 1.7 }),
  softmax({ heads: 2, length: 131, headDim: 36, valueDim: 20 }),
  softmax({ length: 70, headDim: 130, valueDim: 9 }),
  softmax({ length: 67, headDim: 6, valueDim: 130 }),
];
/** Columns of the output in two pieces. */
const WIDE = softmax({ length: 45, headDim: 200, valueDim: 210 });
const LENGTHS_SIZES: readonly AttentionOptions[] = [
  softmax({ heads: 2, batch: 4, length: 77, headDim: 7, valueDim: 5, variableLengths: true }),
  softmax({ batch: 2, length: 130, headDim: 8, variableLengths: true }),
];

const CAUSAL = [false, true] as const;

function over(sizes: readonly AttentionOptions[], causal: boolean, run: (options: AttentionOptions, seed: number) => Promise<void>) {
  return together(sizes, (size, i) => run({ ...size, causal } as AttentionOptions, 11 + 100 * i + (causal ? 50 : 0)));
}

/** Against the definition too, which shares nothing with the CPU backend. */
async function compareWithDefinition(context: CaseContext, options: AttentionOptions, seed: number): Promise<void> {
  const data = drawAttention(options, seed);
  const actual = await attend(await context.runtime, options, data);
  const what = `${JSON.stringify(options)}, seed ${seed}`;
  checkClose(actual, attentionReference(attentionSpec(options), data), ATTENTION_BOUND, `${what}, against the definition`);
}

/** The data with NaN in the tokens that `poisons` names, of each batch row. */
function poisoned(options: AttentionOptions, data: AttentionData, poisons: (batch: number, token: number) => boolean): AttentionData {
  const { heads, length, headDim, valueDim } = attentionSpec(options);
  const spoil = (array: Float32Array, dim: number) =>
    array.map((x, i) => (poisons(Math.floor(i / dim / length / heads), Math.floor(i / dim) % length) ? NaN : x));
  return { ...data, q: spoil(data.q, headDim), k: spoil(data.k, headDim), v: spoil(data.v, valueDim), dOut: spoil(data.dOut, valueDim) };
}

async function bothWays(runtime: Runtime, options: AttentionOptions, data: AttentionData) {
  const out = await attend(runtime, options, data);
  return { out, ...(await attendBackward(runtime, options, data)) };
}

export const softmaxAttentionSuite: Suite = {
  name: "softmax attention",
  cases: [
    ...CAUSAL.flatMap((causal) => {
      const name = causal ? "causal" : "all pairs";
      return [
        {
          name: `${name}, forward`,
          run: (context: CaseContext) => over([...SIZES, WIDE], causal, (options, seed) => compareWithDefinition(context, options, seed)),
        },
        {
          name: `${name}, backward`,
          run: (context: CaseContext) => over(SIZES, causal, (options, seed) => compareBackward(context, options, seed)),
        },
        {
          name: `${name}, variable lengths, forward and backward`,
          run: (context: CaseContext) =>
            over(LENGTHS_SIZES, causal, async (options, seed) => {
              await compareForward(context, options, seed);
              await compareBackward(context, options, seed);
            }),
        },
      ];
    }),
  ],
};
