// Tests what users install: packs the built library and looks at the package from outside. Build first (npm run build:library).
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync } from "node:zlib";
import { minifySync, parseSync } from "vite";

const SIZE_LIMIT = 80 * 1024;

const root = fileURLToPath(new URL("..", import.meta.url));
const bundle = join(root, "dist/fastrpb.js");
if (!existsSync(bundle)) {
  console.error("dist/fastrpb.js is missing: npm run build:library");
  process.exit(1);
}

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
  check("imports nothing", importsNothing);
  check(`at most ${SIZE_LIMIT / 1024} KiB`, size);
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
    console.log(`✗ ${name}\n${[error.stdout, error.stderr].filter(Boolean).join("\n") || error.message}`);
  }
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

function importsNothing() {
  const { module } = parseSync(bundle, readFileSync(bundle, "utf8"));
  const imports = [
    ...module.staticImports,
    ...module.staticExports.flatMap((names) => names.entries.filter((entry) => entry.moduleRequest)),
    ...module.dynamicImports,
  ];
  if (imports.length > 0) throw new Error(`dist/fastrpb.js has ${imports.length} imports`);
}

function size() {
  const { code } = minifySync(bundle, readFileSync(bundle, "utf8"), { module: true });
  const compressed = brotliCompressSync(code).length;
  const report = `${compressed} bytes (minified ${code.length}, then brotli)`;
  if (compressed > SIZE_LIMIT) throw new Error(report);
  return report;
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
    const runtime = await createRuntime({ backend: "auto" });
    const plan = await runtime.attention({ heads: 1, length: 8, headDim: 4, featureMap: "sikf", bias: "fastrpb" });
    const tensor: Tensor = runtime.tensor(new Float32Array(32), [1, 1, 8, 4]);
    const device: GPUDevice | undefined = runtime.device;
    const buffer: GPUBuffer | undefined = tensor.buffer;
    // @ts-expect-error an unknown backend: would pass if the types did not resolve
    await createRuntime({ backend: "abacus" });
    export { buffer, device, FastRpbError, plan };
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
