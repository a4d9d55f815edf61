/** The GPU cases as tests of a browser, in a page that has loaded the harness: one for all that a worker runs, so that pipelines compile once. */
import { expect, type TestType } from "playwright/test";
import type { Engine, Suite } from "./cases/case.ts";
import { isSampled, SUITES } from "./cases/index.ts";
import { SLOW_IN_FIREFOX } from "./cases/slow-in-firefox.ts";
import type { Outcome } from "./harness.ts";

export interface Harness {
  /** {@link Window.runCase} of the page. */
  readonly runCase: (suite: string, name: string) => Promise<Outcome>;
  /** Errors and warnings in the console, and uncaught errors. */
  readonly problems: string[];
}

/** A fixture of the worker. */
export interface HarnessFixture {
  readonly harness: Harness;
}

/** Levels of console messages that must not come: Playwright says "warning", Puppeteer "warn". */
export const COMPLAINTS: readonly string[] = ["error", "warning", "warn"];

/** @param sample the cases of the sample only */
export function testCases<T extends object>(test: TestType<T, HarnessFixture>, engine: Engine, sample: boolean): void {
  const full = process.env["FULL"] !== undefined;
  const chosen = SUITES.flatMap((suite) => {
    const some = sample || (suite.engineFree !== undefined && !full);
    const left = engine === "firefox" && !full ? slowInFirefox(suite) : [];
    return suite.cases.filter((entry) => (!some || isSampled(suite, entry)) && !left.includes(entry.name)).map((entry) => ({ suite, entry }));
  });
  for (const { suite, entry } of chosen) {
    const { name, skip, printed } = entry;
    test.describe(suite.name, () => {
      test(name, async ({ harness: { runCase, problems } }) => {
        test.skip(skip?.[engine] !== undefined, skip?.[engine]);
        problems.length = 0;
        const outcome = await runCase(suite.name, name);
        expect(outcome.failure).toBeUndefined();
        const expected = printed?.[engine];
        const complaints = expected ? problems.filter((message) => !expected.test(message)) : problems;
        expect([...outcome.uncaptured, ...complaints], "WebGPU and the console stay silent").toEqual([]);
      });
    });
  }
}

function slowInFirefox({ name, cases }: Suite): readonly string[] {
  const slow = SLOW_IN_FIREFOX[name] ?? [];
  const gone = slow.filter((entry) => !cases.some((own) => own.name === entry));
  if (gone.length > 0) throw new Error(`cases/slow-in-firefox.ts names cases of "${name}" that there are not: ${gone.join("; ")}`);
  return slow;
}
