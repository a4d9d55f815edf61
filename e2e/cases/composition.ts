/** Plans that stand in a larger one, and what plans keep between runs. */
import { fftSpec } from "../../src/operations/fft/spec.ts";
import { attentionSpec } from "../../src/operations/attention/spec.ts";
import { graph, graphSpec } from "../../src/graph/graph.ts";
import { planProgram, type Task, task, type TaskNode } from "../../src/operations/operation.ts";
import { taskOf } from "../../src/testing/operations.ts";
import { check, normals, scoped, type Suite } from "./case.ts";
import { runProgram } from "./run-program.ts";

/** Two attentions, the second of the first one's result, and a transform of that: names of values by those of the operations' tensors. */
export function composed(length: number): { readonly nodes: readonly TaskNode[]; readonly results: readonly string[] } {
  const shape = { heads: 2, length, headDim: 8 } as const;
  const first = taskOf(attentionSpec({ ...shape, featureMap: "sikf", bias: "fastrpb" }));
  const second = taskOf(attentionSpec({ ...shape, featureMap: "elu+1", causal: true }));
  const spectra = first.operation.preparation!(first.spec)!;
  const transform = taskOf(fftSpec({ shape: [1, 2, length, 8], axes: [2], kind: "r2c" }));
  return {
    nodes: [
      { task: spectra, values: { weights: "weights", spectrum: "spectrum" } },
      { task: first, values: { q: "q", k: "k", v: "v", spectrum: "spectrum", out: "attended" } },
      { task: second, values: { q: "attended", k: "k", v: "v", out: "again" } },
      { task: transform, values: { x: "again", out: "transformed" } },
    ],
    results: ["again", "transformed"],
  };
}

type Numbers = Readonly<Record<string, Float32Array>>;

const sameBits = (a: ArrayBuffer, b: ArrayBuffer) => {
  const [x, y] = [new Uint32Array(a), new Uint32Array(b)];
  return x.length === y.length && x.every((word, i) => word === y[i]);
};

export const compositionSuite: Suite = {
  name: "composition",
  cases: [300, 5000].map((length) => ({
    sample: length === 300,
    name: `two attentions of ${length} tokens and an FFT in one Program, in less memory than one after the other, bit for bit`,
    run: async (context) => {
      const runtime = await context.runtime;
      const { limits } = runtime;
      const { nodes, results } = composed(length);
      const values: Record<string, Float32Array> = {
        q: normals(1, 16 * length),
        k: normals(2, 16 * length),
        v: normals(3, 16 * length),
        weights: normals(4, 2 * (2 * length - 1)),
      };
      const programOf = (one: Task) => planProgram("test", one, limits);
      const run = (one: Task, inputs: Numbers) => runProgram(runtime.device!, programOf(one), inputs);
      const whole = task(graph, graphSpec({ nodes, results }));
      const { spectrum, ...inputs } = values;
      check(spectrum === undefined, "the spectrum is made inside");
      const together = await run(whole, inputs);
      // One after the other, in Programs of their own.
      let separateBytes = 0;
      const alone: Record<string, ArrayBuffer> = {};
      for (const { task: one, values: names } of nodes) {
        const read = Object.entries(names).filter(([, name]) => values[name]);
        const outputs = await run(one, Object.fromEntries(read.map(([tensor, name]) => [tensor, values[name]!])));
        for (const [tensor, bits] of Object.entries(outputs)) {
          const name = names[tensor]!;
          alone[name] = bits;
          values[name] = new Float32Array(bits);
          if (!results.includes(name)) separateBytes += bits.byteLength;
        }
        separateBytes += programOf(one).cost.workspaceBytes;
      }
      for (const name of results) check(sameBits(together[name]!, alone[name]!), `${name} differs`);
      const { workspaceBytes } = programOf(whole).cost;
      check(workspaceBytes < separateBytes, `${workspaceBytes} bytes together, ${separateBytes} one by one`);
    },
  })),
};

/** Calls of a method of an object from now on. */
function countCalls(owner: object, name: string): () => number {
  const target = owner as Record<string, (...args: unknown[]) => unknown>;
  const original = target[name]!.bind(owner);
  let calls = 0;
  target[name] = (...args) => {
    calls++;
    return original(...args);
  };
  return () => calls;
}

