/** Random plans and data in Chromium, some of each operation. `FUZZ_SEED` draws the same again; `FUZZ_CASES` sets how many in all. */
import { expect, type Page, test } from "playwright/test";
import { OPERATIONS } from "./fuzz/case.ts";

const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Date.now() / 1000));
const cases = Number(process.env["FUZZ_CASES"] ?? 504);
/** Compiling takes longest: the gradients and models, of many kernels, have one plan, and others three. */
const PLANS = { few: 1, many: 3 };

let page: Page;

test.beforeAll(async ({ browser }) => {
  page = await browser.newPage();
  await page.goto("/e2e/fuzz.html");
  await page.waitForFunction(() => window.fuzz !== undefined);
});

test.afterAll(async () => {
  await page.close();
});

test.describe("fuzz", () => {
  for (const operation of OPERATIONS) {
    test(operation, async () => {
      const count = Math.ceil(cases / OPERATIONS.length);
      const perPlan = Math.ceil(count / (/gradient|model/.test(operation) ? PLANS.few : PLANS.many));
      const { report, lines } = await page.evaluate((options) => window.fuzz!(options), { seed, cases: count, perPlan, only: [operation] });
      console.log(
        `fuzz: seed ${seed}: ${operation}: ${report.plans} plans, ${report.cases} cases; ${report.refusedPlans} plans and ${report.refusedCases} cases refused`,
      );
      expect(lines, lines.join("\n")).toEqual([]);
      expect(report.cases).toBe(count);
      expect(report.found).toEqual([]);
    });
  }
});
