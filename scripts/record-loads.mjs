// Preload for Node (--import): appends the path of every module under the folder LOADS_OF to the file LOADS_FILE, in the order of loading.
import { appendFileSync } from "node:fs";
import { register } from "node:module";
import { fileURLToPath } from "node:url";
import { isMainThread } from "node:worker_threads";

// Hooks run on a thread of their own, where this same file is loaded again.
if (isMainThread) register(import.meta.url);

export async function load(
  /** @type {string} */ url,
  /** @type {unknown} */ context,
  /** @type {(url: string, context: unknown) => unknown} */ next,
) {
  const { LOADS_OF, LOADS_FILE } = process.env;
  if (url.startsWith("file:") && LOADS_OF && LOADS_FILE) {
    const path = fileURLToPath(url);
    if (path.startsWith(LOADS_OF)) appendFileSync(LOADS_FILE, `${path}\n`);
  }
  return next(url, context);
}
