import { embedding } from "../../src/operations/embedding/operation.ts";
import { embeddingSpec } from "../../src/operations/embedding/spec.ts";
import { planProgram, task } from "../../src/operations/operation.ts";
import type { Runtime } from "../../src/index.ts";
import { normals, random } from "../../src/testing/random.ts";
import { check, type Suite } from "./case.ts";
import { compareBackward, compareTask } from "./compare-nodes.ts";
import { runProgram } from "./run-program.ts";

const BOUND = 1e-6;

interface Shape {
  readonly tokens: number;
  readonly count: number;
  readonly width: number;
}

/** How a token's index comes of a uniform number: which may make some far more frequent than others. */
const DRAWS = {
  evenly: (u: number, count: number) => Math.floor(u * count),
  "mostly the first": (u: number, count: number) => Math.floor(u ** 8 * count),
  "all the last": (_u: number, count: number) => count - 1,
} as const;

function drawn({ tokens, count, width }: Shape, draw: keyof typeof DRAWS) {
  const seed = tokens + 3 * count + 5 * width;
  const uniform = random(seed);
  const indices = Uint32Array.from({ length: tokens }, () => DRAWS[draw](uniform(), count));
  return { what: `embedding ${JSON.stringify({ tokens, count, width, draw, seed })}`, indices, dOut: normals(seed, tokens * width), seed };
}

async function compare(runtime: Runtime, shape: Shape, draw: keyof typeof DRAWS = "evenly"): Promise<void> {
  const { what, indices, dOut, seed } = drawn(shape, draw);
  const given = { indices, table: normals(seed + 1, shape.count * shape.width) };
  const one = task(embedding, embeddingSpec(shape));
  await compareTask(runtime, one, given, ["out"], 0, what);
  await compareBackward(runtime, one, { ...given, dOut }, ["table"], BOUND, what);
}

async function gradientBits(runtime: Runtime, shape: Shape, data: { readonly indices: Uint32Array; readonly dOut: Float32Array }) {
  const { nodes } = embedding.backward!(embeddingSpec(shape), ["table"]);
  const got = await runProgram(runtime.device!, planProgram("test", nodes[0]!.task, runtime.limits), data);
  return new Uint32Array(got["dTable"]!);
}

export const embeddingSuite: Suite = {
  name: "nn embedding",
  engineFree: "plain float32 arithmetic and integers, of which the sample has each kernel",
  cases: [
    {
      name: "tables small and large, forward and backward",
      sample: true,
      run: async ({ runtime: opened }) => {
        const runtime = await opened;
        await compare(runtime, { tokens: 1, count: 1, width: 1 });
        await compare(runtime, { tokens: 1500, count: 256, width: 8 }, "mostly the first");
        await compare(runtime, { tokens: 300, count: 70_000, width: 3 });
      },
    },
    {
      name: "runs of every length",
      run: async ({ runtime: opened }) => {
        const runtime = await opened;
        for (const tokens of [31, 32, 33, 1024, 1025, 2500]) await compare(runtime, { tokens, count: 3, width: 4 }, "all the last");
        for (const count of [2, 30, 257, 1000]) {
          await compare(runtime, { tokens: 5000, count, width: 5 });
          await compare(runtime, { tokens: 5000, count, width: 8 }, "mostly the first");
        }
      },
    },
    {
      name: "many tokens, all the same or not, and a large table",
      run: async ({ runtime: opened }) => {
        const runtime = await opened;
        await compare(runtime, { tokens: 50_000, count: 256, width: 4 }, "all the last");
        await compare(runtime, { tokens: 50_000, count: 256, width: 4 }, "mostly the first");
        await compare(runtime, { tokens: 200_000, count: 100_000, width: 4 });
        await compare(runtime, { tokens: 200_000, count: 100_000, width: 1 }, "mostly the first");
      },
    },
    {
      name: "in parts, and with small workgroups",
      run: async (context) => {
        const small = await context.open({
          limits: { maxStorageBufferBindingSize: 2 ** 15, maxComputeInvocationsPerWorkgroup: 16 },
          workspaceBytes: 200_000, // `out` among them
        });
        try {
          await compare(small, { tokens: 3000, count: 300, width: 12 });
          await compare(small, { tokens: 3001, count: 40, width: 7 }, "mostly the first");
          await compare(small, { tokens: 3000, count: 5, width: 8 }, "all the last");
        } finally {
          small.dispose();
        }
      },
    },
    {
      name: "indices that are no row: NaN, and nothing in the gradient",
      sample: true,
      run: async ({ runtime: opened }) => {
        const runtime = await opened;
        for (const width of [3, 8]) {
          const shape = { tokens: 500, count: 9, width };
          const { indices, dOut } = drawn(shape, "evenly");
          for (const [i, index] of [9, 10, 255, 2 ** 31, 2 ** 32 - 1].entries()) indices[100 * i + 7] = index;
          const table = normals(3, 9 * width);
          const forward = await runProgram(runtime.device!, planProgram("test", task(embedding, embeddingSpec(shape)), runtime.limits), {
            indices,
            table,
          });
          const wrong = new Float32Array(forward["out"]!).findIndex((value, i) => {
            const index = indices[Math.floor(i / width)]!;
            return index < 9 ? value !== table[index * width + (i % width)] : !Number.isNaN(value);
          });
          check(wrong < 0, `width ${width}: element ${wrong} is wrong`);
          await compareBackward(
            runtime,
            task(embedding, embeddingSpec(shape)),
            { indices, table, dOut },
            ["table"],
            BOUND,
            `no rows, width ${width}`,
          );
        }
      },
    },
    {
      name: "the same bits every time",
      run: async ({ runtime: opened }) => {
        const runtime = await opened;
        const shape = { tokens: 20_000, count: 300, width: 8 };
        const data = drawn(shape, "mostly the first");
        const [first, ...others] = [
          await gradientBits(runtime, shape, data),
          await gradientBits(runtime, shape, data),
          await gradientBits(runtime, shape, data),
        ];
        for (const other of others)
          check(
            other.every((bits, i) => bits === first![i]),
            "two runs differ",
          );
      },
    },
  ],
};
