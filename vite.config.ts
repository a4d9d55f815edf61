import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { minifyWgsl } from "./scripts/minify-wgsl.mjs";
import { defineConfig, type UserConfig } from "vite";

// vite                         the demo on a development server (npm start)
// vite build --mode library    dist/fastrpb.js
// vite build --mode demo       dist-demo/
export default defineConfig(({ command, mode }) => {
  if (command === "serve" || mode === "demo") return demo;
  if (mode === "library") return library;
  throw new Error(`vite build needs --mode library or --mode demo, got "${mode}"`);
});

const TARGET = "es2022";
const repository = path(".");

/**
 * What a page loads together, so that it loads few files: shared modules would be chunks of their own otherwise. Modules that are not named
 * here go with whoever imports them.
 */
const CHUNKS: Readonly<Record<string, RegExp>> = {
  core: /^src\/(runtime|bias|index|spec\/(backend|check|choices|errors|half|limits|load|smooth|tensor)|plans\/(plan|gradient|finite-check))\.ts$/,
  "sequence-plan": /^src\/(plans\/(spectrum|attention)|spec\/operations\/(toeplitz|attention))\.ts$/,
  "fft-plan": /^src\/(plans\/fft|spec\/(axes|operations\/fft))\.ts$/,
  "convolve-plan": /^src\/(plans|spec\/operations)\/convolve\.ts$/,
  "complex-multiply-plan": /^src\/(plans|spec\/operations)\/complex-multiply\.ts$/,
  "toeplitz-plan": /^src\/(plans\/toeplitz|spec\/operations\/toeplitz-options)\.ts$/,
  "math-fft": /^src\/math\/(fft|fft\/.*|memory|roots)\.ts$/,
  "math-random": /^src\/math\/random(-features)?\.ts$/,
  cpu: /^src\/cpu\/.*\.ts$/,
  webgpu:
    /^(src\/(gpu\/(?!profile|slices|restore|short-memory).*|plan\/(attention|banks|head-groups|lengths|parts|planners|program|stockham|tables|units|workgroups))|shaders\/(butterfly|complex|kernel|lengths|literals|roots|stockham|wgsl-compiled))\.ts$/,
  attention:
    /^(src\/plan\/(linear-attention|linear-attention-parts|projections|toeplitz|toeplitz-layout|toeplitz-spectrum)|shaders\/(channel-pairs|feature-map|linear-attention-(apply|combine|reduce)|query-features|row-vectors|toeplitz-(fused|branches|spectrum)))\.ts$/,
  transform: /^(src\/plan\/(fft-lines|fft-pass|slices|split)|shaders\/(column-end|fft))\.ts$/,
  "toeplitz-long":
    /^(src\/plan\/(toeplitz-passes|toeplitz-long-spectrum)|shaders\/toeplitz-(columns|columns-inverse|embed|rows|pass|grid-rows|grid-embed))\.ts$/,
  "state-products": /^shaders\/state-products\.ts$/,
  gradient:
    /^(src\/plan\/(attention-gradient|linear-attention-gradient|linear-attention-gradient-parts|toeplitz-gradient)|shaders\/(efficient-key-state|linear-attention-(key|query)-gradient|toeplitz-(correlate|pack|weight-gradient)))\.ts$/,
};

function chunkGroups() {
  return Object.entries(CHUNKS).map(([name, modules]) => ({
    name,
    test: (id: string) => modules.test(relative(repository, id).replaceAll("\\", "/")),
  }));
}

const wgsl = () => minifyWgsl(/\/shaders\/[\w-]+\.ts$/);

/** Readable ES modules that import nothing but one another; users' bundlers minify them. */
const library: UserConfig = {
  plugins: [wgsl()],
  publicDir: false,
  build: {
    outDir: path("dist"),
    emptyOutDir: true,
    target: TARGET,
    minify: false,
    sourcemap: true,
    lib: { entry: path("src/index.ts"), formats: ["es"], fileName: "fastrpb" },
    rolldownOptions: {
      output: {
        // Without hashes: a package's files belong to its version, and names that compress well are a part of what a page downloads.
        chunkFileNames: "chunks/[name].js",
        codeSplitting: { groups: chunkGroups() },
      },
    },
  },
};

/** The page: static files that work from any folder, and under the Content-Security-Policy `default-src 'self'`. */
const demo: UserConfig = {
  root: path("demo"),
  base: "./",
  publicDir: false,
  cacheDir: path("node_modules/.vite/demo"),
  server: { open: isDesktop(), fs: { allow: [repository] } },
  // Both dependencies are ES modules already; serving them as they are spares the reload that follows the discovery of a dependency.
  optimizeDeps: { noDiscovery: true },
  build: {
    outDir: path("dist-demo"),
    emptyOutDir: true,
    target: TARGET,
    sourcemap: false,
    // The policy refuses data: addresses, which small assets would become.
    assetsInlineLimit: 0,
    license: { fileName: "licenses.md" },
    rolldownOptions: { output: { codeSplitting: { groups: chunkGroups() } } },
  },
  plugins: [wgsl()],
  worker: {
    format: "es",
    plugins: () => [wgsl()],
    rolldownOptions: { output: { codeSplitting: { groups: chunkGroups() } } },
  },
};

/** Whether there is somebody to show a page to. */
function isDesktop(): boolean {
  const { CI, DISPLAY, WAYLAND_DISPLAY } = process.env;
  return process.stdout.isTTY && !CI && (process.platform !== "linux" || Boolean(DISPLAY ?? WAYLAND_DISPLAY));
}

function path(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}
