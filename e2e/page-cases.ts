/** The GPU cases as tests of a browser, each in a page that has loaded the harness. */
import { expect, test } from "playwright/test";
import type { Engine } from "./cases/case.ts";
import { SUITES } from "./cases/index.ts";
import type { Outcome } from "./harness.ts";

export interface Harness {
  /** {@link Window.runCase} of the page. */
  readonly runCase: (suite: string, name: string) => Promise<Outcome>;
  /** Errors and warnings in the console, and uncaught errors. */
  readonly problems: string[];
}

/** Levels of console messages that must not come: Playwright says "warning", Puppeteer "warn". */
export const COMPLAINTS: readonly string[] = ["error", "warning", "warn"];

/** One page for all: pipelines compile once. */
export function testCases(engine: Engine, { runCase, problems }: Harness): void {
  for (const suite of SUITES) {
    test.describe(suite.name, () => {
      for (const { name, thorough, skip, printed } of suite.cases) {
        test(name, async () => {
          test.skip(thorough === true && process.env["FULL"] === undefined, "compiles for long: FULL=1, or npm run test:dawn");
          test.skip(skip?.[engine] !== undefined, skip?.[engine]);
          problems.length = 0;
          const outcome = await runCase(suite.name, name);
          expect(outcome.failure).toBeUndefined();
          const expected = printed?.[engine];
          const complaints = expected ? problems.filter((message) => !expected.test(message)) : problems;
          expect([...outcome.uncaptured, ...complaints], "WebGPU and the console stay silent").toEqual([]);
        });
      }
    });
  }
}
