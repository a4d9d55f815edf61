/** Very many runs, SOAK_RUNS of them: the same bits in the end as in the beginning, no buffer left, and no more memory. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { createRuntime, type Tensor } from "../../src/index.ts";
import { normals } from "../cases/case.ts";
import { dawn } from "./gpu.ts";

const RUNS = Number(process.env["SOAK_RUNS"] ?? 10_000);
/** Buffers, pools and the JIT settle in this many. */
const WARM_UP = RUNS / 5;
/** Runs whose results are read side by side. */
const BATCH = 500;
/** What a process may grow by for other reasons, such as the collector's own rhythm. */
const SLACK_BYTES = 24 * 2 ** 20;

test(`${RUNS} runs: equal bits, all buffers given back, flat memory`, async () => {
  const runtime = await createRuntime({ backend: "webgpu", gpu: dawn() });
  const shape = [1, 1, 12, 4];
  const attention = await runtime.attention({ heads: 1, length: 12, headDim: 4, featureMap: "sikf", bias: "fastrpb" });
  const spectrum = attention.prepare(normals(2, 23));
  const fft = await runtime.fft({ shape: [2, 16] });
  const [data, signal] = [normals(1, 48), normals(3, 64)];
  const kept = {
    rows: runtime.tensor(data, shape),
    attention: runtime.tensor(new Float32Array(48), shape),
    signal: runtime.tensor(signal, [2, 16], "complex64"),
    fft: runtime.tensor(new Float32Array(64), [2, 16], "complex64"),
  };
  const first = new Map<string, string>();
  const bits = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("base64");
  const same = (name: string, values: Float32Array) => {
    const now = bits(values);
    if (!first.has(name)) first.set(name, now);
    if (first.get(name) !== now) throw new Error(`${name} has other bits`);
  };
  const before = runtime.memory();
  let warm = 0;
  let peak = 0;
  for (let done = 0; done < RUNS; done += BATCH) {
    const outputs: Tensor[] = [];
    for (let i = 0; i < BATCH; i += 4) {
      const q = runtime.tensor(data, shape);
      outputs.push(attention.run({ q, k: q, v: q, bias: spectrum }));
      q.dispose();
      const x = runtime.tensor(signal, [2, 16], "complex64");
      outputs.push(fft.run(x));
      x.dispose();
      // The same tensors again, which takes another way.
      attention.run({ q: kept.rows, k: kept.rows, v: kept.rows, bias: spectrum }, { out: kept.attention });
      fft.run(kept.signal, { out: kept.fft });
    }
    // One of each is read; the others are written all the same.
    same("attention", await outputs.at(-2)!.data());
    same("fft", await outputs.at(-1)!.data());
    same("attention", await kept.attention.data());
    same("fft", await kept.fft.data());
    for (const output of outputs) output.dispose();
    if (done + BATCH === WARM_UP) warm = await settledBytes();
    peak = Math.max(peak, runtime.memory().pooledBytes);
  }
  const grown = (await settledBytes()) - warm;
  console.log(`${RUNS} runs: process grown by ${(grown / 2 ** 20).toFixed(1)} MiB after the first ${WARM_UP}; at most ${peak} bytes pooled`);
  expect(runtime.memory().buffers, "buffers").toBe(before.buffers);
  expect(runtime.memory().liveBytes, "bytes").toBe(before.liveBytes);
  expect(grown, "growth of the process").toBeLessThan(SLACK_BYTES);
  runtime.dispose();
  expect(runtime.memory()).toEqual({ liveBytes: 0, pooledBytes: 0, buffers: 0 });
}, 1_200_000);

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Bytes of the process once garbage is collected. */
async function settledBytes(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    collectGarbage();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return process.memoryUsage().rss;
}
