import { meanOverTokens } from "../../src/operations/mean-over-tokens/operation.ts";
import { meanOverTokensSpec } from "../../src/operations/mean-over-tokens/spec.ts";
import { task } from "../../src/operations/operation.ts";
import type { Runtime } from "../../src/index.ts";
import { normals, type Suite } from "./case.ts";
import { compareBackward, compareTask } from "./compare-nodes.ts";

const BOUND = 1e-6;

async function compare(runtime: Runtime, batch: number, length: number, width: number, variableLengths: boolean): Promise<void> {
  const seed = batch + length + width;
  const x = normals(seed, batch * length * width);
  // None, all, one, and a third of the tokens: what is beyond is no number.
  const lengths = Uint32Array.from({ length: batch }, (_, b) => [0, length, 1, Math.ceil(length / 3)][b % 4]!);
  if (variableLengths) for (const [b, count] of lengths.entries()) x.fill(NaN, (b * length + count) * width, (b + 1) * length * width);
  const given = { x, ...(variableLengths && { lengths }), dOut: normals(seed + 1, batch * width) };
  const one = task(meanOverTokens, meanOverTokensSpec({ batch, length, width, variableLengths }));
  const what = `${batch} × ${length} × ${width}, ${variableLengths ? "of lengths of their own, " : ""}seed ${seed}`;
  await compareTask(runtime, one, given, ["out"], BOUND, what);
  await compareBackward(runtime, one, given, ["x"], BOUND, what);
}

export const meanOverTokensSuite: Suite = {
  name: "mean over tokens",
  engineFree: "plain float32 arithmetic and integers, of which the sample has each kernel",
  cases: [
    {
      name: "few sequences and many, with lengths of their own and without",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        for (const variableLengths of [false, true]) {
          for (const [batch, length, width] of [
            [1, 1, 1],
            [4, 7, 3],
            [2, 3001, 64],
            [5, 784, 33],
          ] as const) {
            await compare(runtime, batch, length, width, variableLengths);
          }
        }
      },
    },
    {
      name: "in parts: bindings of 64 KiB",
      run: async (context) => {
        const small = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 16 } });
        try {
          for (const variableLengths of [false, true]) {
            for (const [batch, length, width] of [
              [5, 1001, 12],
              [4, 300, 37],
            ] as const) {
              await compare(small, batch, length, width, variableLengths);
            }
          }
        } finally {
          small.dispose();
        }
      },
    },
  ],
};
