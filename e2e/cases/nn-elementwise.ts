import type { ActivationKind } from "../../shaders/nn/activation.ts";
import { accumulate, activation, add, multiply } from "../../src/operations/elementwise/operation.ts";
import { accumulateSpec, activationSpec, addSpec, multiplySpec } from "../../src/operations/elementwise/spec.ts";
import { task } from "../../src/operations/operation.ts";
import type { Runtime } from "../../src/index.ts";
import { runTask } from "../../src/testing/nodes.ts";
import { check, normals, type Suite } from "./case.ts";
import { compareBackward, compareTask } from "./compare-nodes.ts";

const BOUND = 1e-6;
const KINDS: readonly ActivationKind[] = ["relu", "gelu", "gelu-tanh"];

async function compareCombined(runtime: Runtime, size: number, period: number): Promise<void> {
  const seed = size + period;
  const given = { x: normals(seed, size), y: normals(seed + 1, period), dOut: normals(seed + 2, size) };
  for (const one of [task(add, addSpec({ size, period })), task(multiply, multiplySpec({ size, period }))]) {
    const what = `${one.operation.name}, ${size} and ${period}, seed ${seed}`;
    await compareTask(runtime, one, given, ["out"], BOUND, what);
    const wanted = one.operation === add ? ["y"] : ["x", "y"];
    if (period < size || one.operation === multiply) await compareBackward(runtime, one, given, wanted, BOUND, what);
  }
}

async function compareActivations(runtime: Runtime, size: number): Promise<void> {
  const given = { x: normals(size, size).map((x) => 2 * x), dOut: normals(size + 1, size) };
  for (const kind of KINDS) {
    const one = task(activation, activationSpec({ size, kind }));
    await compareTask(runtime, one, given, ["out"], BOUND, `${kind} of ${size}, seed ${size}`);
    await compareBackward(runtime, one, given, ["x"], BOUND, `${kind} of ${size}, seed ${size}`);
  }
}

/** Checks each of the numbers against float64, relative to itself. */
async function compareEach(runtime: Runtime, kind: ActivationKind, from: number, to: number, bound: number): Promise<void> {
  const size = 801;
  const given = { x: Float32Array.from({ length: size }, (_, i) => from + ((to - from) * i) / (size - 1)), dOut: new Float32Array(size).fill(1) };
  const one = task(activation, activationSpec({ size, kind }));
  const x = Float64Array.from(given.x);
  const forward = await runTask(one, { x });
  const { nodes } = activation.backward!(activationSpec({ size, kind }), ["x"]);
  const slopes = await runTask(nodes[0]!.task, { ...forward, dOut: new Float64Array(size).fill(1) });
  const { out } = await compareTask(runtime, one, given, ["out"], BOUND, kind);
  const { dX } = await compareBackward(runtime, one, given, ["x"], BOUND, kind);
  for (const [name, got, expected] of [
    ["value", out!, forward["out"]!],
    ["slope", dX!, slopes["dX"]!],
  ] as const) {
    for (let i = 0; i < size; i++) {
      const error = Math.abs(got[i]! / expected[i]! - 1);
      check(error <= bound, `${name} of ${kind} at ${x[i]} is ${got[i]} instead of ${expected[i]}: off by ${error}`);
    }
  }
}

export const elementwiseSuite: Suite = {
  name: "sums, products and activations",
  engineFree: "plain float32 arithmetic and integers, of which the sample has each kernel",
  cases: [
    {
      name: "of whole vectors and not, repeated and not",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        for (const [size, period] of [
          [1, 1],
          [7, 7],
          [15, 3],
          [1000, 4],
          [1000, 25],
          [4096, 4096],
        ] as const) {
          await compareCombined(runtime, size, period);
        }
        for (const size of [1, 1001, 4096]) await compareActivations(runtime, size);
        for (const size of [5, 1024]) {
          const given = { x: normals(size, size), out: normals(size + 1, size) };
          await compareTask(runtime, task(accumulate, accumulateSpec({ size })), given, ["out"], BOUND, `accumulate ${size}, seed ${size}`);
        }
      },
    },
    {
      name: "small numbers of activations to 2e-6 of themselves",
      run: async (context) => {
        const runtime = await context.runtime;
        // The slopes have a zero near −0.75.
        for (const [from, to] of [
          [-12, -1],
          [-0.5, -1e-3],
          [1e-3, 9],
        ] as const) {
          await compareEach(runtime, "gelu", from, to, 2e-6);
        }
        await compareEach(runtime, "gelu-tanh", -5, -1, 5e-6);
        await compareEach(runtime, "gelu-tanh", 1e-3, 9, 2e-6);
      },
    },
    {
      name: "in parts: bindings of 64 KiB",
      run: async (context) => {
        const small = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 16 } });
        try {
          for (const [size, period] of [
            [50_000, 1000],
            [50_001, 50_001],
            [33_333, 3],
          ] as const) {
            await compareCombined(small, size, period);
          }
          await compareActivations(small, 40_004);
        } finally {
          small.dispose();
        }
      },
    },
  ],
};
