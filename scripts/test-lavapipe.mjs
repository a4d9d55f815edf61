// Runs the GPU cases in Node (Dawn) on Mesa's lavapipe, a second software driver: another compiler, 8 lanes to a subgroup, float16.
// VK_DRIVER_FILES names another driver. What follows goes to vitest:
//
//   npm run test:lavapipe -- -t "toeplitz length 4096"
//
// Dawn refuses a lavapipe older than Mesa 24 (Debian 12 has 22.3): "no adapter".
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DRIVER_FOLDERS } from "./vulkan.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const driver = process.env.VK_DRIVER_FILES || findLavapipe();
if (driver === undefined) fail("There is no lavapipe: install Mesa's Vulkan drivers (Debian: mesa-vulkan-drivers), or set VK_DRIVER_FILES.");
process.env.VK_DRIVER_FILES = driver;

const { create } = await import("webgpu");
globalThis.gpu = create([]); // were it garbage-collected, the process would crash
const adapter = await globalThis.gpu.requestAdapter();
if (!adapter) fail(`Dawn finds no adapter by ${driver}: is Vulkan's loader installed, and the driver new enough?`);
console.log(
  `${adapter.info.description}; ${adapter.info.vendor}; ${[...adapter.features].filter((name) => name === "shader-f16" || name === "subgroups").join(", ")}`,
);

const vitest = join(root, "node_modules/vitest/vitest.mjs");
const { status } = spawnSync(process.execPath, [vitest, "run", "--project", "dawn", ...process.argv.slice(2)], { cwd: root, stdio: "inherit" });
process.exit(status ?? 1);

function findLavapipe() {
  return DRIVER_FOLDERS.filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
    .find((path) => /lvp_icd.*\.json$/.test(path));
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
