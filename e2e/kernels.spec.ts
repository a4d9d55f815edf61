/** Every GPU case in Chromium. One page for all: pipelines compile once. */
import { expect, type Page, test } from "playwright/test";
import { SUITES } from "./cases/index.ts";

let page: Page;
const problems: string[] = [];

test.beforeAll(async ({ browser }) => {
  page = await browser.newPage();
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") problems.push(message.text());
  });
  page.on("pageerror", (error) => problems.push(String(error)));
  await page.goto("/e2e/harness.html");
  await page.waitForFunction(() => window.runCase !== undefined);
});

test.afterAll(async () => {
  await page.close();
});

for (const suite of SUITES) {
  test.describe(suite.name, () => {
    for (const { name, thorough } of suite.cases) {
      test(name, async () => {
        test.skip(thorough === true && process.env["FULL"] === undefined, "compiles for long: FULL=1, or npm run test:dawn");
        problems.length = 0;
        const failure = await page.evaluate(([s, n]) => window.runCase!(s, n), [suite.name, name] as const);
        expect(failure).toBeUndefined();
        expect(problems, "the console stays silent").toEqual([]);
      });
    }
  });
}
