/** The GPU cases in Node. CI runs them all in Chromium, on the same Dawn: `CASES=sample` leaves what may differ in Node, and one of each. */
import { afterAll, describe, expect, test } from "vitest";
import { CaseContext } from "../cases/case.ts";
import { SUITES } from "../cases/index.ts";
import { dawn } from "./gpu.ts";

const context = new CaseContext(dawn());
const sample = process.env["CASES"] === "sample";
/** Suites about the runtime rather than its kernels. */
const ALWAYS: readonly string[] = ["refusals", "lifecycle", "tuning"];

afterAll(async () => {
  (await context.runtime).dispose();
});

for (const suite of SUITES) {
  describe(suite.name, () => {
    for (const [i, { name, run, slow, skip }] of suite.cases.entries()) {
      test.skipIf(slow || skip?.node !== undefined || (sample && i > 0 && !ALWAYS.includes(suite.name)))(name, async () => {
        await expect(run(context)).resolves.toBeUndefined();
      });
    }
  });
}
