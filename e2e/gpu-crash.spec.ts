/** A real loss: Chromium's GPU process dies under the page. */
import { expect, test } from "playwright/test";
import type * as fastrpb from "../src/index.ts";

test("a crash of the GPU process: all that waits says so within two seconds, and restore brings plans and spectra back", async ({ browser }) => {
  const page = await browser.newPage();
  await page.goto("/e2e/blank.html");
  const started = page.evaluate(async () => {
    const url = "/dist/fastrpb.js";
    const { createRuntime, FastRpbError } = (await import(url)) as typeof fastrpb;
    const runtime = await createRuntime({ backend: "webgpu" });
    const plan = await runtime.attention({ heads: 1, length: 16, headDim: 4, featureMap: "sikf", bias: "fastrpb" });
    const data = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i));
    const weights = Float32Array.from({ length: 31 }, (_, i) => Math.cos(i));
    const spectrum = plan.prepare(weights);
    const shape = [1, 1, 16, 4];
    const run = () => {
      const q = runtime.tensor(data, shape);
      return plan.run({ q, k: q, v: q, bias: spectrum });
    };
    const expected = await run().data();
    const codeOf = (error: unknown) => (error instanceof FastRpbError ? error.code : String(error));
    const outcomes: string[] = [];
    const first = runtime.lost;
    // Something waits all the time, until the crash comes.
    let waiting = true;
    const pending = (async () => {
      while (waiting) {
        try {
          const results = await Promise.all([
            run().data(),
            run().data(),
            plan.profile({ q: runtime.tensor(data, shape), k: runtime.tensor(data, shape), v: runtime.tensor(data, shape), bias: spectrum }),
          ]);
          if (results[0].some((value, i) => value !== expected[i])) return "a wrong result";
        } catch (error) {
          return codeOf(error);
        }
      }
      return "nothing happened";
    })();
    document.title = "ready";
    await Promise.race([first, new Promise((resolve) => setTimeout(resolve, 20_000))]);
    const lostAt = performance.now();
    outcomes.push(await Promise.race([pending, new Promise<string>((resolve) => setTimeout(() => resolve("unsettled"), 2000))]));
    waiting = false;
    const settled = performance.now() - lostAt;
    try {
      run();
      outcomes.push("ran");
    } catch (error) {
      outcomes.push(codeOf(error));
    }
    await runtime.restore();
    const again = await run().data();
    outcomes.push(again.every((value, i) => value === expected[i]) ? "restored" : "wrong after restore");
    runtime.dispose();
    return { outcomes, settled };
  });
  await expect(page).toHaveTitle("ready", { timeout: 60_000 });
  const session = await browser.newBrowserCDPSession();
  await session.send("Browser.crashGpuProcess").catch(() => {}); // it may not answer any more
  const { outcomes, settled } = await started;
  expect(outcomes).toEqual(["lost", "lost", "restored"]);
  expect(settled).toBeLessThan(2000);
  await session.detach();
  await page.close();
});
