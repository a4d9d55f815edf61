import { expect, test } from "vitest";
import { createRuntime } from "./create-runtime.ts";

test("a plan that is disposed of while its gradient is compiled leaves nothing, and says so", async () => {
  const runtime = await createRuntime({ backend: "cpu" });
  const plan = await runtime.toeplitz({ heads: 1, length: 8, channels: 2 });
  const compiling = plan.compileBackward();
  plan.dispose();
  await expect(compiling).rejects.toMatchObject({ code: "disposed" });
  expect(runtime.memory().buffers).toBe(0);
  runtime.dispose();
});
