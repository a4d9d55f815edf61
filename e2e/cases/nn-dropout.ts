import { dropout } from "../../src/operations/dropout/operation.ts";
import { dropoutSpec } from "../../src/operations/dropout/spec.ts";
import { task } from "../../src/operations/operation.ts";
import type { Runtime } from "../../src/index.ts";
import { runTask } from "../../src/testing/nodes.ts";
import { normals } from "../../src/testing/random.ts";
import { check, type Suite } from "./case.ts";
import { compareBackward, compareTask } from "./compare-nodes.ts";

const LARGEST_WORD = 2 ** 32 - 1;

/** Results within a rounding or two, and masks that are equal. */
async function compare(runtime: Runtime, size: number, rate: number, site: number, clock: readonly number[]): Promise<void> {
  const what = `dropout ${JSON.stringify({ size, rate, site, clock })}`;
  const one = task(dropout, dropoutSpec({ size, rate, site }));
  const given = { x: normals(size, size), clock: Uint32Array.from(clock) };
  const { out } = await compareTask(runtime, one, given, ["out"], 2 ** -22, what);
  const expected = await runTask(one, { x: Float64Array.from(given.x), clock: given.clock });
  const differs = out!.findIndex((value, i) => (value === 0) !== (expected["out"]![i] === 0));
  check(differs < 0, `${what}: the mask differs at ${differs}`);
  await compareBackward(runtime, one, { ...given, dOut: normals(size + 1, size) }, ["x"], 2 ** -22, what);
}

export const dropoutSuite: Suite = {
  name: "nn dropout",
  engineFree: "plain float32 arithmetic and integers, of which the sample has each kernel",
  cases: [
    {
      name: "masks as on the CPU, forward and backward",
      sample: true,
      run: async ({ runtime: opened }) => {
        const runtime = await opened;
        const clocks = [
          [1, 0, 0, 0],
          [LARGEST_WORD, LARGEST_WORD, LARGEST_WORD, 5],
          [12345, 678, 90, 0],
        ];
        for (const size of [1, 4, 7, 1001, 10_000]) {
          for (const [i, rate] of [0, 0.1, 0.97].entries()) await compare(runtime, size, rate, i === 0 ? 0 : LARGEST_WORD - i, clocks[i]!);
        }
      },
    },
    {
      name: "in parts: bindings of 8 KiB",
      run: async (context) => {
        const small = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 13 } });
        try {
          for (const size of [20_000, 20_001, 20_003]) await compare(small, size, 0.5, 3, [7, 0, 9, 0]);
        } finally {
          small.dispose();
        }
      },
    },
  ],
};
