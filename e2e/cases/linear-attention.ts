/** Linear attention with every feature map, forward and backward, against the float64 CPU. */
import type { AttentionOptions, FeatureMap } from "../../src/index.ts";
import {
  attend,
  ATTENTION_BOUND,
  attendBackward,
  checkGradients,
  compareBackward,
  compareForward,
  drawAttention,
  GRADIENT_BOUND,
  norm,
} from "./attention-harness.ts";
import { type CaseContext, check, checkClose, type Suite, together } from "./case.ts";

const MAPS: readonly FeatureMap[] = ["sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"];

/** One token, fewer rows than a tile, several chunks; dimensions of 1, odd ones, more than a tile. */
const SIZES = [
  { heads: 2, length: 1, headDim: 3 },
  { heads: 1, length: 5, headDim: 1, valueDim: 2 },
  { heads: 2, batch: 2, length: 37, headDim: 7, valueDim: 5 },
  { heads: 2, length: 300, headDim: 36, valueDim: 20 },
  { heads: 1, length: 150, headDim: 12, valueDim: 70 },
] as const;

const LENGTHS_SIZES = [
  { heads: 2, batch: 3, length: 37, headDim: 7, valueDim: 5 },
  { heads: 1, batch: 2, length: 300, headDim: 8 },
] as const;

/** Each map with its own turn through the sizes. */
function over(sizes: readonly object[], run: (options: AttentionOptions, seed: number) => Promise<void>, featureMap: FeatureMap, seed: number) {
  return together(sizes, (size, i) => run({ ...size, featureMap } as AttentionOptions, seed + 100 * i));
}

