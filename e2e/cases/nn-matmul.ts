import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import type { Runtime } from "../../src/index.ts";
import { matmul } from "../../src/operations/matmul/operation.ts";
import { planMatmul } from "../../src/operations/matmul/plan.ts";
import { type MatmulOptions, matmulSpec } from "../../src/operations/matmul/spec.ts";
import { MATMUL_TILES } from "../../src/operations/matmul/tiles.ts";
import { elementCount } from "../../src/core/check.ts";
import { type Operation, task } from "../../src/operations/operation.ts";
import type { MatmulSpec } from "../../src/operations/matmul/spec.ts";
import type { MatmulTile } from "../../shaders/nn/matmul.ts";
import { normals, type Suite, together } from "./case.ts";
import { compareBackward, compareTask, type NarrowValues } from "./compare-nodes.ts";

const BOUND = 1e-6;

/** Normal numbers for the inputs, and for dOut. */
function inputs(runtime: Runtime, spec: MatmulSpec, seed: number): NarrowValues {
  const { out, ...rest } = matmul.tensors(spec, runtime.limits);
  const all = { ...rest, dOut: out! };
  return Object.fromEntries(Object.entries(all).map(([name, { shape }], i) => [name, normals(seed + i, elementCount(shape))]));
}

async function compare(runtime: Runtime, options: MatmulOptions, operation: Operation<MatmulSpec> = matmul): Promise<void> {
  const spec = matmulSpec(options);
  const seed = options.m + 3 * options.n + 7 * options.k;
  const { dOut: _, ...given } = inputs(runtime, spec, seed);
  await compareTask(runtime, task(operation, spec), given, ["out"], BOUND, `${JSON.stringify(options)}, seed ${seed}`);
}

async function compareGradients(runtime: Runtime, options: MatmulOptions): Promise<void> {
  const spec = matmulSpec(options);
  const seed = options.m + 3 * options.n + 7 * options.k;
  const wanted = Object.keys(matmul.tensors(spec, runtime.limits)).filter((name) => name !== "out");
  await compareBackward(
    runtime,
    task(matmul, spec),
    inputs(runtime, spec, seed),
    wanted,
    BOUND,
    `gradients of ${JSON.stringify(options)}, seed ${seed}`,
  );
}

/** The operation with one tile. */
function withTile(tile: MatmulTile): Operation<MatmulSpec> {
  return { ...matmul, plan: (program, spec, tensors, scratch) => planMatmul(program, spec, tensors, scratch, [tile]) };
}

const TRANSPOSED = [false, true].flatMap((transposeA) => [false, true].map((transposeB) => ({ transposeA, transposeB })));

export const nnMatmulSuite: Suite = {
  name: "nn matmul",
  engineFree: "plain float32 arithmetic and integers, of which the sample has each kernel",
  cases: [
    {
      name: "sizes, transposed or not",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        const sizes = [
          [36, 20, 44],
          [37, 19, 21],
        ] as const;
        await together(
          sizes.flatMap(([m, n, k]) => TRANSPOSED.map((transposed) => ({ m, n, k, ...transposed }))),
          (options) => compare(runtime, options),
        );
      },
    },
    {
      name: "bias, activation, residual, batch",
      run: async (context) => {
        const runtime = await context.runtime;
        for (const activation of ["none", "relu", "gelu", "gelu-tanh"] as const) {
          for (const [m, n, k] of [
            [34, 12, 8],
            [11, 9, 5],
            [2, 9, 5],
          ] as const) {
            await compare(runtime, { batch: 2, m, n, k, bias: true, residual: activation !== "relu", activation });
          }
        }
      },
    },
    {
      name: "few rows",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        for (const transposed of TRANSPOSED) {
          await compare(runtime, { m: 1, n: 132, k: 128, bias: true, ...transposed });
          await compare(runtime, { batch: 2, m: 3, n: 13, k: 7, bias: true, ...transposed });
        }
        await compare(runtime, { m: 8, n: 70, k: 444, transposeB: true, residual: true, activation: "gelu" });
        await compare(runtime, { m: 1, n: 1, k: 1 });
      },
    },
    {
      name: "sums over k that are split or go by turns",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        await compare(runtime, { m: 20, n: 24, k: 6000, transposeA: true });
        await compare(runtime, { batch: 2, m: 21, n: 10, k: 3001, bias: true, residual: true, activation: "relu" });
        await compare(runtime, { m: 300, n: 260, k: 4200, transposeB: true, bias: true });
      },
    },
    {
      name: "heads taken apart and put together",
      run: async (context) => {
        const runtime = await context.runtime;
        for (const [length, heads, width] of [
          [12, 2, 8],
          [7, 3, 5],
        ] as const) {
          const [rows, columns] = [3 * length, heads * width];
          await compare(runtime, { m: rows, n: columns, k: 20, transposeB: true, bias: true, heads: { of: "out", length, heads } });
          await compare(runtime, { m: rows, n: 20, k: columns, transposeB: true, residual: true, heads: { of: "a", length, heads } });
          await compareGradients(runtime, { m: rows, n: columns, k: 20, transposeB: true, bias: true, heads: { of: "out", length, heads } });
          await compareGradients(runtime, { m: rows, n: 20, k: columns, transposeB: true, heads: { of: "a", length, heads } });
          await compareGradients(runtime, { m: rows, n: 20, k: columns, heads: { of: "a", length, heads } });
        }
      },
    },
    {
      name: "gradients",
      run: async (context) => {
        const runtime = await context.runtime;
        for (const transposed of TRANSPOSED) {
          await compareGradients(runtime, { m: 40, n: 24, k: 12, bias: true, residual: true, ...transposed });
          await compareGradients(runtime, { batch: 3, m: 17, n: 9, k: 13, bias: true, ...transposed });
        }
      },
    },
    {
      name: "every tile",
      run: async (context) => {
        const runtime = await context.runtime;
        // SwiftShader takes seconds for the text of a large one.
        for (const tile of MATMUL_TILES.filter(({ rows, columns }) => Math.min(rows, columns) < 128)) {
          await compare(runtime, { m: 70, n: 68, k: 37, transposeB: true }, withTile(tile));
        }
      },
    },
    {
      name: "in parts: small bindings",
      run: async (context) => {
        const small = await context.open({ limits: { ...DEFAULT_LIMITS, maxStorageBufferBindingSize: 2 ** 14 } });
        try {
          await compare(small, { m: 500, n: 12, k: 20, transposeB: true, bias: true, residual: true });
          await compare(small, { m: 501, n: 15, k: 19 });
          await compare(small, { m: 20, n: 12, k: 1000, transposeA: true, bias: true });
          await compare(small, { m: 400, n: 30, k: 5, transposeA: true, transposeB: true });
          await compare(small, { batch: 40, m: 20, n: 12, k: 20 });
          await compare(small, { m: 700, n: 12, k: 20, transposeB: true, heads: { of: "out", length: 35, heads: 3 } });
          await compare(small, { m: 12, n: 20, k: 700, transposeA: true, heads: { of: "a", length: 35, heads: 3 } });
        } finally {
          small.dispose();
        }
      },
    },
  ],
};
