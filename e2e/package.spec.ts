/** The built module, imported as a user would, without a bundler. */
import { expect, type Page, test } from "playwright/test";
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

/** What a page under the policy was refused, and what it loaded of the library. */
function watch(page: Page): { readonly errors: string[]; readonly loaded: () => string[] } {
  const errors: string[] = [];
  const loaded = new Set<string>();
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (pathname.endsWith(".js")) loaded.add(pathname);
  });
  return { errors, loaded: () => [...loaded] };
}

for (const backend of ["webgpu", "cpu"] as const) {
  test(`under the policy default-src 'self' all parts are loaded as they are used, ${backend}`, async ({ page }) => {
    const { errors, loaded } = watch(page);
    const response = await page.goto("/e2e/strict.html");
    expect(response!.headers()["content-security-policy"]).toBe("default-src 'self'");
    const module = await page.evaluateHandle(async () => (await import("/dist/fastrpb.js" as string)) as typeof fastrpb);
    expect(loaded()).toEqual(["/dist/fastrpb.js", "/dist/chunks/core.js"]);
    const report = await page.evaluate(
      async ([{ createRuntime }, wanted]) => {
        const runtime = await createRuntime({ backend: wanted });
        try {
          const fft = await runtime.fft({ shape: [16], kind: "r2c" });
          const x = runtime.tensor(new Float32Array(16).fill(1), [16]);
          const { output, dispatches } = await fft.profile(x);
          const first = (await output.data())[0];
          const plan = await runtime.attention({ heads: 1, length: 8, headDim: 4, featureMap: "favor+", causal: true, bias: "fastrpb" });
          await plan.compileBackward();
          const tuning = await runtime.tune([]);
          return { backend: runtime.backend, first, dispatches: dispatches.length, gradient: plan.cost.flops > 0, tuning: tuning.version };
        } finally {
          runtime.dispose();
        }
      },
      [module, backend] as const,
    );
    expect(report).toEqual({ backend, first: 16, dispatches: 1, gradient: true, tuning: 1 });
    expect(errors).toEqual([]);
    const parts = loaded().map((path) => path.replace(/^\/dist\/chunks\/|\.js$/g, ""));
    expect(parts).toEqual(expect.arrayContaining(["runtime-fft-plan", "attention", "attention-causal-operation", "runtime-tuning"]));
    const others = { webgpu: /\bcpu\b/, cpu: /\bgpu\b/ }[backend];
    expect(parts.filter((part) => others.test(part))).toEqual([]);
    expect(parts).toEqual(expect.arrayContaining({ webgpu: ["gpu-open"], cpu: ["cpu-backend", "fft-cpu", "attention-cpu-gradient"] }[backend]));
  });
}

// On a software GPU it takes a minute, most of it for compiling: CI has it on one in Firefox, on the sources.
for (const backend of process.env["FULL"] === undefined ? (["cpu"] as const) : (["cpu", "webgpu"] as const)) {
  test(`the self-test passes on the built library, under the policy, ${backend}`, async ({ page }) => {
    const { errors } = watch(page);
    await page.goto("/e2e/strict.html");
    const report = await page.evaluate(async (chosen) => {
      const { createRuntime } = (await import("/dist/fastrpb.js" as string)) as typeof fastrpb;
      const runtime = await createRuntime({ backend: chosen });
      const { ok, checks } = await runtime.selfTest();
      runtime.dispose();
      return { ok, failed: checks.filter((check) => !check.ok), checks: checks.length };
    }, backend);
    expect(report).toMatchObject({ ok: true, failed: [] });
    expect(report.checks).toBeGreaterThan(backend === "webgpu" ? 20 : 4);
    expect(errors).toEqual([]);
  });
}

test("gradients come at once, compiled ahead or not", async ({ page }) => {
  await page.goto("/e2e/strict.html");
  const sums = await page.evaluate(async () => {
    const { createRuntime } = (await import("/dist/fastrpb.js" as string)) as typeof fastrpb;
    const runtime = await createRuntime({ backend: "webgpu" });
    const plan = await runtime.toeplitz({ heads: 1, length: 3, channels: 1 });
    const tensor = (shape: readonly number[]) => runtime.tensor(new Float32Array(shape.at(-2)! * shape.at(-1)!).fill(1), shape);
    const inputs = { v: tensor([1, 1, 3, 1]), weights: tensor([1, 5]), dOut: tensor([1, 1, 3, 1]) };
    const backward = async () => [...(await plan.backward(inputs).dWeights.data())].map(Math.round);
    const early = await backward();
    await plan.compileBackward();
    const late = await backward();
    runtime.dispose();
    return { early, late };
  });
  expect(sums).toEqual({ early: [1, 2, 3, 2, 1], late: [1, 2, 3, 2, 1] });
});

test("a part that does not come is named, the runtime stays usable, and it comes when the page is loaded again", async ({ page }) => {
  let offline = true;
  await page.route(/\/dist\/chunks\/(cpu-backend|runtime-fft-plan)\.js/, (route) => (offline ? route.abort() : route.continue()));
  const attempt = async (backend: "cpu" | "webgpu") => {
    await page.goto("/e2e/strict.html");
    return page.evaluate(async (wanted) => {
      const { createRuntime } = (await import("/dist/fastrpb.js" as string)) as typeof fastrpb;
      const complex = async (operation: () => Promise<fastrpb.Tensor>) => {
        const data = await (await operation()).data();
        return data[0];
      };
      try {
        const runtime = await createRuntime({ backend: wanted });
        const ones = runtime.tensor(new Float32Array(8).fill(1), [4], "complex64");
        const refusal = await runtime.fft({ shape: [4] }).then(
          () => undefined,
          (error: fastrpb.FastRpbError) => `${error.code}: ${error.message}`,
        );
        const multiply = await runtime.complexMultiply({ shape: [4] });
        const product = await complex(async () => multiply.run(ones, ones));
        const sum = refusal ?? (await complex(async () => (await runtime.fft({ shape: [4] })).run(ones)));
        runtime.dispose();
        return { sum, product };
      } catch (error) {
        const { code, message } = error as fastrpb.FastRpbError;
        return `${code}: ${message}`;
      }
    }, backend);
  };
  expect(await attempt("cpu")).toMatch(/^unavailable: createRuntime: .*"the CPU" could not be loaded/);
  expect(await attempt("webgpu")).toEqual({ sum: expect.stringMatching(/^unavailable: runtime\.fft: .*"FFTs" could not be loaded/), product: 0 });
  offline = false;
  expect(await attempt("cpu")).toEqual({ sum: 4, product: 0 }); // (1 + i)² = 2i
  expect(await attempt("webgpu")).toEqual({ sum: 4, product: 0 });
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