export const linearAttentionSuite: Suite = {
  name: "linear attention",
  cases: [
    ...MAPS.flatMap((featureMap, seed) => [
      {
        name: `${featureMap}, forward`,

        run: (context: CaseContext) => over(SIZES, (o, s) => compareForward(context, o, s), featureMap, seed),
      },
      {
        name: `${featureMap}, backward`,
        run: (context: CaseContext) => over(SIZES, (o, s) => compareBackward(context, o, s), featureMap, seed),
      },
      {
        name: `${featureMap}, variable lengths, forward and backward`,
        run: (context: CaseContext) =>
          over(
            LENGTHS_SIZES.map((size) => ({ ...size, variableLengths: true })),
            async (options, s) => {
              await compareForward(context, options, s);
              await compareBackward(context, options, s);
            },
            featureMap,
            seed + 7,
          ),
      },
    ]),
    {
      name: "softmax, of one size, forward and backward",
      sample: true,
      run: async (context) => {
        const options: AttentionOptions = { heads: 2, length: 150, headDim: 6, valueDim: 5, featureMap: "softmax" };
        await compareForward(context, options, 61);
        await compareBackward(context, options, 61);
      },
    },
    {
      name: "what lies beyond a length may be NaN, without and within a batch",
      run: async (context) => {
        const shape = { heads: 2, batch: 2, length: 40, headDim: 8, valueDim: 6, variableLengths: true } as const;
        for (const [featureMap, causal] of [
          ["sikf", false],
          ["favor+", false],
          ["favor+", true],
          ["dpfp", false],
          ["dpfp", true],
        ] as const) {
          const options: AttentionOptions = { ...shape, featureMap, causal };
          const what = `${featureMap}${causal ? ", causal" : ""}`;
          const data = { ...drawAttention(options, 31), lengths: [0, 23] };
          const poisoned = { ...data, q: data.q.slice(), k: data.k.slice(), v: data.v.slice(), dOut: data.dOut.slice() };
          for (const [array, dim] of [
            [poisoned.q, 8],
            [poisoned.k, 8],
            [poisoned.v, 6],
            [poisoned.dOut, 6],
          ] as const) {
            for (let row = 0; row < 160; row++) {
              if (row % 40 >= data.lengths[Math.floor(row / 80)]!) array.fill(NaN, row * dim, (row + 1) * dim);
            }
          }
          const runtime = await context.runtime;
          const [plain, out] = [await attend(runtime, options, data), await attend(runtime, options, poisoned)];
          check(
            out.every((x, i) => x === plain[i]),
            `${what}: the output changed`,
          );
          const [expected, actual] = [await attendBackward(runtime, options, data), await attendBackward(runtime, options, poisoned)];
          for (const name of ["dq", "dk", "dv"] as const) {
            check(
              actual[name]!.every((x, i) => x === expected[name]![i]),
              `${what}: ${name} changed`,
            );
          }
        }
      },
    },
    ...[false, true].map((causal) => ({
      name: `dpfp${causal ? ", causal" : ""}: rows of zeros and of one number have no features: zero, and no gradient`,
      sample: !causal,
      run: async (context: CaseContext) => {
        const options: AttentionOptions = { heads: 1, length: 40, headDim: 3, valueDim: 2, featureMap: "dpfp", nu: 2, causal };
        const data = drawAttention(options, 41);
        // Query 3 is 0, query 4 has one number, and so has every other key.
        const q = data.q.map((x, i) => (Math.floor(i / 3) === 3 || (Math.floor(i / 3) === 4 && i % 3 > 0) ? 0 : x));
        const k = data.k.map((x, i) => (i % 6 > 3 ? 0 : x));
        const inputs = { ...data, q, k };
        const [runtime, cpu] = [await context.runtime, await context.cpu];
        const what = `${causal ? "causal, " : ""}seed 41`;
        const [out, gradients] = [await attend(runtime, options, inputs), await attendBackward(runtime, options, inputs)];
        checkClose(out, await attend(cpu, options, inputs), ATTENTION_BOUND, what);
        checkGradients(gradients, await attendBackward(cpu, options, inputs), norm(data.dOut), GRADIENT_BOUND, what);
        const silent = [...out.subarray(2 * 3, 2 * 5), ...gradients.dq!.subarray(3 * 3, 3 * 5)];
        check(
          silent.every((x) => x === 0),
          `queries 3 and 4, ${what}: ${silent.join(", ")}`,
        );
      },
    })),
    {
      name: "gradients in groups of heads, on small devices",
      run: async (context) => {
        const small = await context.open({
          limits: {
            maxStorageBufferBindingSize: 2 ** 16,
            maxComputeInvocationsPerWorkgroup: 64,
            maxComputeWorkgroupSizeX: 64,
            maxComputeWorkgroupStorageSize: 8192,
            maxComputeWorkgroupsPerDimension: 16,
          },
          workspaceBytes: 2 ** 20,
        });
        try {
          const maps = ["sikf", "favor+"] as const;
          await together(maps, async (featureMap, seed) => {
            const options: AttentionOptions = { heads: 3, batch: 2, length: 301, headDim: 17, valueDim: 31, featureMap };
            const data = drawAttention(options, seed);
            const cpu = await context.cpu;
            checkClose(await attend(small, options, data), await attend(cpu, options, data), ATTENTION_BOUND, JSON.stringify(options));
            const [actual, expected] = [await attendBackward(small, options, data), await attendBackward(cpu, options, data)];
            checkGradients(actual, expected, norm(data.dOut), GRADIENT_BOUND, JSON.stringify(options));
          });
        } finally {
          small.dispose();
        }
      },
    },
    {
      name: "extremes: ±1e4 and one huge key, values and gradients finite, values right",
      run: async (context) => {
        const [runtime, cpu] = [await context.runtime, await context.cpu];
        for (const featureMap of ["sikf", "softmax"] as const) {
          const options: AttentionOptions = { heads: 1, length: 64, headDim: 8, featureMap };
          const data = drawAttention(options, 60);
          const huge = { ...data, q: data.q.map((x) => Math.sign(x) * 1e4), k: data.k.map((x) => Math.sign(x) * 1e4) };
          const one = { ...data, k: data.k.map((x, i) => (i === 83 ? 1e4 : x)) };
          for (const [name, inputs] of [
            ["±1e4", huge],
            ["one huge key", one],
          ] as const) {
            checkClose(await attend(runtime, options, inputs), await attend(cpu, options, inputs), ATTENTION_BOUND, `${featureMap}, ${name}`);
            for (const gradient of Object.values(await attendBackward(runtime, options, inputs))) {
              check(gradient!.every(Number.isFinite), `${featureMap}, ${name}: a gradient is not finite`);
            }
          }
        }
      },
    },
  ],
};
