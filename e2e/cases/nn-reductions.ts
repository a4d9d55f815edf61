import { task } from "../../src/operations/operation.ts";
import { columnSums } from "../../src/operations/reductions/operation.ts";
import { columnSumsSpec } from "../../src/operations/reductions/spec.ts";
import type { Runtime } from "../../src/index.ts";
import { normals, type Suite } from "./case.ts";
import { compareTask } from "./compare-nodes.ts";

const BOUND = 1e-6;

async function compare(runtime: Runtime, rows: number, columns: number): Promise<void> {
  const seed = rows + columns;
  const x = normals(seed, rows * columns);
  await compareTask(runtime, task(columnSums, columnSumsSpec({ rows, columns })), { x }, ["out"], BOUND, `${rows} × ${columns}, seed ${seed}`);
}

export const reductionSuite: Suite = {
  name: "column sums",
  engineFree: "plain float32 arithmetic and integers, of which the sample has each kernel",
  cases: [
    {
      name: "few rows and many, of whole vectors and not",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        for (const rows of [1, 7, 300, 5001]) for (const columns of [1, 3, 4, 37, 128]) await compare(runtime, rows, columns);
        for (const [rows, columns] of [
          [3, 20_003],
          [2, 65_536],
          [150_000, 1],
        ] as const) {
          await compare(runtime, rows, columns);
        }
      },
    },
    {
      name: "in parts: bindings of 64 KiB, and short scratch",
      run: async (context) => {
        const small = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 16 }, workspaceBytes: 2 ** 16 });
        try {
          for (const [rows, columns] of [
            [3001, 33],
            [1000, 260],
            [40, 2001],
          ] as const) {
            await compare(small, rows, columns);
          }
        } finally {
          small.dispose();
        }
      },
    },
  ],
};
