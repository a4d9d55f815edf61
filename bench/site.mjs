// npm run bench:site: the benchmark's page with its peers, and the GPU cases, as static files in bench/site, for a browser on a machine that has a
// GPU and no toolchain; with what drives that browser, browse.mjs.
import { copyFileSync, cpSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const root = fileURLToPath(new URL("..", import.meta.url));
const bench = join(root, "bench");
const site = join(bench, "site");

// Installs the peers, and builds the library where it is old.
const { status } = spawnSync(process.execPath, [join(bench, "bench.mjs"), "--prepare"], { cwd: root, stdio: "inherit" });
if (status !== 0) process.exit(1);
rmSync(site, { recursive: true, force: true });
await buildPage(bench, "page/index.html", site);
await buildPage(root, "e2e/harness.html", join(site, "cases"));
await build({
  root: bench,
  configFile: false,
  logLevel: "error",
  ssr: { noExternal: true },
  build: {
    ssr: join(bench, "browse.ts"),
    outDir: site,
    emptyOutDir: false,
    target: "node20",
    minify: false,
    rolldownOptions: { output: { entryFileNames: "browse.mjs" } },
  },
});
copyFileSync(join(bench, "package.json"), join(site, "package.json"));
mkdirSync(join(site, "dist"));
for (const name of ["fastrpb.js", "nn.js"]) copyFileSync(join(root, "dist", name), join(site, "dist", name));
cpSync(join(root, "dist/chunks"), join(site, "dist/chunks"), { recursive: true, filter: (file) => !file.endsWith(".map") });
copyOnnxRuntime();
console.log(`${site}: serve it, and give browse.mjs the browser`);

function buildPage(from, page, outDir) {
  return build({
    root: from,
    base: "./",
    configFile: false,
    logLevel: "error",
    publicDir: false,
    build: { outDir, emptyOutDir: false, target: "esnext", minify: false, assetsInlineLimit: 0, rolldownOptions: { input: join(from, page) } },
  });
}

/** It looks for its WebAssembly here. */
function copyOnnxRuntime() {
  const [from, to] = ["node_modules/onnxruntime-web/dist", "site/node_modules/onnxruntime-web/dist"].map((path) => join(bench, path));
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from))
    if (/^ort-wasm-simd-threaded\.asyncify\.(wasm|mjs)$/.test(name)) copyFileSync(join(from, name), join(to, name));
}
