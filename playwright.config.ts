import { defineConfig } from "playwright/test";
import { findChromium } from "./scripts/chromium.mjs";

const ADDRESS = `http://localhost:${process.env["E2E_PORT"] ?? 4517}`;
const chromiumPath = findChromium();

const chromium = {
  launchOptions: {
    ...(chromiumPath === undefined ? {} : { executablePath: chromiumPath }),
    args: [
      "--enable-unsafe-webgpu",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-first-run",
      ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
    ],
  },
};
/** What runs an engine through the GPU cases or the fuzzer. */
const ENGINE_SPECS = ["firefox.spec.ts", "kernels.spec.ts", "fuzz.spec.ts"];

export default defineConfig({
  testDir: "e2e",
  outputDir: "test-results",
  // A browser compiles pipelines on one core, so that a second one is worth having.
  workers: 2,
  timeout: 300_000,
  retries: 0,
  forbidOnly: Boolean(process.env.CI),
  reporter: [["list"], ["json", { outputFile: "test-results/report.json" }]],
  projects: [
    // The page, the packed library and crashes.
    { name: "chromium", testMatch: "*.spec.ts", testIgnore: ENGINE_SPECS, use: chromium },
    // GPU cases and the fuzzer in Chromium's Dawn, which is Node's: outside CI.
    { name: "chromium-cases", testMatch: ["kernels.spec.ts", "fuzz.spec.ts"], use: chromium },
    // Puppeteer starts it: Playwright drives only a build of its own.
    {
      name: "firefox",
      testMatch: "firefox.spec.ts",
      fullyParallel: true,
    },
  ],
  use: { baseURL: ADDRESS },
  webServer: {
    command: `node node_modules/vite/bin/vite.js --config e2e/vite.config.ts --port ${new URL(ADDRESS).port}`,
    url: `${ADDRESS}/package.json`,
    reuseExistingServer: false,
    timeout: 60_000,
  },
});
