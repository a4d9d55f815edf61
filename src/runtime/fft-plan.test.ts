import { expect, test } from "vitest";
import { createTestBackend } from "../testing/compute.ts";
import { createRuntime } from "./create-runtime.ts";
import { taskOf } from "../testing/operations.ts";
import { type FftOptions, fftSpec } from "../testing/specs.ts";
import { normals } from "../testing/random.ts";
import { FftPlan } from "./fft-plan.ts";

test.each<FftOptions>([
  { shape: [3, 8], axes: [0, 1], norm: "ortho" },
  { shape: [2, 9], kind: "r2c" },
  { shape: [4, 6], axes: [1, 0], kind: "r2c" },
  { shape: [6, 4], axes: [0, 1], kind: "c2r" },
  { shape: [7], kind: "c2r", norm: "forward" },
])("gradient of the loss Σ w |out|²/2 against differences: %j", async (options) => {
  const runtime = await createRuntime({ backend: "cpu" });
  const plan = await runtime.fft(options);
  const [inReal, outReal] = [options.kind === "r2c", options.kind === "c2r"];
  const count = (shape: readonly number[], real: boolean) => shape.reduce((product, size) => product * size, real ? 1 : 2);
  const x = normals(1, count(plan.inputShape, inReal));
  const w = normals(2, count(plan.outputShape, outReal));
  const run = async (values: Float32Array) => plan.run(runtime.tensor(values, plan.inputShape, inReal ? "f32" : "complex64")).data();
  const loss = async (values: Float32Array) => (await run(values)).reduce((sum, value, i) => sum + (w[i]! * value * value) / 2, 0);
  const dOut = (await run(x)).map((value, i) => w[i]! * value);
  const gradient = await plan.backward(runtime.tensor(dOut, plan.outputShape, outReal ? "f32" : "complex64")).data();
  expect(gradient).toHaveLength(x.length);
  // The loss is quadratic: a central difference is exact but for rounding.
  const size = Math.hypot(...gradient);
  for (let i = 0; i < x.length; i++) {
    const [above, below] = [x.slice(), x.slice()];
    above[i]! += 0.5;
    below[i]! -= 0.5;
    const difference = ((await loss(above)) - (await loss(below))) / (above[i]! - below[i]!);
    expect(Math.abs(difference - gradient[i]!) / size, `number ${i}, seeds 1, 2`).toBeLessThan(2e-6);
  }
  runtime.dispose();
});

test("float16 has no gradient", async () => {
  const backend = createTestBackend();
  const context = { owner: { disposed: false }, backend, plans: new Set<{ dispose(): void }>() };
  const spec = fftSpec({ shape: [4], storage: "f16" });
  // The CPU never runs it: that it compiles is enough.
  const plan = new FftPlan(context as never, spec, await backend.compile("test", taskOf(spec)));
  expect(() => plan.backward(undefined as never)).toThrow(expect.objectContaining({ code: "unavailable" }));
  await expect(plan.compileBackward()).rejects.toThrow(expect.objectContaining({ code: "unavailable" }));
});