export const reuseSuite: Suite = {
  name: "reuse",
  sample: true,
  cases: [
    {
      name: "recordings with lengths hold no buffer after their submit",
      run: async (context) => {
        const runtime = await context.open();
        try {
          const device = runtime.device!;
          const plan = await runtime.attention({ batch: 2, heads: 1, length: 40, headDim: 4, featureMap: "sikf", variableLengths: true });
          const [q, k, v] = [1, 2, 3].map((seed) => runtime.tensor(normals(seed, 320), [2, 1, 40, 4]));
          const out = runtime.tensor(new Float32Array(320).fill(NaN), [2, 1, 40, 4]);
          const record = (lengths: readonly number[]) => {
            const encoder = device.createCommandEncoder();
            plan.encode(encoder, { q: q!, k: k!, v: v!, lengths }, { out });
            device.queue.submit([encoder.finish()]);
          };
          record([40, 7]);
          const before = runtime.memory();
          for (let i = 0; i < 100; i++) record([40 - (i % 40), i % 41]);
          const after = runtime.memory();
          check(after.buffers === before.buffers && after.liveBytes === before.liveBytes, `${before.buffers} buffers, then ${after.buffers}`);
          record([40, 7]);
          const expected = await plan.run({ q: q!, k: k!, v: v!, lengths: [40, 7] }).data();
          check(sameBits((await out.data()).buffer as ArrayBuffer, expected.buffer as ArrayBuffer), "the recorded result differs");
        } finally {
          runtime.dispose();
        }
      },
    },
    {
      name: "bind groups are made once for the same tensors, and anew for others",
      run: async (context) => {
        const runtime = await context.open();
        try {
          const plan = await runtime.fft({ shape: [3, 16] });
          const [x, y] = [1, 2].map((seed) => runtime.tensor(normals(seed, 96), [3, 16], "complex64"));
          const [out, other] = [0, 1].map(() => runtime.tensor(new Float32Array(96).fill(NaN), [3, 16], "complex64"));
          const groups = countCalls(runtime.device!, "createBindGroup");
          const made = async (work: () => void) => {
            const before = groups();
            work();
            return groups() - before;
          };
          const { dispatches } = plan.cost;
          check((await made(() => plan.run(x!, { out: out! }))) === dispatches, "the first run");
          for (let i = 0; i < 10; i++) check((await made(() => plan.run(x!, { out: out! }))) === 0, `run ${i} with the same tensors`);
          check((await made(() => plan.run(y!, { out: out! }))) === dispatches, "a run with another input");
          check((await made(() => plan.run(x!, { out: out! }))) === 0, "back to the first one");
          check((await made(() => plan.run(x!, { out: other! }))) === dispatches, "a run with another output");
          const [first, second] = [await out!.data(), await other!.data()];
          check(sameBits(first.buffer as ArrayBuffer, second.buffer as ArrayBuffer), "results differ");
          // What was released and comes back as another tensor's memory is bound as that.
          const fresh = plan.run(x!);
          fresh.dispose();
          const reused = plan.run(y!);
          const direct = plan.run(y!, { out: out! });
          check(sameBits((await reused.data()).buffer as ArrayBuffer, (await direct.data()).buffer as ArrayBuffer), "a reused buffer");
        } finally {
          runtime.dispose();
        }
      },
    },
    {
      name: "a gradient runs at once, bit by bit, recorded and timed, with the same bits and a cost",
      run: async (context) => {
        const runtime = await context.runtime;
        await scoped(runtime, async (scope) => {
          const plan = scope.keep(await runtime.attention({ heads: 2, length: 70, headDim: 4, featureMap: "sikf", bias: "fastrpb" }));
          const rows = (seed: number) => scope.tensor(normals(seed, 560), [1, 2, 70, 4]);
          const bias = scope.tensor(normals(5, 2 * 139), [2, 139]);
          const inputs = { q: rows(1), k: rows(2), v: rows(3), dOut: rows(4), bias };
          const { dispatches, cost } = await plan.compileBackward();
          check(plan.gradient.cost.dispatches === cost.dispatches && cost.dispatches === dispatches.length && cost.dispatches > 0, "cost");
          const device = runtime.device!;
          const encoder = device.createCommandEncoder();
          const recorded = plan.gradient.encode(encoder, inputs);
          device.queue.submit([encoder.finish()]);
          let progress = 0;
          const ways = {
            backward: plan.backward(inputs),
            run: plan.gradient.run(inputs, { check: true }),
            runAsync: await plan.gradient.runAsync(inputs, { onProgress: ({ fraction }) => (progress = fraction) }),
            encode: recorded,
            profile: (await plan.gradient.profile(inputs)).output,
          };
          check(progress === 1, `progress ended at ${progress}`);
          for (const name of ["dq", "dk", "dv", "dBias"] as const) {
            const expected = await ways.backward[name]!.data();
            check(expected.every(Number.isFinite), `${name} is not finite`);
            for (const [way, gradients] of Object.entries(ways)) {
              check(sameBits((await gradients[name]!.data()).buffer as ArrayBuffer, expected.buffer as ArrayBuffer), `${name} by ${way} differs`);
              scope.keep(gradients[name]!);
            }
          }
        });
      },
    },
  ],
};
