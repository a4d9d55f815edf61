/** The GPU cases in Firefox, wgpu and naga: those that are quick, with FULL=1 every one. */
import { test as base } from "playwright/test";
import { launch } from "puppeteer-core";
import { findFirefox } from "../scripts/firefox.mjs";
import { COMPLAINTS, type HarnessFixture, testCases } from "./page-cases.ts";

const test = base.extend<object, HarnessFixture>({
  harness: [
    // eslint-disable-next-line no-empty-pattern -- Playwright reads which fixtures it takes
    async ({}, use, { project }) => {
      const executablePath = findFirefox();
      if (executablePath === undefined) throw new Error("there is no Firefox: `npm test -- --only firefox` installs one, FIREFOX_PATH names one");
      const browser = await launch({
        browser: "firefox",
        executablePath,
        headless: true,
        // On Linux, releases have WebGPU behind the first, and on software drivers behind the second.
        extraPrefsFirefox: { "dom.webgpu.enabled": true, "gfx.webgpu.ignore-blocklist": true },
        protocolTimeout: 0, // the time limit of a case is Playwright's
      });
      try {
        const page = await browser.newPage();
        const problems: string[] = [];
        page.on("console", (message) => {
          if (COMPLAINTS.includes(message.type())) problems.push(message.text());
        });
        page.on("pageerror", (error) => problems.push(String(error)));
        await page.goto(new URL("/e2e/harness.html", project.use.baseURL).href);
        await page.waitForFunction(() => window.runCase !== undefined);
        await use({ runCase: (suite, name) => page.evaluate((s, n) => window.runCase!(s, n), suite, name), problems });
      } finally {
        await browser.close();
      }
    },
    { scope: "worker" },
  ],
});

testCases(test, "firefox", false);
