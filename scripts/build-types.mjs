// Emits the declarations to dist/types, keeps those that the public names reach, and makes their imports end in .js: TypeScript
// rewrites import extensions in JavaScript only.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const RELATIVE_IMPORT = /(\bfrom\s*|\bimport\s*\(\s*)"(\.[^"]*)\.ts"/g;

const root = fileURLToPath(new URL("..", import.meta.url));
const output = join(root, "dist/types");

rmSync(output, { recursive: true, force: true });
execFileSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" });

const reached = new Set();
const entries = ["index", "nn"].map((name) => join(output, `src/${name}.d.ts`));
const queue = [...entries];
for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
  if (reached.has(file)) continue;
  reached.add(file);
  const text = readFileSync(file, "utf8");
  for (const [, , target] of text.matchAll(RELATIVE_IMPORT)) queue.push(`${resolve(file, "..", target)}.d.ts`);
  writeFileSync(file, text.replace(RELATIVE_IMPORT, '$1"$2.js"'));
}
// A user's "lib" may be too old to know Symbol.dispose.
for (const entry of entries) writeFileSync(entry, `/// <reference lib="esnext.disposable" />\n${readFileSync(entry, "utf8")}`);
prune(output);
console.log(`dist/types: ${reached.size} declaration files`);

/** Removes what is not reached; says whether anything is left. */
function prune(folder) {
  let kept = false;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() ? prune(path) : reached.has(path)) kept = true;
    else rmSync(path, { recursive: true });
  }
  return kept;
}
