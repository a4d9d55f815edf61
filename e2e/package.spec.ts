/** The built module, imported as a user would, without a bundler. */
import { expect, test } from "playwright/test";
import type * as fastrpb from "../src/index.ts";

test("the README's example runs on the built ES module, on both backends", async ({ page }) => {
  await page.goto("/e2e/blank.html");
  for (const backend of ["webgpu", "cpu"] as const) {
    const result = await page.evaluate(async (wanted) => {
      const url = "/dist/fastrpb.js";
      const { createRuntime } = (await import(url)) as typeof fastrpb;
      const runtime = await createRuntime({ backend: wanted });
      const attention = await runtime.attention({ heads: 2, length: 256, headDim: 16, featureMap: "sikf", bias: "fastrpb" });
      const random = (floats: number) => Float32Array.from({ length: floats }, () => Math.random() - 0.5);
      const shape = [1, 2, 256, 16];
      const [q, k, v] = [1, 2, 3].map(() => runtime.tensor(random(8192), shape));
      const bias = runtime.tensor(random(2 * 511), [2, 511]);
      const out = attention.run({ q: q!, k: k!, v: v!, bias });
      const data = await out.data();
      const name = runtime.backend;
      runtime.dispose();
      return { name, shape: out.shape, length: data.length, finite: data.every(Number.isFinite), some: data.some((x) => x !== 0) };
    }, backend);
    expect(result).toEqual({ name: backend, shape: [1, 2, 256, 16], length: 8192, finite: true, some: true });
  }
});

test("it works in a worker", async ({ page }) => {
  await page.goto("/e2e/blank.html");
  const backend = await page.evaluate(
    () =>
      new Promise((resolve, reject) => {
        const code = `
          import { createRuntime } from "${location.origin}/dist/fastrpb.js";
          const runtime = await createRuntime();
          const plan = await runtime.fft({ shape: [16] });
          const data = await plan.run(runtime.tensor(new Float32Array(32).fill(1), [16], "complex64")).data();
          postMessage([runtime.backend, data[0], data[1], data[2]]);`;
        const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
        worker.addEventListener("message", (event) => resolve(event.data));
        worker.addEventListener("error", (event) => reject(new Error(event.message)));
      }),
  );
  expect(backend).toEqual(["webgpu", 16, 16, 0]);
});
