/** Runs that are like earlier ones: what they still ask of the device, counted, and faults that must be told all the same. */
import { STORAGE_USAGE } from "../../src/gpu/usage.ts";
import type { AttentionInputs, AttentionPlan, Runtime, Tensor } from "../../src/index.ts";
import { type CaseContext, check, checkClose, checkRefused, normals, type Suite } from "./case.ts";

const ATTENTION = { heads: 2, length: 24, headDim: 4, featureMap: "sikf", bias: "fastrpb" } as const;
const SHAPE = [1, 2, 24, 4];
const NUMBERS = 192;

/** What costs a run time on the host, besides its commands. */
const COUNTED = ["pushErrorScope", "popErrorScope", "createBuffer", "createBindGroup"] as const;

type Counts = Record<(typeof COUNTED)[number], number>;

/** Counts these calls of a device from now on; the result tells how many some work makes, and its `since`, with those that it makes later. */
function countCalls(device: GPUDevice): ((work: () => unknown) => Counts) & { since(): Counts } {
  const calls = { pushErrorScope: 0, popErrorScope: 0, createBuffer: 0, createBindGroup: 0 };
  for (const name of COUNTED) {
    const original = device[name].bind(device) as (...args: unknown[]) => unknown;
    Object.assign(device, {
      [name]: (...args: unknown[]) => {
        calls[name]++;
        return original(...args);
      },
    });
  }
  const since = () => ({ ...calls });
  const during = (work: () => unknown) => {
    for (const name of COUNTED) calls[name] = 0;
    work();
    return since();
  };
  return Object.assign(during, { since });
}

interface Prepared {
  readonly runtime: Runtime;
  readonly plan: AttentionPlan;
  readonly inputs: AttentionInputs & { readonly bias: Tensor };
  /** How many errors no scope has caught. */
  readonly uncaught: () => number;
}

/** Runs a test on a runtime of its own, whose uncaptured errors are counted. */
async function prepared(context: CaseContext, test: (prepared: Prepared) => Promise<void>): Promise<void> {
  const runtime = await context.open();
  let uncaught = 0;
  runtime.device!.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    uncaught++;
  });
  try {
    const plan = await runtime.attention(ATTENTION);
    const [q, k, v] = [1, 2, 3].map((seed) => runtime.tensor(normals(seed, NUMBERS), SHAPE)) as [Tensor, Tensor, Tensor];
    const bias = runtime.tensor(normals(4, 2 * 47), [2, 47]);
    await test({ runtime, plan, inputs: { q, k, v, bias }, uncaught: () => uncaught });
  } finally {
    runtime.dispose();
  }
}

/** A buffer of the caller's own, and the tensor that is wrapped around it. */
function wrapped(runtime: Runtime, data: Float32Array): { readonly buffer: GPUBuffer; readonly tensor: Tensor } {
  const buffer = runtime.device!.createBuffer({ size: data.byteLength, usage: STORAGE_USAGE });
  runtime.device!.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>);
  return { buffer, tensor: runtime.wrap(buffer, SHAPE) };
}

