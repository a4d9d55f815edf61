// Tests what users install: packs the built library and looks at the package from outside. Build first (npm run build:library).
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, posix, relative, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { runInThisContext } from "node:vm";
import { brotliCompressSync } from "node:zlib";
import { build, minifySync, parseSync } from "vite";
import { vulkanEnvironment } from "./chromium.mjs";

const KIB = 1024;
/** What the one file of `fastrpb/bundle` may take, minified and compressed by brotli. */
// Over its budget, with all that the kinds of biases, masks and decoding take. Pages that load parts do without what they do not use, and hold theirs.
const BUNDLE = { budget: 80 * KIB, most: 115 * KIB };

const ATTENTION = `
  const runtime = await createRuntime({ gpu, backend: "webgpu" });
  const plan = await runtime.attention({ heads: 1, length: 4096, headDim: 64, featureMap: "sikf", bias: "fastrpb" });
  const tensor = (...shape) => runtime.tensor(new Float32Array(shape.reduce((a, b) => a * b)).fill(0.5), shape);
  const inputs = { q: tensor(1, 1, 4096, 64), k: tensor(1, 1, 4096, 64), v: tensor(1, 1, 4096, 64), bias: tensor(1, 8191) };
  const data = await plan.run(inputs).data();
  if (!data.every((x) => Math.abs(x - 1024.5) < 0.01)) throw new Error("a wrong result: " + data.slice(0, 4));
`;
const GRADIENT = `
  const { dv } = plan.backward({ ...inputs, dOut: tensor(1, 1, 4096, 64) });
  const gradient = await dv.data();
  if (!gradient.every((x) => Math.abs(x - 1024.5) < 0.01)) throw new Error("a wrong gradient: " + gradient.slice(0, 4));
`;
const FFT = (options) => `
  const runtime = await createRuntime(${options});
  const plan = await runtime.fft({ shape: [4096] });
  const data = await plan.run(runtime.tensor(new Float32Array(8192).fill(1), [4096], "complex64")).data();
  if (data[0] !== 4096) throw new Error("a wrong FFT: " + data.slice(0, 4));
`;
const TRAINING = `
  const { adamW, createTrainer, crossEntropy, transformer } = await import("fastrpb/nn");
  const runtime = await createRuntime({ gpu, backend: "webgpu" });
  const attention = { featureMap: "sikf", bias: "fastrpb" };
  const model = transformer({ input: { tokens: 4 }, length: 16, grid: [4, 4], layers: 1, width: 8, heads: 2, attention, output: { classes: 2 } });
  const trainer = await createTrainer(runtime, model, { batch: 2, loss: crossEntropy(), optimizer: adamW({ rate: 0.01 }) });
  const batch = { inputs: Uint32Array.from({ length: 32 }, (_, i) => (i < 16 ? i % 2 : 2)), targets: [0, 1] };
  const losses = [];
  for (let step = 0; step < 20; step++) losses.push(await trainer.step(batch).loss.value());
  if (!(losses[19] < losses[0] / 2)) throw new Error("it does not learn: " + losses);
`;
/** Jobs of a page, and what it may download for them, minified and compressed by brotli. */
const JOBS = [
  { name: "one FFT on WebGPU", code: FFT('{ gpu, backend: "webgpu" }'), budget: 34 * KIB },
  { name: "one FFT on the CPU", code: FFT('{ backend: "cpu" }'), budget: 34 * KIB },
  { name: "attention with FastRPB on WebGPU", code: ATTENTION, budget: 60 * KIB },
  { name: "attention with FastRPB on WebGPU and its gradient", code: ATTENTION + GRADIENT, budget: 70 * KIB },
  { name: "the training of a transformer on WebGPU", code: TRAINING, budget: 110 * KIB },
];

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");
const ENTRY = "fastrpb.js";
const MODELS = "nn.js";
const BUNDLED = "fastrpb.bundle.js";
if (!existsSync(join(dist, ENTRY)) || !existsSync(join(dist, BUNDLED))) {
  console.error("dist/ is missing: npm run build:library");
  process.exit(1);
}
/** Paths of the modules in dist/, with "/" between folders. */
const FILES = readdirSync(dist, { recursive: true })
  .map((file) => String(file).split(sep).join("/"))
  .filter((file) => file.endsWith(".js"));
const SOURCES = new Map(FILES.map((file) => [file, readFileSync(join(dist, file), "utf8")]));
const BYTES = new Map(FILES.map((file) => [file, brotliCompressSync(SOURCES.get(file)).length]));

