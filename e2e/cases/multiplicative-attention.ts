/** Linear attention with a multiplicative bias, against the float64 CPU. */
import type { AttentionOptions } from "../../src/index.ts";
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
import { check, checkClose, type Suite, together } from "./case.ts";

const bias = "multiplicative" as const;

export const multiplicativeAttentionSuite: Suite = {
  name: "multiplicative attention",
  cases: [
    {
      name: "every feature map, sequences and grids, forward and backward",
      run: async (context) => {
        await together(
          [
            { heads: 2, length: 1, headDim: 2, featureMap: "sikf", bias },
            { heads: 2, batch: 2, length: 40, headDim: 3, valueDim: 5, featureMap: "sikf", bias },
            { heads: 2, batch: 2, length: 40, headDim: 3, valueDim: 5, featureMap: "elu+1", bias, causal: true },
            { heads: 1, length: 61, headDim: 5, valueDim: 2, featureMap: "favor+", bias },
            { heads: 1, length: 40, headDim: 3, featureMap: "relu", bias, causal: true },
            { heads: 2, grid: [5, 7], headDim: 3, valueDim: 4, featureMap: "relu", bias },
            { heads: 2, batch: 3, length: 40, headDim: 3, featureMap: "sikf", bias, variableLengths: true },
            { heads: 1, length: 37, headDim: 3, valueDim: 2, featureMap: "dpfp", nu: 2, bias },
          ] satisfies AttentionOptions[],
          async (options, seed) => {
            await compareForward(context, options, seed);
            // Its many kernels take long to compile: of some.
            if (seed > 0 && seed !== 6 && options.featureMap !== "relu") {
              await compareBackward(context, options, seed);
            }
          },
        );
      },
    },
    {
      name: "a grid, forward and backward",
      sample: true,
      run: async (context) => {
        const options: AttentionOptions = { heads: 2, grid: [5, 7], headDim: 3, valueDim: 4, featureMap: "sikf", bias };
        await compareForward(context, options, 9);
        await compareBackward(context, options, 9);
      },
    },
    {
      name: "b = 0 is no bias",
      run: async (context) => {
        const options: AttentionOptions = { heads: 2, length: 100, headDim: 4, featureMap: "sikf" };
        const data = drawAttention(options, 5);
        const runtime = await context.runtime;
        const plain = await attend(runtime, options, data);
        const zero = { ...data, weights: data.weights.map(() => 0) };
        checkClose(await attend(runtime, { ...options, bias }, zero), plain, 2 * ATTENTION_BOUND, "b = 0");
        const large = { ...data, weights: data.weights.map(() => 500) };
        checkClose(await attend(runtime, { ...options, bias }, large), plain, 2 * ATTENTION_BOUND, "b = 500");
      },
    },
    {
      name: "values of any size: results and gradients in proportion, to the bit",
      run: async (context) => {
        const runtime = await context.runtime;
        const options: AttentionOptions = { heads: 2, batch: 2, length: 40, headDim: 3, valueDim: 5, featureMap: "sikf", bias };
        const data = drawAttention(options, 6);
        const evaluate = async (given: typeof data) => ({
          out: await attend(runtime, options, given),
          ...(await attendBackward(runtime, options, given)),
        });
        const plain = await evaluate(data);
        for (const factor of [2 ** 40, 2 ** -40]) {
          const scaled = await evaluate({ ...data, v: data.v.map((x) => x * factor) });
          for (const name of ["out", "dq", "dk", "dv", "dBias"] as const) {
            const gain = name === "dv" ? 1 : factor;
            const changed = scaled[name]!.findIndex((x, i) => x !== gain * plain[name]![i]!);
            check(
              changed < 0,
              `${name}[${changed}] of values times ${factor}: ${scaled[name]![changed]} instead of ${gain * plain[name]![changed]!}, seed 6`,
            );
          }
        }
      },
    },
    {
      name: "in groups of heads and features",
      run: async (context) => {
        const small = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 17 }, workspaceBytes: 2 ** 19 });
        try {
          const options: AttentionOptions = { heads: 3, batch: 2, length: 300, headDim: 9, valueDim: 11, featureMap: "sikf", bias };
          const data = drawAttention(options, 8);
          const cpu = await context.cpu;
          checkClose(await attend(small, options, data), await attend(cpu, options, data), ATTENTION_BOUND, JSON.stringify(options));
          const [actual, expected] = [await attendBackward(small, options, data), await attendBackward(cpu, options, data)];
          checkGradients(actual, expected, norm(data.dOut), GRADIENT_BOUND, JSON.stringify(options));
        } finally {
          small.dispose();
        }
      },
    },
  ],
};
