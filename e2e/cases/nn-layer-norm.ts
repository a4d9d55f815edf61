import type { NormKind } from "../../shaders/nn/norm-rows.ts";
import { norm } from "../../src/operations/layer-norm/operation.ts";
import { normSpec } from "../../src/operations/layer-norm/spec.ts";
import { task } from "../../src/operations/operation.ts";
import type { Runtime } from "../../src/index.ts";
import { normals, type Suite } from "./case.ts";
import { compareBackward, compareTask } from "./compare-nodes.ts";

const BOUND = 1e-6;

interface Rows {
  readonly rows: number;
  readonly width: number;
  readonly bias?: boolean;
  /** Added to every number of x. */
  readonly mean?: number;
}

async function compare(runtime: Runtime, kind: NormKind, { rows, width, bias = kind === "layer", mean = 0 }: Rows): Promise<void> {
  const seed = rows + width;
  const given = {
    x: normals(seed, rows * width).map((x) => x + mean),
    weight: normals(seed + 1, width).map((x) => 1 + x / 4),
    ...(bias && { bias: normals(seed + 2, width) }),
    dOut: normals(seed + 3, rows * width),
  };
  const one = task(norm, normSpec({ kind, rows, width, epsilon: 1e-5, bias }));
  const what = `${kind}, ${JSON.stringify({ rows, width, bias, mean })}, seed ${seed}`;
  await compareTask(runtime, one, given, ["out"], BOUND, what);
  // Of rows of one number dX is 0 but for ε.
  const wanted = [...(width > 1 ? ["x", "weight"] : []), ...(bias ? ["bias"] : [])];
  await compareBackward(runtime, one, given, wanted, BOUND, what);
}

export const layerNormSuite: Suite = {
  name: "layer norm and RMS norm",
  engineFree: "plain float32 arithmetic and integers, of which the sample has each kernel",
  cases: [
    {
      name: "narrow and wide, of whole vectors and not",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        for (const kind of ["layer", "rms"] as const) {
          await compare(runtime, kind, { rows: 400, width: 37 });
          await compare(runtime, kind, { rows: 700, width: 128 });
        }
        await compare(runtime, "rms", { rows: 1, width: 3 });
        await compare(runtime, "layer", { rows: 70, width: 4 });
        await compare(runtime, "layer", { rows: 5, width: 1 });
        await compare(runtime, "layer", { rows: 9, width: 64, bias: false });
      },
    },
    {
      name: "rows of 16384 and of an odd number, a few and many",
      run: async (context) => {
        const runtime = await context.runtime;
        for (const kind of ["layer", "rms"] as const) {
          await compare(runtime, kind, { rows: 3, width: 16_384 });
          await compare(runtime, kind, { rows: 3, width: 5003 });
          await compare(runtime, kind, { rows: 9000, width: 20 });
          await compare(runtime, kind, { rows: 5, width: 1000 });
        }
      },
    },
    {
      name: "numbers whose mean is ten thousand times their deviation",
      run: async (context) => {
        const runtime = await context.runtime;
        for (const width of [8, 37, 128, 2048]) await compare(runtime, "layer", { rows: 70, width, mean: 1e4 });
      },
    },
    {
      name: "in parts: bindings of 64 KiB",
      run: async (context) => {
        const small = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 16 } });
        try {
          for (const kind of ["layer", "rms"] as const) {
            for (const [rows, width] of [
              [1001, 33],
              [700, 260],
              [11_000, 4],
            ] as const) {
              await compare(small, kind, { rows, width });
            }
          }
        } finally {
          small.dispose();
        }
      },
    },
  ],
};
