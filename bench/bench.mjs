// npm run bench: makes ready what is missing (the peers, the library, bench/dist), then measures in Chromium or in Node with Dawn.
import { spawnSync } from "node:child_process";
import { copyFileSync, cpSync, existsSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { vulkanEnvironment } from "../scripts/chromium.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const bench = join(root, "bench");
const built = join(root, "dist/fastrpb.js");

transpile();
const { parseOptions, USAGE } = await import("./dist/command/options.js");
const { readResult, saveResult, showResult } = await import("./dist/command/save.js");

let options;
try {
  options = parseOptions(process.argv.slice(2));
} catch (error) {
  console.error(`${error.message}\n\n${USAGE}`);
  process.exit(2);
}
if (!options) {
  console.log(USAGE);
} else if (options.from) {
  showResult(readResult(options.from), options.write);
} else {
  if (options.peers !== "none") installPeers();
  const library = options.library ? resolve(options.library) : buildLibrary();
  copyParts(library);
  if (options.prepare) {
    console.log("bench/dist is ready");
  } else if (options.adapter === "dawn") {
    process.exitCode = runInDawn();
  } else {
    const { runInChromium } = await import("./chromium.mjs");
    const result = await runInChromium(options, library);
    saveResult(result);
    showResult(result, options.write);
  }
}

/** The TypeScript of bench/ as modules for Node, in bench/dist. */
function transpile() {
  run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", "bench/tsconfig.json"]);
  writeFileSync(join(bench, "dist/package.json"), '{ "type": "module" }\n');
}

function installPeers() {
  if (!existsSync(join(bench, "node_modules/.package-lock.json"))) run("npm", ["ci", "--prefix", bench]);
}

/** The library's own build, made again where a source is newer. */
function buildLibrary() {
  const newest = Math.max(...["src", "shaders"].flatMap((folder) => sources(join(root, folder))).map((file) => statSync(file).mtimeMs));
  if (!existsSync(built) || statSync(built).mtimeMs < newest) run("npm", ["run", "--silent", "build:library"]);
  return built;
}

function sources(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Models, and what the library imports on demand, lie next to it. */
function copyParts(library) {
  copyFileSync(library, join(bench, "dist/fastrpb.js"));
  const models = join(dirname(library), "nn.js");
  if (existsSync(models)) copyFileSync(models, join(bench, "dist/nn.js"));
  const [from, to] = [join(dirname(library), "chunks"), join(bench, "dist/chunks")];
  rmSync(to, { recursive: true, force: true });
  if (existsSync(from)) cpSync(from, to, { recursive: true });
}

/** In a process of its own: the dynamic loader reads LD_LIBRARY_PATH when a process starts. */
function runInDawn() {
  const environment = hasGpu() ? {} : vulkanEnvironment();
  const args = [join(bench, "dist/command/dawn.js"), ...process.argv.slice(2)];
  return spawnSync(process.execPath, args, { stdio: "inherit", env: { ...process.env, ...environment } }).status ?? 1;
}

function hasGpu() {
  return existsSync("/dev/dri") || existsSync("/dev/nvidia0");
}

function run(command, args) {
  const { status } = spawnSync(command, args, { cwd: root, stdio: "inherit", shell: process.platform === "win32" });
  if (status !== 0) {
    console.error(`${command} ${args.join(" ")} failed`);
    process.exit(1);
  }
}
