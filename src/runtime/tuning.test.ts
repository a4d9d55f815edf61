import { afterEach, describe, expect, test, vi } from "vitest";
import { type Choices, DEFAULT_CHOICES } from "../core/choices.ts";
import type { Backend, Executable, Storage } from "../core/backend.ts";
import { FastRpbError } from "../core/errors.ts";
import { attentionSpec, convolveSpec, fftSpec, kernelSpectrumSpec, toeplitzSpec } from "../testing/specs.ts";
import { type Measured, readTuning, requestedSpec, type TuneRequest, tuneTask, tuningKey as keyOfTask } from "./tuning.ts";
import type { Task } from "../operations/operation.ts";
import { taskOf } from "../testing/operations.ts";

interface Fake {
  readonly backend: Backend<Task>;
  readonly live: { executables: number; storages: number };
}

/** A backend whose plans take as long as `milliseconds` says; `undefined` stands for a plan that the device refuses. */
function fake(milliseconds: (choices: Choices) => number | undefined, timestamps = true): Fake {
  const live = { executables: 0, storages: 0 };
  const cost = new Map<Executable, number>();
  const backend = {
    limits: { choices: DEFAULT_CHOICES },
    allocate(): Storage {
      live.storages++;
      const memory = { byteLength: 8, buffer: undefined, byteOffset: 0, lend: () => undefined, lost: false };
      return { ...memory, taint() {}, read: async () => {}, release: () => void live.storages-- };
    },
    async compile(caller: string, _spec: unknown, choices: Choices): Promise<Executable> {
      const time = milliseconds(choices);
      if (time === undefined) throw new FastRpbError("limit", `${caller}: too much`);
      live.executables++;
      const executable = {
        dispatches: [{ label: JSON.stringify(choices) }],
        bytes: { x: 8, out: 8 },
        dispose: () => void live.executables--,
      } as unknown as Executable;
      cost.set(executable, time);
      return executable;
    },
    run() {},
    async profile(steps: readonly { executable: Executable }[]) {
      const times = steps.map(({ executable }) => cost.get(executable)!);
      return {
        milliseconds: times.reduce((sum, time) => sum + time, 0),
        dispatches: times.map((time) => ({ label: "", milliseconds: timestamps ? time : undefined })),
      };
    },
  } as unknown as Backend<Task>;
  return { backend, live };
}

const TASK = taskOf(fftSpec({ shape: [64, 1024] }));
const tuningKey = (spec: Parameters<typeof taskOf>[0]) => keyOfTask(taskOf(spec));

async function tuned(device: Fake, measured: Measured[] = []): Promise<Choices> {
  const choices = await tuneTask("runtime.tune", device.backend, TASK, undefined, (one) => measured.push(one));
  expect(device.live).toEqual({ executables: 0, storages: 0 });
  return choices;
}

afterEach(() => void vi.restoreAllMocks());

describe("tuneTask", () => {
  for (const timestamps of [true, false]) {
    test(`finds choices that are better together, ${timestamps ? "with" : "without"} timestamps`, async () => {
      const device = fake(({ lanes, maxRadix }) => 10 * (lanes === 256 ? 0.8 : 1) * (maxRadix === 8 ? 0.7 : 1), timestamps);
      const measured: Measured[] = [];
      expect(await tuned(device, measured)).toMatchObject({ lanes: 256, maxRadix: 8 });
      expect(Math.min(...measured.map((one) => one.milliseconds))).toBeCloseTo(5.6);
      expect(measured.at(-1)!.bestMilliseconds).toBeCloseTo(5.6);
    });
  }

  test("keeps the default where nothing gains more than noise", async () => {
    expect(await tuned(fake(({ lanes }) => (lanes === 64 ? 9.9 : 10)))).toEqual(DEFAULT_CHOICES);
  });

  test("passes over what the device refuses", async () => {
    expect(await tuned(fake(({ lanes, registers }) => (registers > 16 ? undefined : lanes === 512 ? 1 : 2)))).toEqual({
      ...DEFAULT_CHOICES,
      lanes: 512,
    });
  });

  test("warms up no longer than it says where recording takes longer than running", async () => {
    let now = 0;
    vi.spyOn(performance, "now").mockImplementation(() => now);
    const device = fake(({ lanes }) => 1e-3 * (lanes === 64 ? 0.5 : 1));
    const runs = vi.spyOn(device.backend, "run").mockImplementation(() => void (now += 10));
    const measured: Measured[] = [];
    await tuned(device, measured);
    expect(measured.length).toBeGreaterThan(3);
    expect(runs.mock.calls.length / measured.length).toBe(50); // 500 ms
  });

  test("stops when asked, with nothing left behind", async () => {
    const device = fake(() => 10);
    const controller = new AbortController();
    const tuning = tuneTask("runtime.tune", device.backend, TASK, controller.signal, () => controller.abort());
    await expect(tuning).rejects.toMatchObject({ code: "aborted" });
    expect(device.live).toEqual({ executables: 0, storages: 0 });
  });
});

