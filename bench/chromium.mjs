// The runner in Chromium: serves the page with Vite, opens it with Playwright, prints its lines, and adds the rows of the CPU.
import { dirname, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright";
import { createServer } from "vite";
import { findChromium } from "../scripts/chromium.mjs";
import { measureCpuRows } from "./dist/command/cpu-rows.js";
import { describeMachine } from "./dist/command/machine.js";
import { rowLine } from "./dist/command/tables.js";
import { loadLibrary } from "./dist/measure/library.js";

const folder = fileURLToPath(new URL(".", import.meta.url));

/** What the page loads as it is; onnxruntime-web finds its WebAssembly beside itself. */
const PREBUNDLED = ["@jax-js/jax", "@tensorflow/tfjs-core", "@tensorflow/tfjs-core/dist/register_all_gradients", "@tensorflow/tfjs-backend-webgpu"];

const LAUNCH = [
  "--enable-unsafe-webgpu",
  "--disable-gpu-watchdog", // slow peers on software adapters are slow, not dead
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
  ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
];

/**
 * @param {import("./command/options.ts").Options} options
 * @param {string} library path of the library's module
 */
export async function runInChromium(options, library) {
  const executablePath = findChromium();
  if (!executablePath) throw new Error("there is no Chromium: set CHROMIUM_PATH to one, or run `npx playwright install --with-deps chromium`");
  const server = await serve(library, options.peers !== "none");
  const browser = await chromium.launch({ executablePath, args: LAUNCH });
  try {
    const report = (line) => console.log(line);
    const rows = [];
    const page = await browser.newPage();
    const crashed = new Promise((_, reject) => page.on("crash", () => reject(new Error("the page crashed"))));
    page.on("pageerror", (error) => report(`page: ${error}`));
    page.on("console", (message) => {
      if (message.type() === "error") report(`page: ${message.text().split("\n")[0]}`);
    });
    await page.exposeFunction("report", report);
    await page.exposeFunction("done", (row) => {
      rows.push(row);
      report(rowLine(row));
    });
    await page.goto(`${server.resolvedUrls.local[0]}page/index.html`);
    await page.waitForFunction(() => window.measure !== undefined, undefined, { timeout: 120_000 });
    const request = { library: `/@fs/${library}`, rows: options.rows, peers: options.peers, settings: options.settings };
    const started = await Promise.race([page.evaluate((asked) => window.measure(asked), request), crashed]);
    await browser.close();
    const cpu = await measureCpuRows(options, await loadLibrary(pathToFileURL(library).href), report);
    const machine = describeMachine("chromium", `Chromium ${browser.version()}`, started.adapter.description, [...started.packages, ...cpu.packages]);
    return { date: new Date().toISOString(), machine, settings: started.settings, copy: started.copy, rows: [...rows, ...cpu.rows] };
  } finally {
    await browser.close();
    await server.close();
  }
}

async function serve(library, withPeers) {
  const server = await createServer({
    root: folder,
    configFile: false,
    appType: "mpa",
    publicDir: false,
    logLevel: "error",
    cacheDir: resolve(folder, "node_modules/.vite"),
    optimizeDeps: { noDiscovery: true, include: withPeers ? PREBUNDLED : [], exclude: ["onnxruntime-web"] },
    server: {
      port: 4518,
      hmr: false,
      watch: null,
      fs: { allow: [folder, dirname(library)] },
      // Isolated pages have clocks of 5 µs instead of 100.
      headers: { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" },
    },
  });
  return server.listen();
}
