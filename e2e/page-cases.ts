/** The GPU cases as tests of a browser, in a page that has loaded the harness: one for all that a worker runs, so that pipelines compile once. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, type TestType } from "playwright/test";
import type { Engine } from "./cases/case.ts";
import { isSampled, SUITES } from "./cases/index.ts";
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

/** @param sample the cases of the sample only, and whether they compile every kernel */
export function testCases<T extends object>(test: TestType<T, HarnessFixture>, engine: Engine, sample: boolean): void {
  const full = process.env["FULL"] !== undefined;
  const chosen = SUITES.flatMap((suite) => {
    const some = sample || (suite.engineFree !== undefined && !full);
    return suite.cases.filter((entry) => !some || isSampled(suite, entry)).map((entry) => ({ suite, entry }));
  });
  const compiled: string[] = [];
  let passed = 0;
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
        compiled.push(...outcome.compiled);
        passed++;
      });
    });
  }
  if (!sample) return;
  test("the sample compiles every kernel, and has cases of every suite", async () => {
    test.skip(passed < chosen.length, "only some of the sample ran");
    expect(SUITES.filter((suite) => chosen.every((one) => one.suite !== suite)).map(({ name }) => name)).toEqual([]);
    const kernels = await kernelIds();
    expect(kernels.length).toBeGreaterThan(30);
    expect(kernels.filter((id) => !compiled.includes(id))).toEqual([]);
  });
}

/** The modules of shaders/ that make a kernel, by path: what kernels have for an id. */
async function kernelIds(): Promise<string[]> {
  const folder = fileURLToPath(new URL("../shaders/", import.meta.url));
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => name.replaceAll("\\", "/"));
  const ids = files.filter((name) => name.endsWith(".ts") && !/\.(test|d)\.ts$|^wgsl\//.test(name));
  const made = await Promise.all(
    ids.map(async (name) => {
      const exported = (await import(`../shaders/${name}`)) as object;
      return Object.keys(exported).some((entry) => entry.endsWith("Kernel")) ? [name.replace(/\.ts$/, "")] : [];
    }),
  );
  return made.flat();
}
