/** Every GPU case in Chromium. */
import { type Page, test } from "playwright/test";
import { COMPLAINTS, testCases } from "./page-cases.ts";

let page: Page;
const problems: string[] = [];

test.beforeAll(async ({ browser }) => {
  page = await browser.newPage();
  page.on("console", (message) => {
    if (COMPLAINTS.includes(message.type())) problems.push(message.text());
  });
  page.on("pageerror", (error) => problems.push(String(error)));
  await page.goto("/e2e/harness.html");
  await page.waitForFunction(() => window.runCase !== undefined);
});

test.afterAll(async () => {
  await page.close();
});

testCases("chromium", {
  runCase: (suite, name) => page.evaluate(([s, n]) => window.runCase!(s, n), [suite, name] as const),
  problems,
});
