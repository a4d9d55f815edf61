/**
 * The GPU cases in Node, `CASES=sample` those of the sample: Firefox runs them all, and Chromium has the same Dawn. `LIMITS` names a smaller
 * device: "default", "compatibility", or the seed of a drawn one.
 */
import { afterAll, describe, expect, test } from "vitest";
import { CaseContext } from "../cases/case.ts";
import { isSampled, SUITES } from "../cases/index.ts";
import { namedLimits } from "../fuzz/limits.ts";
import { dawn } from "./gpu.ts";

const context = new CaseContext(dawn(), namedLimits(process.env["LIMITS"]));
const sample = process.env["CASES"] === "sample";

afterAll(async () => {
  (await context.runtime).dispose();
});

for (const suite of SUITES) {
  describe(suite.name, () => {
    for (const entry of suite.cases) {
      const { name, run, slow, skip } = entry;
      test.skipIf(slow || skip?.node !== undefined || (sample && !isSampled(suite, entry)))(name, async () => {
        await expect(run(context)).resolves.toBeUndefined();
      });
    }
  });
}
