/**
 * The GPU cases in Node, `CASES=sample` those of the sample, which has every kernel; Firefox runs what is quick there. `LIMITS` names a smaller
 * device: "default", "compatibility", or the seed of a drawn one. What is smaller than any device may refuse shapes that others take.
 */
import { afterAll, describe, expect, test } from "vitest";
import { CaseContext, isRefusedByLimits } from "../cases/case.ts";
import { type Part, partOf, runsInNode, SUITES } from "../cases/index.ts";
import { isDrawn, namedLimits } from "../fuzz/limits.ts";
import { dawn } from "./gpu.ts";

export const LIMITS = process.env["LIMITS"];
export const SAMPLE = process.env["CASES"] === "sample";

/** Makes tests of the cases of a part of the suites, on one device. @returns how many have run */
export function testSuites(part: Part): () => number {
  const context = new CaseContext(dawn(), namedLimits(LIMITS));
  const refused: string[] = [];
  let ran = 0;

  afterAll(async () => {
    await context.dispose();
    if (!isDrawn(LIMITS)) return;
    console.log(`limits of seed ${LIMITS} refused ${refused.length} of ${ran} cases${refused.map((what) => `\n  ${what}`).join("")}`);
    expect(refused.length, "more than half of the cases do not fit: a test of too little").toBeLessThanOrEqual(ran / 2);
  });

  for (const suite of SUITES.filter((suite) => partOf(suite) === part)) {
    describe(suite.name, () => {
      for (const entry of suite.cases) {
        const { name, run } = entry;
        test.runIf(runsInNode(suite, entry, SAMPLE))(name, async ({ skip: leave }) => {
          ran++;
          const error: unknown = await run(context).then(
            () => undefined,
            (reason: unknown) => reason,
          );
          if (isDrawn(LIMITS) && isRefusedByLimits(error)) {
            refused.push(`${suite.name}, ${name}: ${error.message}`);
            leave("too small for these limits");
          }
          if (error !== undefined) throw error;
        });
      }
    });
  }
  return () => ran;
}