describe("tuningKey", () => {
  const same: readonly (readonly [string, string])[] = [
    [tuningKey(fftSpec({ shape: [64, 1024] })), tuningKey(fftSpec({ shape: [3, 7, 1024], norm: "ortho" }))],
    [tuningKey(toeplitzSpec({ batch: 2, heads: 3, length: 100, channels: 8 })), tuningKey(toeplitzSpec({ heads: 8, length: 100, channels: 8 }))],
    [
      tuningKey(attentionSpec({ batch: 2, heads: 3, length: 100, headDim: 8, featureMap: "sikf" })),
      tuningKey(attentionSpec({ heads: 1, length: 100, headDim: 8, featureMap: "sikf" })),
    ],
    [tuningKey(convolveSpec({ shape: [2, 3, 50], kernel: [3, 5] })), tuningKey(convolveSpec({ shape: [50], kernel: [5] }))],
  ];
  test("does not look at the batch or the heads", () => {
    for (const [a, b] of same) expect(a).toBe(b);
  });
  test("tells everything else apart", () => {
    const convolve = convolveSpec({ shape: [50], kernel: [5] });
    const keys = [
      ...same.map(([a]) => a),
      tuningKey(fftSpec({ shape: [64, 1024], axes: [0] })),
      tuningKey(fftSpec({ shape: [64, 1024], axes: [0, 1] })),
      tuningKey(fftSpec({ shape: [64, 1024], direction: "inverse" })),
      tuningKey(fftSpec({ shape: [64, 1024], kind: "r2c" })),
      tuningKey(toeplitzSpec({ heads: 8, length: 100, channels: 8, causal: true })),
      tuningKey(toeplitzSpec({ heads: 8, grid: [10, 10], channels: 8 })),
      tuningKey(convolveSpec({ shape: [50], kernel: [5], mode: "circular" })),
      tuningKey(kernelSpectrumSpec(convolve)),
    ];
    expect(new Set(keys).size).toBe(keys.length);
  });
});

test("requests are validated like the options of a plan", () => {
  expect(requestedSpec("runtime.tune", { operation: "fft", options: { shape: [64, 1024] } }, 0)).toEqual(TASK.spec);
  const bad: [unknown, string][] = [
    [undefined, "requests[0]"],
    [{ operation: "dct", options: {} }, "requests[0].operation"],
    [{ operation: "fft", options: { shape: [0] } }, "options.shape[0]"],
    [{ operation: "fft", options: { shape: [8] }, more: 1 }, "more"],
  ];
  for (const [request, mention] of bad) {
    expect(() => requestedSpec("runtime.tune", request as TuneRequest, 0)).toThrow(expect.objectContaining({ code: "value" }));
    expect(() => requestedSpec("runtime.tune", request as TuneRequest, 0)).toThrow(mention);
  }
});

test("a tuning is read back, and refused where it is none", () => {
  const choices = { maxRadix: 8, registers: 8, lanes: 64, columns: 4, exchange: "split", roots: "full" } as const;
  const tuning = { version: 1, adapter: "a", plans: [{ key: "k", choices }] };
  const read = readTuning("createRuntime", JSON.parse(JSON.stringify(tuning)));
  expect(read.adapter).toBe("a");
  expect(read.choices.get("k")).toEqual(choices);
  expect(read.speed).toBeUndefined();
  const speed = { flopsPerSecond: 3e12, bytesPerSecond: 4e11, workgroupShare: 1e-3, paces: { "attention/softmax/forward": 4 } };
  expect(readTuning("createRuntime", JSON.parse(JSON.stringify({ ...tuning, speed }))).speed).toEqual(speed);
  for (const bad of [
    null,
    [],
    { ...tuning, version: 2 },
    { ...tuning, plans: {} },
    { ...tuning, plans: [{ key: 1, choices }] },
    { ...tuning, plans: [{ key: "k", choices: { ...choices, maxRadix: 5 } }] },
    { ...tuning, plans: [{ key: "k", choices: { ...choices, lanes: 0 } }] },
    { ...tuning, plans: [{ key: "k", choices: { ...choices, exchange: "both" } }] },
    { ...tuning, speed: 5 },
    { ...tuning, speed: { ...speed, flopsPerSecond: 0 } },
    { ...tuning, speed: { ...speed, workgroupShare: undefined } },
    { ...tuning, speed: { ...speed, paces: { "fft/stockham": "fast" } } },
    { ...tuning, speed: { ...speed, more: 1 } },
  ]) {
    expect(() => readTuning("createRuntime", bad), JSON.stringify(bad)).toThrow(expect.objectContaining({ code: "value" }));
  }
});
