import { test } from "vitest";
import { createRuntime } from "../../src/index.ts";
import { createFft } from "../../src/cpu/fft.ts";
import { normals, relativeL2 } from "../../src/testing/random.ts";
import { dawn } from "./gpu.ts";

test("c", async () => {
  const runtime = await createRuntime({ backend: "webgpu", gpu: dawn() });
  const lengths = [3,5,7,9,25,27,49,100, 125,243,343,625,1000,2187,2401,3125,5000,59049,78125,117649,823543];
  for (const n of lengths) {
    const batch = Math.max(1, Math.floor(65536 / n));
    let t0 = performance.now();
    const plan = await runtime.fft({ shape: [batch, n] });
    const tc = performance.now() - t0;
    const data = normals(n, 2 * n * batch);
    const x = runtime.tensor(data, [batch, n], "complex64");
    t0 = performance.now();
    const y = await plan.run(x).data();
    const tr = performance.now() - t0;
    const fft = createFft(n);
    const expected = new Float64Array(2 * n * batch);
    for (let b = 0; b < batch; b++) {
      const row = Float64Array.from(data.subarray(2 * n * b, 2 * n * (b + 1)));
      fft.transform(row, "forward");
      expected.set(row, 2 * n * b);
    }
    const c = relativeL2(y, expected) / 2 ** -24 / Math.sqrt(Math.log2(n));
    const pow2 = (n & (n - 1)) === 0;
    console.log(n, c.toFixed(4), c > (pow2 ? 0.65 : 0.7) ? "BAD" : "", `compile ${tc.toFixed(0)} run ${tr.toFixed(0)}`, plan.dispatches.map((d) => d.label).join(" | "));
  }
});
