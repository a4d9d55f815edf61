// npm run bench:pack: everything that the benchmark and the GPU tests need on a Linux machine with a GPU, in one folder (bench/pack): run.sh
// starts the benchmark there, test.sh the tests.
import { spawnSync } from "node:child_process";
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { chromiumFolders } from "../scripts/chromium.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const bench = join(root, "bench");
const pack = join(bench, "pack");

/** What NVIDIA's Vulkan driver loads besides itself; machines without a desktop may lack it. */
const LIBRARIES = [
  "libvulkan.so.1",
  "libGLdispatch.so.0",
  "libGLX.so.0",
  "libGL.so.1",
  "libEGL.so.1",
  "libOpenGL.so.0",
  "libX11.so.6",
  "libXext.so.6",
  "libxcb.so.1",
  "libXau.so.6",
  "libXdmcp.so.6",
  "libbsd.so.0",
  "libmd.so.0",
];

if (process.platform !== "linux" || process.arch !== "x64") {
  console.error("bench:pack puts this machine's Node and Dawn into the folder: it needs Linux on x64, as the machine that will run it");
  process.exit(1);
}
run(process.execPath, [join(bench, "bench.mjs"), "--prepare", "--peers", "none"]);
rmSync(pack, { recursive: true, force: true });
mkdirSync(pack);
cpSync(join(bench, "dist"), join(pack, "dist"), { recursive: true });
copyFileSync(join(bench, "package.json"), join(pack, "package.json"));
for (const file of ["torch/bench_torch.py", "environment.sh", "run.sh", "test.sh"]) copyFileSync(join(bench, file), join(pack, basename(file)));
// The model that bench_torch.py trains.
cpSync(join(root, "python/fastrpb"), join(pack, "fastrpb"), { recursive: true, filter: (file) => !file.endsWith("__pycache__") });
const dawn = join(root, "node_modules/webgpu");
for (const file of ["index.js", "package.json", "LICENSE.md", "dist/linux-x64/dawn.node"]) {
  cpSync(join(dawn, file), join(pack, "node_modules/webgpu", file), { recursive: true });
}
// The peer that runs in Node, too; there it is asked for by --peers jax-js.
const jax = join(bench, "node_modules/@jax-js/jax");
if (existsSync(jax)) cpSync(jax, join(pack, "node_modules/@jax-js/jax"), { recursive: true, dereference: true });
await buildTests();
copyLibraries();
console.log("compressing Node");
const compressed = spawnSync("xz", ["-T0", "-6", "--stdout", process.execPath], { maxBuffer: 2 ** 30 });
if (compressed.status !== 0) throw new Error("xz is needed to compress Node");
writeFileSync(join(pack, "node.xz"), compressed.stdout);
console.log(`${pack}: ${(folderBytes(pack) / 2 ** 20).toFixed(0)} MiB. There: bash run.sh, with the options of npm run bench; bash test.sh`);

/** The GPU cases and the fuzzer, and of the library's sources what they import. */
async function buildTests() {
  await build({
    root,
    configFile: false,
    logLevel: "warn",
    publicDir: false,
    ssr: { noExternal: true, external: ["webgpu"] },
    build: {
      ssr: join(root, "e2e/dawn/command.ts"),
      outDir: join(pack, "tests"),
      target: "node20",
      minify: false,
      rolldownOptions: { treeshake: false, output: { entryFileNames: "tests.mjs", chunkFileNames: "[name]-[hash].mjs" } },
    },
  });
}

/** From the system, or from Chromium's folder, which has a loader of its own. */
function copyLibraries() {
  const folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", ...chromiumFolders()];
  mkdirSync(join(pack, "lib"));
  for (const library of LIBRARIES) {
    const folder = folders.find((candidate) => existsSync(join(candidate, library)));
    if (folder) copyFileSync(join(folder, library), join(pack, "lib", library));
    else console.log(`${library} is not on this machine, and left out`);
  }
}

function folderBytes(folder) {
  return readdirSync(folder, { recursive: true }).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

function run(command, args) {
  if (spawnSync(command, args, { cwd: root, stdio: "inherit" }).status !== 0) process.exit(1);
}
