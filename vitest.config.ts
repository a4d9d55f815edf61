import { defineConfig } from "vitest/config";
import { vulkanEnvironment } from "./scripts/chromium.mjs";

// Worker processes inherit it: the dynamic loader reads LD_LIBRARY_PATH when a process starts.
Object.assign(process.env, vulkanEnvironment());

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "shaders/**/*.test.ts", "demo/**/*.test.ts", "e2e/fuzz/*.test.ts", "scripts/*.test.mjs"],
          testTimeout: 120_000,
        },
      },
      // Each test file opens one device, which computes on all cores and compiles on one.
      { test: { name: "dawn", include: ["e2e/dawn/*.test.ts"], pool: "forks", testTimeout: 300_000, hookTimeout: 60_000 } },
      {
        test: {
          name: "soak",
          include: ["e2e/dawn/soak.test.ts"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 1_200_000,
          env: { SOAK_RUNS: "100000" },
        },
      },
      { test: { name: "long", include: ["e2e/long/*.test.ts"], pool: "forks", fileParallelism: false, testTimeout: 3_600_000 } },
    ],
  },
});