const folder = mkdtempSync(join(tmpdir(), "fastrpb-package-"));
let failed = 0;
try {
  const [{ filename }] = JSON.parse(
    run("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", folder], { shell: process.platform === "win32" }),
  );
  const tarball = join(folder, filename);
  const consumer = join(folder, "consumer");
  install(tarball, consumer);

  check("publint", () => tool("publint/src/cli.js", ["run", tarball, "--strict"]));
  check("types resolve (attw)", () => tool("@arethetypeswrong/cli/dist/index.js", [tarball, "--profile", "esm-only"]));
  check("imports only its own chunks, all of which are used", importsOwnChunks);
  check("no eval, Function from text or WebAssembly", noCodeFromText);
  check("every file is minified and has a source map", minified);
  check(`fastrpb/bundle is one file of at most ${(BUNDLE.most ?? BUNDLE.budget) / KIB} KiB`, () => within(BUNDLE, [BUNDLED]));
  for (const job of JOBS) check(`a page downloads at most ${(job.most ?? job.budget) / KIB} KiB for ${job.name}`, () => downloads(consumer, job));
  for (const entry of ["fastrpb/bundle", "fastrpb"]) {
    // Vite 7 and Rollup refuse to make one script of code that loads its parts, as "fastrpb" does; Vite 8 puts all parts into it.
    await checkAsync(`a worker in Vite's default format, one script, builds with ${entry} and runs`, () => buildsWorker(consumer, entry));
  }
  for (const lock of ["package-lock.json", "bench/package-lock.json"]) check(`${lock} pins every package and names no machine`, () => pins(lock));
  check("runs in Node without a GPU", () => runsInNode(consumer));
  for (const moduleResolution of ["nodenext", "bundler"]) {
    for (const types of ["@webgpu/types", "the DOM library"]) {
      check(`type-checks for a user with ${moduleResolution} and ${types}`, () => typeChecks(consumer, moduleResolution, types));
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failed > 0 ? 1 : 0;

function check(name, test) {
  try {
    const note = test();
    console.log(`✓ ${name}${note ? `: ${note}` : ""}`);
  } catch (error) {
    failed++;
    console.log(`✗ ${name}\n${[error.signal, error.stdout, error.stderr].filter(Boolean).join("\n") || error.message}`);
  }
}

async function checkAsync(name, test) {
  let note;
  let failure;
  try {
    note = await test();
  } catch (error) {
    failure = error;
  }
  check(name, () => {
    if (failure) throw failure;
    return note;
  });
}

function run(command, args, options = {}) {
  return execFileSync(command, args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], ...options });
}

function tool(path, args, options) {
  run(process.execPath, [join(root, "node_modules", path), ...args], options);
}

/** What `npm install` would do with a package that has no dependency. */
function install(tarball, consumer) {
  const target = join(consumer, "node_modules/fastrpb");
  mkdirSync(target, { recursive: true });
  run("tar", ["-xzf", tarball, "--strip-components", "1", "-C", target]);
  mkdirSync(join(consumer, "node_modules/@webgpu"));
  symlinkSync(join(root, "node_modules/@webgpu/types"), join(consumer, "node_modules/@webgpu/types"), "junction");
  writeFileSync(join(consumer, "package.json"), JSON.stringify({ type: "module", private: true }));
}

