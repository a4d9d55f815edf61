import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin, type Rolldown, type UserConfig } from "vite";

// vite                         the demo on a development server (npm start)
// vite build --mode library    dist/fastrpb.js and what it loads
// vite build --mode bundle     dist/fastrpb.bundle.js
// vite build --mode demo       dist-demo/
export default defineConfig(({ command, mode }) => {
  if (command === "serve" || mode === "demo") return demo;
  if (mode === "library") return library;
  if (mode === "bundle") return bundle;
  throw new Error(`vite build needs --mode library, bundle or demo, got "${mode}"`);
});

const TARGET = "es2022";
const repository = path(".");

/** Minified ES modules that import nothing but one another: the entries, and a file for each family of operations and what they share. */
const library = libraryBuild(
  { fastrpb: path("src/index.ts"), nn: path("src/nn.ts") },
  {
    // Every page loads the entry and what all plans share, and small files that most pages load; then what pages of a family load. A group takes all that
    // its files import, but for what groups before it have: together it compresses better.
    codeSplitting: {
      groups: [
        { name: "core", test: /\/(index|runtime\/(gradient-)?plan|core\/axes|math\/(flops|random|roots|smooth).*|wgsl\/complex)\.ts$/ },
        { name: "lines", test: /\/operations\/fft\/lines\.ts$/ },
        { name: "toeplitz-spec", test: /\/(toeplitz\/(forms|outside|separable-plans|spec)|wgsl\/(lengths|rows))\.ts$/ },
        { name: "toeplitz-operation", test: /\/operations\/toeplitz\/operation\.ts$/ },
        { name: "attention", test: /\/(attention\/(spec|operation|bias|projection)|runtime\/attention-family)\.ts$/ },
        { name: "linear-attention", test: /\/attention\/linear\/operation\.ts$/ },
      ],
    },
    // Without hashes: a package's files belong to its version, and names that compress well are a part of what a page downloads.
    chunkFileNames: ({ facadeModuleId, name }) => `chunks/${facadeModuleId ? chunkName(facadeModuleId) : name}.js`,
  },
);

/** The same in one file, for pages with a script tag and for bundlers that refuse to split workers. */
const bundle = libraryBuild({ "fastrpb.bundle": path("src/index.ts") }, { codeSplitting: false }, [importAtOnce()]);

/** Of what is loaded by itself: its room and file, as in "attention-causal-operation". */
function chunkName(module: string): string {
  return relative(path("src"), module)
    .replace(/^operations\W/, "")
    .replace(/\.ts$/, "")
    .replaceAll(/\W/g, "-");
}

function libraryBuild(entries: Readonly<Record<string, string>>, output: Rolldown.OutputOptions, plugins: Plugin[] = []): UserConfig {
  return {
    publicDir: false,
    plugins: [denseShaders(), ...plugins],
    build: {
      outDir: path("dist"),
      emptyOutDir: "nn" in entries,
      target: TARGET,
      sourcemap: true,
      lib: { entry: entries, formats: ["es"] },
      // Vite's own `minify` leaves the white space in libraries.
      rolldownOptions: { output: { minify: true, ...output } },
    },
  };
}

/** Takes comments and spaces out of WGSL that its readers want and its compilers do not. */
function denseShaders(): Plugin {
  return {
    name: "dense-shaders",
    transform(code, id) {
      if (!id.includes("/shaders/")) return null;
      // Up to the end of the line, unless the text ends first, or has a value in its comment.
      const text = code.replaceAll(/((?<=\n)| +)\/\/ [^\n`$]*(?=\n)/g, "");
      // Lines keep their numbers.
      return { code: text.replaceAll(/\n +/g, "\n").replaceAll(/ ([=<>*]|[<>=!+*/-]=|&&|\|\|) /g, "$1"), map: null };
    },
  };
}

/** Turns `import()` into an import at once. In one file it would only delay a part, and cost each module a wrapper that runs it later. */
function importAtOnce(): Plugin {
  return {
    name: "import-at-once",
    transform(code) {
      const imports: string[] = [];
      const add = (what: (part: string) => string, path: string) => {
        const part = `part${imports.length}`;
        imports.push(`import ${what(part)} from "${path}";`);
        return part;
      };
      const text = code
        .replaceAll(/\bimport\("(\.[^"]+)"\)\)\.(\w+)/g, (_, path: string, name: string) => `${add((part) => `{ ${name} as ${part} }`, path)})`)
        .replaceAll(/\bimport\("(\.[^"]+)"\)/g, (_, path: string) => `Promise.resolve(${add((part) => `* as ${part}`, path)})`);
      // Below, so that lines keep their numbers.
      return imports.length === 0 ? null : { code: [text, ...imports].join("\n"), map: null };
    },
  };
}

/** The page: static files that work from any folder, and under the Content-Security-Policy `default-src 'self'`. */
const demo: UserConfig = {
  root: path("demo"),
  base: "./",
  publicDir: false,
  plugins: [workerOfSameBuild()],
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
    // A worker has no document to put links to what comes into.
    modulePreload: { resolveDependencies: (_, files, { hostType }) => (hostType === "html" ? files : []) },
    // What nearly every part takes is one file: many small ones compress worse.
    rolldownOptions: { output: { codeSplitting: { groups: [{ name: "shared", test: /\/(src\/(core|math)|shaders\/wgsl)\// }] } } },
    license: { fileName: "licenses.md" },
  },
};

/** Builds the worker with the page, so that they share files: by itself Vite builds each worker apart, and a page would download the library twice. */
function workerOfSameBuild(): Plugin {
  let reference = "";
  return {
    name: "worker-of-same-build",
    apply: "build",
    enforce: "pre",
    buildStart() {
      reference = this.emitFile({ type: "chunk", id: path("demo/engine.worker.ts"), name: "engine.worker" });
    },
    transform(code, id) {
      if (id !== path("demo/cpu-worker.ts")) return null;
      return { code: code.replace('new URL("./engine.worker.ts", import.meta.url)', `import.meta.ROLLUP_FILE_URL_${reference}`), map: null };
    },
  };
}

/** Whether there is somebody to show a page to. */
function isDesktop(): boolean {
  const { CI, DISPLAY, WAYLAND_DISPLAY } = process.env;
  return process.stdout.isTTY && !CI && (process.platform !== "linux" || Boolean(DISPLAY ?? WAYLAND_DISPLAY));
}

function path(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}
