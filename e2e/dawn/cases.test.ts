import { afterAll, describe, expect, test } from "vitest";
import { CaseContext } from "../cases/case.ts";
import { SUITES } from "../cases/index.ts";
import { dawn } from "./gpu.ts";

const context = new CaseContext(dawn());

afterAll(async () => {
  (await context.runtime).dispose();
});

for (const suite of SUITES) {
  describe(suite.name, () => {
    for (const { name, run, slow } of suite.cases) {
      test.skipIf(slow)(name, async () => {
        await expect(run(context)).resolves.toBeUndefined();
      });
    }
  });
}
