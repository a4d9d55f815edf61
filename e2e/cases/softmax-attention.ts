/** Softmax attention, forward and backward: against its O(N²) definition, against the float64 CPU, and its properties. */
import { attentionReference } from "../../src/testing/attention-reference.ts";
import type { AttentionOptions, Runtime } from "../../src/index.ts";
import { SOFTWARE_GPU } from "../../src/core/limits.ts";
import { attentionSpec } from "../../src/testing/specs.ts";
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
import { type CaseContext, check, checkClose, type DeviceLimits, type Suite, together } from "./case.ts";
import { special } from "./faults.ts";

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
/** Columns of the sums in two pieces; the gradients of keys and values apart. */
const WIDE = softmax({ length: 45, headDim: 200, valueDim: 210 });
/** Few: each takes three pipelines or four. */
const BACKWARD_SIZES: readonly AttentionOptions[] = [SIZES[0]!, SIZES[2]!, SIZES[5]!];
/** Lengths of 0, 1, all, and within a tile. */
const LENGTHS = [0, 77, 33, 1];
const WITH_LENGTHS = softmax({ heads: 2, batch: 4, length: 77, headDim: 7, valueDim: 5, variableLengths: true });

const CAUSAL = [false, true] as const;

/** Keys in two splits, and in four; rows of several pieces, whose gradients are made apart. */
const SPLIT = softmax({ heads: 2, length: 1100, headDim: 7, valueDim: 5, scale: 0.7 });
const SPLIT_MORE = softmax({ length: 2100, headDim: 6, valueDim: 8 });
const SPLIT_WIDE = softmax({ length: 1030, headDim: 5, valueDim: 197 });
/** None, one, all; within a split, at its end, and one more. */
const SPLIT_LENGTHS = [0, 1, 1100, 700, 576, 577];

/** Windows of one key, of several, of more than a tile. */
const WINDOWS: readonly AttentionOptions[] = [
  softmax({ heads: 2, batch: 2, length: 77, headDim: 7, valueDim: 5, scale: 1.7, window: 1 }),
  softmax({ length: 131, headDim: 6, valueDim: 20, window: 5 }),
  softmax({ heads: 2, length: 301, headDim: 8, valueDim: 9, window: 70 }),
];

/** A bias in the logits: one token, several tiles, grids, a window, both kinds of scale. */
const LOGITS = softmax({ heads: 2, batch: 2, length: 77, headDim: 7, valueDim: 5, scale: 1.7, bias: "logits" });
const IN_LOGITS: readonly AttentionOptions[] = [
  softmax({ heads: 2, length: 1, headDim: 3, bias: "logits" }),
  LOGITS,
  softmax({ length: 131, headDim: 6, valueDim: 20, bias: "logits", window: 9 }),
];
const ON_GRIDS: readonly AttentionOptions[] = [[7, 5] as const, [3, 41] as const].map((grid) =>
  softmax({ heads: 2, grid, length: undefined as never, headDim: 5, bias: "logits" }),
);

/** The data with −∞ in the weights of offsets above −3 and of every third: the first rows see no key. */
function masked(options: AttentionOptions, data: AttentionData): AttentionData {
  const { length } = attentionSpec(options);
  const masks = (offset: number) => offset > -3 || offset % 3 === 0;
  return { ...data, weights: data.weights.map((b, i) => (masks((i % (2 * length - 1)) - length + 1) ? -Infinity : b)) };
}

/** Both ways on a device so slow that keys and queries are split, against the float64 CPU. */
async function compareSplit(
  context: CaseContext,
  options: AttentionOptions,
  seed: number,
  lengths?: readonly number[],
  limits?: DeviceLimits,
  drawn = drawAttention(options, seed),
) {
  const runtime = await special(context, { speed: SOFTWARE_GPU, limits: { ...context.limits, ...limits } });
  const what = `${JSON.stringify(options)}, seed ${seed}`;
  try {
    const plan = await runtime.attention(options);
    check(context.lowered || plan.dispatches.some(({ label }) => label.includes("split")), `${what}: not split`);
    plan.dispose();
    const data = { ...drawn, ...(lengths && { lengths }) };
    const [actual, expected] = [await bothWays(runtime, options, data), await bothWays(await context.cpu, options, data)];
    checkClose(actual.out, expected.out, ATTENTION_BOUND, what);
    checkGradients(actual, expected, norm(data.dOut), GRADIENT_BOUND, what);
    if (!lengths) return;
    const beyond = poisoned(options, data, (batch, token) => token >= lengths[batch]!);
    const spoiled = await bothWays(runtime, options, beyond);
    for (const name of ["out", "dq", "dk", "dv"] as const) checkSame(spoiled[name]!, actual[name]!, () => true, `${what}: ${name}`);
  } finally {
    runtime.dispose();
  }
}

