/** GPU cases in Chromium: a sample, because SwiftShader compiles slowly; with FULL=1 every one. */
import { test as base } from "playwright/test";
import { COMPLAINTS, type HarnessFixture, testCases } from "./page-cases.ts";

const test = base.extend<object, HarnessFixture>({
  harness: [
    async ({ browser }, use, { project }) => {
      const page = await browser.newPage({ baseURL: project.use.baseURL! });
      const problems: string[] = [];
      page.on("console", (message) => {
        if (COMPLAINTS.includes(message.type())) problems.push(message.text());
      });
      page.on("pageerror", (error) => problems.push(String(error)));
      await page.goto("/e2e/harness.html");
      await page.waitForFunction(() => window.runCase !== undefined);
      await use({ runCase: (suite, name) => page.evaluate(([s, n]) => window.runCase!(s, n), [suite, name] as const), problems });
      await page.close();
    },
    { scope: "worker" },
  ],
});

testCases(test, "chromium", process.env["FULL"] === undefined);
