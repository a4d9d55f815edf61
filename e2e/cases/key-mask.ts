/** A mask over keys, for attention of every kind. */
import type { AttentionOptions } from "../../src/index.ts";
import { attend, attendBackward, compareBackward, compareForward, drawAttention } from "./attention-harness.ts";
import { check, scoped, type Suite, together } from "./case.ts";

/** Of the third batch row whole chunks of causal attention are not seen, and a part of one. */
const SHAPE = { heads: 2, batch: 3, length: 150, headDim: 5, valueDim: 3, keyMask: true } as const;

const KINDS: Readonly<Record<string, readonly AttentionOptions[]>> = {
  linear: [
    { ...SHAPE, featureMap: "sikf", bias: "fastrpb" },
    { ...SHAPE, featureMap: "elu+1", variableLengths: true },
    { ...SHAPE, featureMap: "relu" },
    { ...SHAPE, featureMap: "softmax" },
    { ...SHAPE, featureMap: "favor+" },
    { ...SHAPE, featureMap: "dpfp", nu: 2 },
  ],
  causal: [
    { ...SHAPE, featureMap: "sikf", causal: true, bias: "fastrpb" },
    { ...SHAPE, featureMap: "elu+1", causal: true },
    { ...SHAPE, featureMap: "softmax", causal: true, variableLengths: true },
    { ...SHAPE, featureMap: "favor+", causal: true },
    { ...SHAPE, featureMap: "dpfp", causal: true },
  ],
  softmax: [
    { ...SHAPE, kind: "softmax", bias: "fastrpb" },
    { ...SHAPE, kind: "softmax", causal: true },
    { ...SHAPE, heads: 1, length: 1100, kind: "softmax", variableLengths: true },
    { ...SHAPE, heads: 1, length: 1, kind: "softmax" },
  ],
  // In a window of 3 there are rows that see no key.
  "a window, or a bias in the logits": [
    { ...SHAPE, kind: "softmax", window: 3 },
    { ...SHAPE, kind: "softmax", causal: true, window: 20, bias: "fastrpb" },
    { ...SHAPE, heads: 1, length: 1100, kind: "softmax", window: 600, bias: "fastrpb", variableLengths: true },
    { ...SHAPE, kind: "softmax", bias: "logits" },
    { ...SHAPE, kind: "softmax", causal: true, window: 3, bias: "logits" },
    { ...SHAPE, heads: 1, length: 1100, kind: "softmax", bias: "logits" },
    { heads: 2, batch: 3, grid: [5, 7], headDim: 4, valueDim: 8, keyMask: true, kind: "softmax", bias: "logits" },
  ],
  "multiplicative bias": [
    { ...SHAPE, length: 40, headDim: 3, featureMap: "sikf", bias: "multiplicative" },
    { ...SHAPE, length: 40, headDim: 3, featureMap: "elu+1", bias: "multiplicative" },
  ],
  "a grid": [
    { heads: 2, batch: 3, grid: [5, 7], headDim: 4, valueDim: 8, keyMask: true, featureMap: "sikf", bias: "fastrpb" },
    { heads: 2, batch: 3, grid: [5, 7], headDim: 4, valueDim: 8, keyMask: true, kind: "softmax", bias: "fastrpb" },
  ],
};

export const keyMaskSuite: Suite = {
  name: "key mask",
  cases: [
    ...Object.entries(KINDS).map(([name, all]) => ({
      name: `${name}, forward and backward`,
      run: (context: Parameters<Suite["cases"][number]["run"]>[0]) =>
        together(all, async (options, seed) => {
          await compareForward(context, options, 10 * seed);
          await compareBackward(context, options, 10 * seed);
        }),
    })),
    {
      name: "keys and values that are not seen may be NaN; rows that see none are zero, and give no gradient",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        for (const options of [
          { ...SHAPE, length: 20, featureMap: "sikf" },
          { ...SHAPE, length: 20, kind: "softmax" },
          { ...SHAPE, length: 20, kind: "softmax", window: 3 },
          { ...SHAPE, length: 20, kind: "softmax", bias: "logits" },
        ] as const) {
          const data = drawAttention(options, 3);
          const rows = { q: 5, k: 5, v: 3 } as const;
          const batchRow = (at: number, dim: number) => Math.floor(at / dim / 40);
          const isSeen = (at: number, dim: number) => data.keyMask![batchRow(at, dim) * 20 + (Math.floor(at / dim) % 20)] === 1;
          const poison = (x: Float32Array, dim: number) => x.map((given, at) => (isSeen(at, dim) ? given : [NaN, Infinity, -1e30][at % 3]!));
          const poisoned = { ...data, k: poison(data.k, rows.k), v: poison(data.v, rows.v) };
          const what = `${JSON.stringify(options)}, seed 3`;
          const [out, gradients] = [await attend(runtime, options, data), await attendBackward(runtime, options, data)];
          const [other, others] = [await attend(runtime, options, poisoned), await attendBackward(runtime, options, poisoned)];
          const same = (a: Float32Array, b: Float32Array) => a.every((x, i) => x === b[i]);
          check(same(out, other), `${what}: out changed`);
          for (const name of ["dq", "dk", "dv"] as const) check(same(gradients[name]!, others[name]!), `${what}: ${name} changed`);
          for (const [name, values, dim] of [
            ["out", out, rows.v],
            ["dq", gradients.dq!, rows.q],
          ] as const) {
            check(
              values.every((x, at) => x === 0 || batchRow(at, dim) !== 1),
              `${what}: ${name} of rows that see nothing`,
            );
          }
          for (const [name, dim] of [
            ["dk", rows.k],
            ["dv", rows.v],
          ] as const) {
            check(
              gradients[name]!.every((x, at) => x === 0 || isSeen(at, dim)),
              `${what}: ${name} of keys that are not seen`,
            );
          }
        }
      },
    },
    {
      name: "a tensor as bytes have it, and a mask of ones as none",
      run: async (context) => {
        const options = { ...SHAPE, length: 20, featureMap: "sikf" } as const;
        for (const runtime of [await context.runtime, await context.cpu]) {
          const data = drawAttention(options, 4);
          await scoped(runtime, async (scope) => {
            const plan = scope.keep(await runtime.attention(options));
            const plain = scope.keep(await runtime.attention({ ...options, keyMask: false }));
            const [q, k] = [scope.tensor(data.q, [3, 2, 20, 5]), scope.tensor(data.k, [3, 2, 20, 5])];
            const v = scope.tensor(data.v, [3, 2, 20, 3]);
            const numbers = async (keyMask: Parameters<typeof plan.run>[0]["keyMask"]) => scope.keep(plan.run({ q, k, v, keyMask: keyMask! })).data();
            const expected = await numbers(data.keyMask!);
            const tensor = await numbers(scope.tensor(Float32Array.from(data.keyMask!), [3, 20]));
            check(
              tensor.every((x, i) => x === expected[i]),
              `${runtime.backend}: a tensor makes another result`,
            );
            const [ones, none] = [await numbers(new Uint8Array(60).fill(1)), await scope.keep(plain.run({ q, k, v })).data()];
            check(
              ones.every((x, i) => x === none[i]),
              `${runtime.backend}: a mask of ones makes another result`,
            );
          });
        }
      },
    },
  ],
};