function over(sizes: readonly AttentionOptions[], causal: boolean, run: (options: AttentionOptions, seed: number) => Promise<void>) {
  return together(sizes, (size, i) => run({ ...size, causal } as AttentionOptions, 11 + 100 * i + (causal ? 50 : 0)));
}

/** Against the definition too, which shares nothing with the CPU backend. */
async function compareWithDefinition(
  context: CaseContext,
  options: AttentionOptions,
  seed: number,
  data = drawAttention(options, seed),
): Promise<void> {
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

function checkSame(actual: Float32Array, expected: Float32Array, counts: (i: number) => boolean, what: string): void {
  const changed = expected.findIndex((x, i) => counts(i) && !Object.is(actual[i], x));
  check(changed < 0, `${what} changed at ${changed}: ${actual[changed]} instead of ${expected[changed]}`);
}

export const softmaxAttentionSuite: Suite = {
  name: "softmax attention",
  cases: [
    ...CAUSAL.flatMap((causal) => {
      const name = causal ? "causal" : "all pairs";
      return [
        {
          name: `${name}, forward`,
          run: (context: CaseContext) => over(SIZES, causal, (options, seed) => compareWithDefinition(context, options, seed)),
        },
        {
          name: `${name}, backward`,
          run: (context: CaseContext) => over(BACKWARD_SIZES, causal, (options, seed) => compareBackward(context, options, seed)),
        },
        {
          name: `${name}, variable lengths: forward, backward, and NaN beyond them`,
          run: async (context: CaseContext) => {
            const [runtime, cpu] = [await context.runtime, await context.cpu];
            const options = { ...WITH_LENGTHS, causal } as AttentionOptions;
            const data = { ...drawAttention(options, 41), lengths: LENGTHS };
            const what = `${JSON.stringify(options)}, seed 41`;
            const [actual, expected] = [await bothWays(runtime, options, data), await bothWays(cpu, options, data)];
            checkClose(actual.out, expected.out, ATTENTION_BOUND, what);
            checkGradients(actual, expected, norm(data.dOut), GRADIENT_BOUND, what);
            const spoiled = await bothWays(
              runtime,
              options,
              poisoned(options, data, (batch, token) => token >= LENGTHS[batch]!),
            );
            for (const name of ["out", "dq", "dk", "dv"] as const) checkSame(spoiled[name]!, actual[name]!, () => true, `${what}: ${name}`);
          },
        },
      ];
    }),
    {
      name: "wide rows in pieces, forward and backward",
      sample: true,
      run: async (context) => {
        await compareWithDefinition(context, WIDE, 31);
        await compareBackward(context, WIDE, 31);
      },
    },
    {
      name: "causal: later tokens are not seen, earlier queries have no influence on keys, not even as NaN",
      run: async (context) => {
        const runtime = await context.runtime;
        const options = softmax({ length: 77, headDim: 7, valueDim: 5, causal: true });
        const data = drawAttention(options, 51);
        const plain = await bothWays(runtime, options, data);
        for (const first of [1, 35, 76]) {
          const later = await bothWays(
            runtime,
            options,
            poisoned(options, data, (_, token) => token >= first),
          );
          const what = `NaN from token ${first}`;
          checkSame(later.out, plain.out, (i) => i < first * 5, `${what}: out`);
          checkSame(later.dq!, plain.dq!, (i) => i < first * 7, `${what}: dq`);
          const { q, dOut } = poisoned(options, data, (_, token) => token < first);
          const earlier = await bothWays(runtime, options, { ...data, q, dOut });
          checkSame(earlier.dk!, plain.dk!, (i) => i >= first * 7, `queries NaN to token ${first}: dk`);
          checkSame(earlier.dv!, plain.dv!, (i) => i >= first * 5, `queries NaN to token ${first}: dv`);
        }
      },
    },
    ...CAUSAL.map((causal) => ({
      name: `in a window, ${causal ? "causal" : "both ways"}: forward, backward, and NaN beyond it`,
      run: async (context: CaseContext) => {
        await over(WINDOWS, causal, (options, seed) => compareWithDefinition(context, options, seed));
        await over(WINDOWS.slice(1), causal, (options, seed) => compareBackward(context, options, seed));
        const runtime = await context.runtime;
        const options = softmax({ length: 150, headDim: 4, window: 9, causal });
        const data = drawAttention(options, 59);
        const [plain, spoiled] = [data, poisoned(options, data, (_, token) => token === 70)].map((given) => bothWays(runtime, options, given));
        for (const [name, dim] of Object.entries({ out: 4, dq: 4, dk: 4, dv: 4 })) {
          // Keys that see queries which see token 70 are twice as far.
          const reach = name === "out" || name === "dq" ? 9 : 17;
          const far = (i: number) => Math.abs(Math.floor(i / dim) - 70) >= reach;
          checkSame((await spoiled!)[name as "out"], (await plain!)[name as "out"], far, `${name}, causal ${causal}`);
        }
      },
    })),
    {
      name: "in a window, with FastRPB and variable lengths; a window of all is none",
      run: async (context) => {
        const options = softmax({ heads: 2, batch: 3, length: 77, headDim: 7, valueDim: 5, bias: "fastrpb", variableLengths: true, window: 10 });
        await together(CAUSAL, async (causal, i) => {
          await compareForward(context, { ...options, causal } as AttentionOptions, 65 + i);
          await compareBackward(context, { ...options, causal } as AttentionOptions, 65 + i);
        });
        const runtime = await context.runtime;
        const [all, none] = [softmax({ length: 33, headDim: 5, window: 33 }), softmax({ length: 33, headDim: 5 })];
        const data = drawAttention(none, 69);
        checkSame(await attend(runtime, all, data), await attend(runtime, none, data), () => true, "a window of 33");
      },
    },
    {
      name: "in splits: a bias in the logits, with masks, and heads in groups",
      run: async (context) => {
        const options = softmax({ heads: 2, batch: 2, length: 1100, headDim: 4, bias: "logits" });
        const data = masked(options, drawAttention(options, 191));
        await compareSplit(context, options, 191, undefined, undefined, data);
        await compareSplit(context, { ...options, causal: true } as AttentionOptions, 201, undefined, { workspaceBytes: 2 ** 20 });
      },
    },
    {
      name: "in splits: in a window, with variable lengths",
      run: (context) =>
        together(CAUSAL, (causal, i) => {
          const options = softmax({ batch: 3, length: 1900, headDim: 4, valueDim: 5, variableLengths: true, causal, window: [650, 1100][i]! });
          return compareSplit(context, options, 171 + 10 * i, [1900, 0, 1201]);
        }),
    },
    {
      name: "a bias in the logits, forward and backward",
      sample: true,
      run: async (context) => {
        await compareWithDefinition(context, LOGITS, 251);
        await compareBackward(context, LOGITS, 251);
      },
    },
    {
      name: "a bias in the logits: forward, causal or not, on grids, in a window, with masks",
      run: async (context) => {
        for (const causal of CAUSAL) {
          await over(IN_LOGITS, causal, (options, seed) => compareWithDefinition(context, options, seed));
          const options = { ...LOGITS, causal } as AttentionOptions;
          await compareWithDefinition(context, options, 261, masked(options, drawAttention(options, 261)));
        }
        await together(ON_GRIDS, (options, i) => compareWithDefinition(context, options, 271 + i));
      },
    },
    {
      name: "a bias in the logits: backward, causal or not, on grids, in a window, with lengths and masks",
      run: async (context) => {
        await over([IN_LOGITS[0]!, IN_LOGITS[2]!], false, (options, seed) => compareBackward(context, options, seed));
        await together(ON_GRIDS, (options, i) => compareBackward(context, options, 271 + i));
        const options = { ...LOGITS, causal: true, variableLengths: true } as AttentionOptions;
        await compareBackward(context, options, 281);
        await compareBackward(context, options, 291, GRADIENT_BOUND, masked(options, drawAttention(options, 291)));
      },
    },
    {
      name: "with FastRPB, forward and backward",
      run: (context) =>
        together(CAUSAL, async (causal, i) => {
          const options = softmax({ heads: 2, batch: 2, length: 77, headDim: 7, valueDim: 5, bias: "fastrpb", causal, variableLengths: causal });
          await compareForward(context, options, 61 + i);
          await compareBackward(context, options, 61 + i);
        }),
    },
    {
      name: "length 1000, heads of 64, forward and backward",
      run: async (context) => {
        const options = softmax({ length: 1000, headDim: 64, causal: true });
        await compareForward(context, options, 71);
        await compareBackward(context, options, 71);
      },
    },
    {
      name: "in splits, forward and backward",
      sample: true,
      run: (context) => compareSplit(context, SPLIT, 101),
    },
    {
      name: "in splits: causal, of two and of four",
      run: (context) =>
        together([SPLIT, SPLIT_MORE], (options, i) => compareSplit(context, { ...options, causal: true } as AttentionOptions, 111 + 10 * i)),
    },
    ...CAUSAL.map((causal) => ({
      name: `in splits: variable lengths, ${causal ? "causal" : "all pairs"}, and NaN beyond them`,
      run: (context: CaseContext) => {
        const options = { ...SPLIT, heads: 1, batch: SPLIT_LENGTHS.length, variableLengths: true, causal } as AttentionOptions;
        return compareSplit(context, options, 131, SPLIT_LENGTHS);
      },
    })),
    {
      name: "in splits: wide rows in pieces",
      run: (context) => compareSplit(context, SPLIT_WIDE, 141),
    },
    {
      name: "in splits: with FastRPB, and variable lengths",
      run: (context) =>
        compareSplit(
          context,
          { ...SPLIT, heads: 1, batch: 2, bias: "fastrpb", causal: true, variableLengths: true } as AttentionOptions,
          151,
          [1100, 600],
        ),
    },
    {
      name: "in splits: blocks of rows and groups of heads, where scratch is short",
      run: (context) =>
        together(
          [{ ...SPLIT, heads: 3 }, softmax({ heads: 2, length: 1111, headDim: 17, valueDim: 31, causal: true })] as AttentionOptions[],
          (options, i) => compareSplit(context, options, 161 + 10 * i, undefined, { workspaceBytes: [2 ** 20, 2 ** 21][i]! }),
        ),
    },
    {
      name: "extremes: ±1e4, logits of 1e10, one huge logit, keys all alike; gradients are finite",
      run: async (context) => {
        const [runtime, cpu] = [await context.runtime, await context.cpu];
        const options = softmax({ length: 77, headDim: 7, valueDim: 5, scale: 1.7 });
        const data = drawAttention(options, 81);
        const inputs = {
          "±1e4": { ...data, q: data.q.map((x) => Math.sign(x) * 1e4), k: data.k.map((x) => Math.sign(x) * 1e4) },
          "1e10": { ...data, q: data.q.map((x) => 1e5 * x), k: data.k.map((x) => 1e5 * x) },
          "one huge key": { ...data, k: data.k.map((x, i) => (i === 40 * 7 + 3 ? 1e4 : x)) },
          "one huge query": { ...data, q: data.q.map((x, i) => (i === 50 * 7 + 2 ? 1e6 : x)) },
          "all logits far below zero": { ...data, q: data.q.map(() => 1e4), k: data.k.map((x) => x - 1e4) },
          "equal keys": { ...data, k: data.k.map(() => 0.5) },
        };
        for (const [name, given] of Object.entries(inputs)) {
          const actual = await bothWays(runtime, options, given);
          checkClose(actual.out, await attend(cpu, options, given), ATTENTION_BOUND, name);
          for (const gradient of ["dq", "dk", "dv"] as const) {
            check(actual[gradient]!.every(Number.isFinite), `${name}: ${gradient} is not finite`);
          }
        }
      },
    },
    {
      name: "small devices: groups of heads, 64 invocations, 4 KiB of workgroup memory, 16 workgroups per dimension",
      run: async (context) => {
        const small = await context.open({
          limits: {
            maxStorageBufferBindingSize: 2 ** 16,
            maxComputeInvocationsPerWorkgroup: 64,
            maxComputeWorkgroupSizeX: 64,
            maxComputeWorkgroupStorageSize: 4096,
            maxComputeWorkgroupsPerDimension: 16,
          },
          workspaceBytes: 2 ** 17,
        });
        try {
          const options = softmax({ heads: 3, batch: 2, length: 301, headDim: 17, valueDim: 31, causal: true });
          const data = drawAttention(options, 91);
          const [actual, expected] = [await bothWays(small, options, data), await bothWays(await context.cpu, options, data)];
          checkClose(actual.out, expected.out, ATTENTION_BOUND, JSON.stringify(options));
          checkGradients(actual, expected, norm(data.dOut), GRADIENT_BOUND, JSON.stringify(options));
        } finally {
          small.dispose();
        }
      },
    },
  ],
};
