// npm run fuzz: random plans and data on the GPU, in Node with Dawn, against the float64 CPU backend.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { createServer, createServerModuleRunner } from "vite";
import { vulkanEnvironment } from "./chromium.mjs";

const environment = vulkanEnvironment();
if (Object.keys(environment).length > 0 && !process.env.FUZZ_STARTED) {
  // The dynamic loader reads LD_LIBRARY_PATH when a process starts.
  const env = { ...process.env, ...environment, FUZZ_STARTED: "1" };
  const { status } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: "inherit", env });
  process.exit(status ?? 1);
}
// It stays open: parts of the library are imported when they are first used.
const server = await createServer({
  root: fileURLToPath(new URL("..", import.meta.url)),
  configFile: false,
  logLevel: "error",
  appType: "custom",
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
  optimizeDeps: { noDiscovery: true },
});
let status = 1;
try {
  const module = await createServerModuleRunner(server.environments.ssr, { hmr: false }).import("/e2e/fuzz/run.ts");
  status = await module.main(process.argv.slice(2));
} catch (error) {
  console.error(error);
}
process.exit(status); // Dawn would keep the process alive
