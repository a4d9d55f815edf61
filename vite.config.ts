import { fileURLToPath } from "node:url";
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

/** One readable ES module that imports nothing; users' bundlers minify it. */
const library: UserConfig = {
  publicDir: false,
  build: {
    outDir: path("dist"),
    emptyOutDir: true,
    target: TARGET,
    minify: false,
    sourcemap: true,
    lib: { entry: path("src/index.ts"), formats: ["es"], fileName: "fastrpb" },
    // The notice that wgsl-preprocessor's licence asks for, as the bundle holds a copy of it.
    license: { fileName: "licenses.md" },
  },
};

/** The page: static files that work from any folder, and under the Content-Security-Policy `default-src 'self'`. */
const demo: UserConfig = {
  root: path("demo"),
  base: "./",
  publicDir: false,
  cacheDir: path("node_modules/.vite/demo"),
  server: { open: isDesktop(), fs: { allow: [repository] } },
  // The only dependency is an ES module already; serving it as it is spares the reload that follows the discovery of a dependency.
  optimizeDeps: { noDiscovery: true },
  build: {
    outDir: path("dist-demo"),
    emptyOutDir: true,
    target: TARGET,
    sourcemap: false,
    // The policy refuses data: addresses, which small assets would become.
    assetsInlineLimit: 0,
    license: { fileName: "licenses.md" },
  },
  worker: { format: "es" },
};

/** Whether there is somebody to show a page to. */
function isDesktop(): boolean {
  const { CI, DISPLAY, WAYLAND_DISPLAY } = process.env;
  return process.stdout.isTTY && !CI && (process.platform !== "linux" || Boolean(DISPLAY ?? WAYLAND_DISPLAY));
}

function path(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url));
}