/** Modules that a file imports: at once, or on demand; a name that is no string in the source is `undefined`. */
function importsOf(file) {
  const source = SOURCES.get(file);
  const { module } = parseSync(file, source);
  const always = [
    ...module.staticImports.map((entry) => entry.moduleRequest.value),
    ...module.staticExports.flatMap(({ entries }) => entries.flatMap((entry) => entry.moduleRequest?.value ?? [])),
  ];
  const onDemand = module.dynamicImports.map(({ moduleRequest: { start, end } }) => /^["'`](.*)["'`]$/.exec(source.slice(start, end))?.[1]);
  const resolved = (name) => (name?.startsWith("./") || name?.startsWith("../") ? posix.join(posix.dirname(file), name) : name);
  return { always: always.map(resolved), onDemand: onDemand.map(resolved) };
}

function importsOwnChunks() {
  const reached = new Set([ENTRY, MODELS]);
  for (const file of reached) {
    const { always, onDemand } = importsOf(file);
    for (const name of [...always, ...onDemand]) {
      if (!SOURCES.has(name)) throw new Error(`dist/${file} imports ${name}`);
      reached.add(name);
    }
  }
  const alone = importsOf(BUNDLED);
  if (alone.always.length + alone.onDemand.length > 0) throw new Error(`dist/${BUNDLED} imports ${[...alone.always, ...alone.onDemand].join(", ")}`);
  const unused = FILES.filter((file) => !reached.has(file) && file !== BUNDLED);
  if (unused.length > 0) throw new Error(`nothing imports ${unused.join(", ")}`);
  return `${FILES.length} files`;
}

/** What `Content-Security-Policy: default-src 'self'` forbids. */
function noCodeFromText() {
  for (const [file, source] of SOURCES) {
    const { program } = parseSync(file, source);
    const visit = (node) => {
      if (typeof node !== "object" || node === null) return;
      const name = node.type === "Identifier" ? node.name : undefined;
      const called = (node.type === "CallExpression" || node.type === "NewExpression") && node.callee.name;
      if (name === "eval" || name === "WebAssembly" || called === "Function") throw new Error(`dist/${file} has ${name ?? "Function()"}`);
      for (const child of Object.values(node)) visit(child);
    };
    visit(program);
  }
}

function minified() {
  for (const [file, source] of SOURCES) {
    // The entries have no code of their own, nor has what the bundler adds.
    if (file !== ENTRY && file !== MODELS && file !== "chunks/rolldown-runtime.js" && !existsSync(join(dist, `${file}.map`)))
      throw new Error(`dist/${file} has no source map`);
    // What tells a user's bundler that a call may be dropped stays in the file; minified once more, it would go.
    const code = source.replace(/\n\/\/# sourceMappingURL=.*\s*$/, "").replaceAll("/* @__PURE__ */ ", "");
    const again = minifySync(file, code, { module: true }).code;
    if (again.length < 0.98 * code.length) throw new Error(`dist/${file} has ${code.length} characters, and ${again.length} when it is minified`);
  }
  return `${FILES.length} files`;
}

/** @param {{ budget: number, most?: number }} limits @param {readonly string[]} files */
function within({ budget, most = budget }, files) {
  const total = files.reduce((sum, file) => sum + BYTES.get(file), 0);
  const report = `${total} of ${budget} bytes${files.length > 1 ? files.map((file) => `\n  ${String(BYTES.get(file)).padStart(6)}  ${file}`).join("") : ""}`;
  if (total > most) throw new Error(report);
  return total > budget ? `OVER ITS BUDGET by ${total - budget} bytes: ${report}` : report;
}

/** Runs a job in Node, and counts the modules of the package that Node loaded for it. */
function downloads(consumer, { code, budget, most }) {
  const record = join(consumer, "loads.txt");
  writeFileSync(record, "");
  const script = `
    import { createRuntime } from "fastrpb";
    import { create, globals } from ${JSON.stringify(import.meta.resolve("webgpu"))};
    Object.assign(globalThis, globals);
    const gpu = (globalThis.dawnGpu = create([])); // in a global: were it garbage-collected, the process would crash
    ${code}
    process.exit(0);
  `;
  const library = realpathSync(join(consumer, "node_modules/fastrpb/dist")) + sep;
  const preload = pathToFileURL(join(root, "scripts/record-loads.mjs")).href;
  run(process.execPath, ["--import", preload, "--input-type=module", "--eval", script], {
    cwd: consumer,
    env: { ...process.env, ...vulkanEnvironment(), LOADS_OF: library, LOADS_FILE: record },
  });
  const loaded = [...new Set(readFileSync(record, "utf8").trim().split("\n"))].map((path) => relative(library, path).split(sep).join("/"));
  // Whatever a file imports at once, a page downloads with it.
  for (const file of loaded) {
    const missing = importsOf(file).always.filter((name) => !loaded.includes(name));
    if (missing.length > 0) throw new Error(`${file} was loaded without ${missing.join(", ")}`);
  }
  return within({ budget, most }, loaded);
}

/** Builds a worker that makes a runtime, and runs it. */
async function buildsWorker(consumer, entry) {
  writeFileSync(
    join(consumer, "worker.js"),
    `import { createRuntime } from "${entry}"; createRuntime().then((runtime) => postMessage(runtime.backend));`,
  );
  writeFileSync(join(consumer, "main.js"), 'new Worker(new URL("./worker.js", import.meta.url), { type: "module" });');
  const options = { write: false, rolldownOptions: { input: join(consumer, "main.js") } };
  const { output } = await build({ configFile: false, root: consumer, logLevel: "silent", build: options });
  const scripts = output.filter(({ type }) => type === "asset");
  if (scripts.length !== 1) throw new Error(`the worker is ${scripts.map(({ fileName }) => fileName).join(", ") || "not built"}`);
  const code = String(scripts[0].source);
  const backend = await new Promise((resolve) => runInThisContext(`((postMessage) => {${code}\n})`)(resolve));
  if (backend !== "cpu") throw new Error(`a runtime of "${backend}"`);
  return `${code.length} characters`;
}

/** Every package has a digest of its contents; an address, if there is one, is that of npm's public registry. */
function pins(lock) {
  const { lockfileVersion, packages } = JSON.parse(readFileSync(join(root, lock), "utf8"));
  if (lockfileVersion !== 3) throw new Error(`lockfileVersion ${lockfileVersion}`);
  const entries = Object.entries(packages).filter(([path]) => path !== "");
  for (const [path, { version, integrity, resolved, link }] of entries) {
    if (link || !/^\d+\.\d+\.\d+/.test(version ?? "")) throw new Error(`${path} has no fixed version`);
    if (!/^sha512-[\w+/]{86}==$/.test(integrity ?? "")) throw new Error(`${path} has no sha512 digest`);
    if (resolved !== undefined && !resolved.startsWith("https://registry.npmjs.org/")) throw new Error(`${path} comes from ${resolved}`);
  }
  if (entries.length === 0) throw new Error("no packages");
  return `${entries.length} packages`;
}

function runsInNode(consumer) {
  const script = `
    import { createRuntime } from "fastrpb";
    const runtime = await createRuntime();
    if (runtime.backend !== "cpu") throw new Error("expected the CPU backend, got " + runtime.backend);
    const plan = await runtime.fft({ shape: [4] });
    const x = runtime.tensor(new Float32Array([1, 0, 2, 0, 3, 0, 4, 0]), [4], "complex64");
    const spectrum = String(await plan.run(x).data());
    if (spectrum !== "10,0,-2,2,-2,0,-2,-2") throw new Error("a wrong FFT: " + spectrum);
    runtime.dispose();
  `;
  run(process.execPath, ["--input-type=module", "--eval", script], { cwd: consumer });
}

function typeChecks(consumer, moduleResolution, types) {
  const code = `
    import { createRuntime, FastRpbError, type Tensor } from "fastrpb";
    import { createRuntime as bundled } from "fastrpb/bundle";
    import { adamW, createTrainer, crossEntropy, defineModel, linear, type Trainer } from "fastrpb/nn";
    export const other: typeof createRuntime = bundled;
    const runtime = await createRuntime({ backend: "auto" });
    const plan = await runtime.attention({ heads: 1, length: 8, headDim: 4, featureMap: "sikf", bias: "fastrpb" });
    const tensor: Tensor = runtime.tensor(new Float32Array(32), [1, 1, 8, 4]);
    const device: GPUDevice | undefined = runtime.device;
    const buffer: GPUBuffer | undefined = tensor.buffer;
    const model = defineModel((build, { x }) => linear(x, "out", { outputs: 2 }), { inputs: { x: { shape: [3] } } });
    const trainer: Trainer = await createTrainer(runtime, model, { batch: 1, loss: crossEntropy(), optimizer: adamW({ rate: 0.1 }) });
    const loss: number = await trainer.step({ x: [1, 2, 3], targets: [1] }).loss.value();
    // @ts-expect-error an unknown backend: would pass if the types did not resolve
    await createRuntime({ backend: "abacus" });
    export { buffer, device, FastRpbError, loss, plan };
  `;
  const ownTypes = types === "@webgpu/types";
  const config = {
    compilerOptions: {
      strict: true,
      noEmit: true,
      target: "es2022",
      module: moduleResolution === "nodenext" ? "nodenext" : "esnext",
      moduleResolution,
      lib: ["es2022", "dom"],
      types: ownTypes ? ["@webgpu/types"] : [],
      skipLibCheck: ownTypes, // the DOM library has WebGPU's types, too, and the two clash
    },
    files: ["user.ts"],
  };
  writeFileSync(join(consumer, "user.ts"), code);
  writeFileSync(join(consumer, "tsconfig.json"), JSON.stringify(config));
  tool("typescript/bin/tsc", ["-p", "."], { cwd: consumer });
}
