/** Every GPU case in Firefox: wgpu and naga. */
import { test } from "playwright/test";
import { type Browser, launch, type Page } from "puppeteer-core";
import { findFirefox } from "../scripts/firefox.mjs";
import { COMPLAINTS, testCases } from "./page-cases.ts";

let browser: Browser;
let page: Page;
const problems: string[] = [];

test.beforeAll(async ({ baseURL }) => {
  const executablePath = findFirefox();
  if (executablePath === undefined) throw new Error("there is no Firefox: `npm test -- --only firefox` installs one, FIREFOX_PATH names one");
  browser = await launch({
    browser: "firefox",
    executablePath,
    headless: true,
    // On Linux, releases have WebGPU behind the first, and on software drivers behind the second.
    extraPrefsFirefox: { "dom.webgpu.enabled": true, "gfx.webgpu.ignore-blocklist": true },
    protocolTimeout: 0, // the time limit of a case is Playwright's
  });
  page = await browser.newPage();
  page.on("console", (message) => {
    if (COMPLAINTS.includes(message.type())) problems.push(message.text());
  });
  page.on("pageerror", (error) => problems.push(String(error)));
  await page.goto(new URL("/e2e/harness.html", baseURL).href);
  await page.waitForFunction(() => window.runCase !== undefined);
});

test.afterAll(async () => {
  await browser?.close();
});

testCases("firefox", {
  runCase: (suite, name) => page.evaluate((s, n) => window.runCase!(s, n), suite, name),
  problems,
});
