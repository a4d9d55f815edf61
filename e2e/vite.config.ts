import { createReadStream, statSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Connect, defineConfig } from "vite";

// The server of the Playwright tests: the repository, with the TypeScript sources ready for a browser. What was built is served as
// the plain files that a user's server would send, the demo under a strict Content-Security-Policy.
const root = fileURLToPath(new URL("..", import.meta.url));
const BUILT = /^\/(dist|dist-demo)\//;
const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".map": "application/json",
  ".svg": "image/svg+xml",
};

/** Of the demo, and of a blank page for the library. */
const POLICY = "default-src 'self'";

const serveBuilt: Connect.NextHandleFunction = (request, response, next) => {
  const { pathname } = new URL(request.url ?? "/", "http://localhost"); // has no ".." left
  if (pathname === "/e2e/strict.html") {
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    response.setHeader("Content-Security-Policy", POLICY);
    response.end('<!doctype html><link rel="icon" href="/demo/icon.svg"><title>blank</title>');
    return;
  }
  const folder = BUILT.exec(pathname)?.[1];
  if (folder === undefined) return next();
  const file = join(root, decodeURIComponent(pathname), pathname.endsWith("/") ? "index.html" : "");
  if (!file.startsWith(join(root, folder)) || !statSync(file, { throwIfNoEntry: false })?.isFile()) {
    response.writeHead(404).end();
    return;
  }
  response.setHeader("Content-Type", CONTENT_TYPES[extname(file)] ?? "application/octet-stream");
  response.setHeader("Cache-Control", "no-store");
  if (folder === "dist-demo") response.setHeader("Content-Security-Policy", POLICY);
  createReadStream(file).pipe(response);
};

export default defineConfig({
  root,
  appType: "mpa",
  publicDir: false,
  cacheDir: join(root, "node_modules/.vite/e2e"),
  plugins: [{ name: "serve-built", configureServer: (server) => void server.middlewares.use(serveBuilt) }],
  // No page reloads by itself in the middle of a test.
  optimizeDeps: { noDiscovery: true },
  server: { strictPort: true, open: false, hmr: false, watch: null },
});
