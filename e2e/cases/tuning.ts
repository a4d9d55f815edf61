/** Tuning on a device: what it leaves behind, and what plans make of it. */
import { taskOf } from "../../src/testing/operations.ts";
import { createFft } from "../../src/math/fft.ts";
import type { Runtime } from "../../src/index.ts";
import { DEFAULT_CHOICES } from "../../src/core/choices.ts";
import { fftSpec, toeplitzSpec } from "../../src/testing/specs.ts";
import { adapterName, tuningKey } from "../../src/runtime/tuning.ts";
import { type Case, check, checkClose, checkRefused, normals, scoped, type Suite } from "./case.ts";

/** Few stages: the pipelines compile fast. */
const OPTIONS = { shape: [64, 16] };
/** Another batch: choices carry over. */
const ROWS = 20;

const roundTrip: Case = {
  name: "finds choices, frees what it used, and gives them to the next runtime",
  run: async (context) => {
    const first = await context.open();
    try {
      const before = first.memory();
      const lanes: number[] = [];
      const tuning = await first.tune([{ operation: "fft", options: OPTIONS }], { onProgress: ({ choices }) => lanes.push(choices.lanes) });
      const after = first.memory();
      check(before.liveBytes === after.liveBytes && before.buffers === after.buffers, `left ${JSON.stringify(after)} of ${JSON.stringify(before)}`);
      // Software GPUs have candidates of their own besides.
      const fewest = context.lowered ? 1 : first.adapterInfo?.isFallbackAdapter ? 3 : 2;
      check(lanes.length >= fewest, `measured only ${lanes.length} candidates`);
      check(tuning.plans.length === 1, `${tuning.plans.length} plans`);
      // Choices that the device would hardly make, to see that they are used.
      const choices = { maxRadix: 16, registers: 16, lanes: 8, columns: 4, exchange: "auto", roots: "split" } as const;
      const plans = tuning.plans.map((plan) => ({ ...plan, choices }));
      const second = await context.open({ tuning: JSON.parse(JSON.stringify({ ...tuning, plans })) });
      try {
        const chosen = await second.fft({ shape: [ROWS, 16] });
        const untouched = await second.fft({ shape: [ROWS, 8] });
        check(chosen.dispatches[0]!.workgroupSize[0] === 8, `workgroups of ${chosen.dispatches[0]!.workgroupSize[0]}`);
        check(untouched.dispatches[0]!.workgroupSize[0] > 8, `workgroups of ${untouched.dispatches[0]!.workgroupSize[0]}`);
        await scoped(second, async (scope) => {
          const seed = 5;
          const data = normals(seed, 2 * ROWS * 16);
          const result = await chosen.run(scope.tensor(data, [ROWS, 16], "complex64"), { out: scope.unwritten([ROWS, 16], "complex64") }).data();
          const fft = createFft(16);
          const expected = Array.from({ length: ROWS }, (_, row) => row).flatMap((row) => {
            const column = Float64Array.from(data.subarray(32 * row, 32 * row + 32));
            fft.transform(column, "forward");
            return [...column];
          });
          checkClose(result, expected, 1e-7, `tuned fft, seed ${seed}`);
        });
      } finally {
        second.dispose();
      }
      const foreign = await context.open({ tuning: { ...tuning, adapter: "another", plans } });
      try {
        const plan = await foreign.fft({ shape: [ROWS, 16] });
        check(plan.dispatches[0]!.workgroupSize[0] !== 8, "choices of another device were used");
      } finally {
        foreign.dispose();
      }
    } finally {
      first.dispose();
    }
  },
};

const fullRoots: Case = {
  name: "tables of all roots for long transforms",
  run: async (context) => {
    const length = 2 ** 14;
    const { adapterInfo } = await context.runtime;
    const choices = { ...DEFAULT_CHOICES, roots: "full" } as const;
    const specs = [fftSpec({ shape: [length] }), toeplitzSpec({ heads: 1, length, channels: 2 })];
    const plans = specs.map((spec) => ({ key: tuningKey(taskOf(spec)), choices }));
    const tuned = await context.open({ tuning: { version: 1, adapter: adapterName(adapterInfo), plans } });
    try {
      const run = async (runtime: Runtime) =>
        scoped(runtime, async (scope) => {
          const fft = scope.keep(await runtime.fft({ shape: [length] }));
          const x = scope.tensor(normals(6, 2 * length), [length], "complex64");
          const spectrum = await fft.run(x, { out: scope.unwritten([length], "complex64") }).data();
          const toeplitz = scope.keep(await runtime.toeplitz({ heads: 1, length, channels: 2 }));
          const [v, weights] = [
            scope.tensor(normals(7, 2 * length), [1, 1, length, 2]),
            scope.tensor(normals(8, 2 * length - 1), [1, 2 * length - 1]),
          ];
          const product = await toeplitz.run(v, weights, { out: scope.unwritten([1, 1, length, 2]) }).data();
          return { spectrum, product, bytes: fft.cost.bytesMoved };
        });
      const [actual, expected] = [await run(tuned), await run(await context.cpu)];
      // x, what waits between two passes, the spectrum, and a root for each point.
      if (!context.lowered) check(actual.bytes >= 5 * 8 * length, `${actual.bytes} bytes`);
      checkClose(actual.spectrum, expected.spectrum, 2e-7, "fft, seed 6");
      checkClose(actual.product, expected.product, 3e-7, "toeplitz, seeds 7 and 8");
    } finally {
      tuned.dispose();
    }
  },
};

const refusals: Case = {
  name: "bad requests and an abort",
  sample: true,
  run: async (context) => {
    const runtime = await context.runtime;
    const before = runtime.memory();
    await checkRefused(() => runtime.tune([{ operation: "fft", options: { shape: [0] } }]), "value", "runtime.fft", "options.shape[0]");
    await checkRefused(() => runtime.tune([{ operation: "dct" } as never]), "value", "runtime.tune", "requests[0].operation");
    const signal = AbortSignal.abort();
    await checkRefused(() => runtime.tune([{ operation: "fft", options: OPTIONS }], { signal }), "aborted", "runtime.tune");
    check(runtime.memory().liveBytes === before.liveBytes, "an aborted tuning left memory behind");
    await checkRefused(() => context.open({ tuning: { version: 2 } as never }), "value", "createRuntime", "options.tuning");
    const cpu = await context.cpu;
    check((await cpu.tune([{ operation: "fft", options: OPTIONS }])).plans.length === 0, "the CPU has nothing to tune");
  },
};

const sharedWorkspace: Case = {
  name: "runs that follow one another share a workspace",
  sample: true,
  run: async (context) => {
    const runtime = await context.open({ limits: { maxComputeWorkgroupStorageSize: 256 } }); // two passes
    try {
      const device = runtime.device!;
      const create = device.createBuffer.bind(device);
      let workspaces = 0;
      device.createBuffer = (descriptor) => {
        if (descriptor.label?.includes("workspace")) workspaces++;
        return create(descriptor);
      };
      let candidates = 1;
      await runtime.tune([{ operation: "fft", options: { shape: [256] } }], { onProgress: () => void candidates++ });
      check(workspaces > 0, "the plan has no workspace, so this shows nothing");
      check(workspaces <= candidates, `${workspaces} workspaces for ${candidates} candidates`);
    } finally {
      runtime.dispose();
    }
  },
};

export const tuningSuite: Suite = { name: "tuning", cases: [roundTrip, sharedWorkspace, fullRoots, refusals] };