export const repeatedSuite: Suite = {
  name: "repeated runs",
  sample: true,
  cases: [
    {
      name: "the device is asked for errors, buffers and bind groups by what is new, and for nothing by what is not",
      run: (context) =>
        prepared(context, async ({ runtime, plan, inputs }) => {
          const spectrum = plan.prepare(inputs.bias);
          const out = runtime.tensor(new Float32Array(NUMBERS), SHAPE);
          const runs = {
            "into a tensor": () => void plan.run({ ...inputs, bias: spectrum }, { out }),
            "with weights": () => void plan.run(inputs, { out }),
            "into a new tensor": () => plan.run({ ...inputs, bias: spectrum }).dispose(),
            "with weights, into a new tensor": () => plan.run(inputs).dispose(),
          };
          const calls = countCalls(runtime.device!);
          for (const [name, run] of Object.entries(runs)) {
            const first = calls(run);
            check(first.pushErrorScope >= 2 && first.createBindGroup > 0, `${name}: the first run, ${JSON.stringify(first)}`);
            const soon = calls(run);
            check(soon.pushErrorScope === 2 && soon.popErrorScope === 2, `${name}: before the device has answered, ${JSON.stringify(soon)}`);
            const expected = await out.data();
            for (let i = 0; i < 10; i++) {
              const later = calls(run);
              check(
                Object.values(later).every((count) => count === 0),
                `${name}: run ${i} after the answer, ${JSON.stringify(later)}`,
              );
            }
            checkClose(await out.data(), expected, 0, name);
          }
          const other = runtime.tensor(normals(9, NUMBERS), SHAPE);
          const changed = calls(() => plan.run({ ...inputs, q: other, bias: spectrum }, { out }));
          check(changed.pushErrorScope === 2 && changed.createBindGroup > 0, `another input: ${JSON.stringify(changed)}`);
          let timed: Promise<unknown> | undefined;
          calls(() => (timed = plan.profile({ ...inputs, bias: spectrum }, { out })));
          await timed;
          const { pushErrorScope } = calls.since();
          const isTimed = runtime.device!.features.has("timestamp-query");
          check(!isTimed || pushErrorScope >= 6, `${pushErrorScope} error scopes: timing has commands of its own, which may fail`);
        }),
    },
    {
      name: "a wrapped buffer that its owner destroys between equal runs: reading the result tells, and others are right",
      run: (context) =>
        prepared(context, async ({ runtime, plan, inputs, uncaught }) => {
          const { buffer, tensor } = wrapped(runtime, normals(1, NUMBERS));
          const given = { ...inputs, q: tensor };
          const out = runtime.tensor(new Float32Array(NUMBERS), SHAPE);
          const expected = await plan.run(given, { out }).data();
          for (let i = 0; i < 3; i++) checkClose(await plan.run(given, { out }).data(), expected, 0, `run ${i}`);
          const calls = countCalls(runtime.device!);
          const { pushErrorScope } = calls(() => plan.run(given, { out }));
          check(pushErrorScope === 1, `${pushErrorScope} error scopes where only a destroyed buffer may be amiss`);
          buffer.destroy();
          plan.run(given, { out });
          const next = plan.run({ ...inputs, q: out });
          await checkRefused(() => out.data(), "value", "WebGPU refused the work");
          await checkRefused(() => next.data(), "value", "WebGPU refused the work");
          checkClose(await plan.run(inputs, { out }).data(), expected, 0, "another input into the same result");
          check(uncaught() === 0, `${uncaught()} errors that nobody was told of`);
        }),
    },
    {
      name: "a tensor's own buffer, handed out and destroyed after runs that asked for nothing: the same",
      run: (context) =>
        prepared(context, async ({ plan, inputs, uncaught }) => {
          const expected = await plan.run(inputs).data();
          for (let i = 0; i < 3; i++) checkClose(await plan.run(inputs).data(), expected, 0, `run ${i}`);
          const { buffer } = inputs.k;
          checkClose(await plan.run(inputs).data(), expected, 0, "once it is handed out");
          buffer!.destroy();
          await checkRefused(() => plan.run(inputs).data(), "value", "WebGPU refused the work");
          checkClose(await plan.run({ ...inputs, k: inputs.q }).data(), await plan.run({ ...inputs, k: inputs.q }).data(), 0, "without it");
          check(uncaught() === 0, `${uncaught()} errors that nobody was told of`);
        }),
    },
    {
      name: "a fault of an input reaches results of runs that ask for nothing, and leaves with it",
      run: (context) =>
        prepared(context, async ({ runtime, plan, inputs }) => {
          const other = await runtime.attention(ATTENTION);
          const middle = runtime.tensor(new Float32Array(NUMBERS), SHAPE);
          const out = runtime.tensor(new Float32Array(NUMBERS), SHAPE);
          const both = (q: Tensor) => {
            other.run({ ...inputs, q }, { out: middle });
            return plan.run({ ...inputs, q: middle }, { out });
          };
          const expected = await both(inputs.q).data();
          const { buffer, tensor } = wrapped(runtime, normals(1, NUMBERS));
          checkClose(await both(tensor).data(), expected, 0, "of a wrapped tensor");
          buffer.destroy();
          await checkRefused(() => both(tensor).data(), "value", "WebGPU refused the work");
          await checkRefused(() => both(tensor).data(), "value", "WebGPU refused the work");
          checkClose(await both(inputs.q).data(), expected, 0, "what was wrong is gone");
        }),
    },
    {
      name: "a caller's own error scopes around runs hold what they held",
      run: (context) =>
        prepared(context, async ({ runtime, plan, inputs, uncaught }) => {
          const device = runtime.device!;
          const wrong = () => void device.createBuffer({ size: 16, usage: 0 });
          for (let i = 0; i < 4; i++) {
            device.pushErrorScope("validation");
            const out = plan.run(inputs);
            wrong();
            const again = plan.run(inputs);
            const error = await device.popErrorScope();
            check(error !== null, `run ${i}: the caller's error is lost`);
            checkClose(await again.data(), await out.data(), 0, `run ${i}`);
            for (const tensor of [out, again]) tensor.dispose();
          }
          check(uncaught() === 0, `${uncaught()} errors that nobody was told of`);
        }),
    },
  ],
};
