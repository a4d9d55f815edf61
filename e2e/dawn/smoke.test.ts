import { expect, test } from "vitest";
import { createRuntime } from "../../src/index.ts";
import { dawn } from "./gpu.ts";

test("self test", async () => {
  const runtime = await createRuntime({ backend: "webgpu", gpu: dawn() });
  const report = await runtime.selfTest();
  console.log(report.checks.map((c) => `${c.ok} ${c.name} ${c.error} ${c.bound}`).join("\n"));
  console.log(runtime.memory());
  expect(report.ok).toBe(true);
});
