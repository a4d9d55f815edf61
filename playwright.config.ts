import { defineConfig } from "playwright/test";
import { findChromium } from "./scripts/chromium.mjs";

const ADDRESS = `http://localhost:${process.env.PORT ?? 4517}`;
const chromiumPath = findChromium();

export default defineConfig({
  testDir: "e2e",
  testMatch: "*.spec.ts",
  outputDir: "test-results",
  // One GPU process: the tests share it, and without a GPU all cores.
  workers: 1,
  timeout: 300_000,
  retries: 0,
  forbidOnly: Boolean(process.env.CI),
  reporter: [["list"], ["json", { outputFile: "test-results/report.json" }]],
  use: {
    baseURL: ADDRESS,
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
  },
  webServer: {
    command: `node node_modules/vite/bin/vite.js --config e2e/vite.config.ts --port ${new URL(ADDRESS).port}`,
    url: `${ADDRESS}/package.json`,
    reuseExistingServer: false,
    timeout: 60_000,
  },
});
