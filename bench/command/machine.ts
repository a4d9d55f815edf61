/** What the results were measured on, as far as Node knows. */
import { existsSync, readFileSync } from "node:fs";
import { cpus, release, type } from "node:os";
import type { Machine } from "../measure/result.ts";

/** From bench/dist/command; a copied folder may lack it. */
const PACKAGE = new URL("../../package.json", import.meta.url);

/** @param file the package.json with the versions of the peers */
export function describeMachine(runner: string, engine: string, adapter: string, peers: readonly string[], file = PACKAGE): Machine {
  const [cpu] = cpus();
  return {
    runner,
    engine,
    adapter,
    cpu: `${cpu?.model.trim() ?? "unknown"}, ${cpus().length} threads`,
    system: `${type()} ${release()}, Node ${process.versions.node}`,
    versions: peerVersions(peers, file),
  };
}

/** The pinned versions of the peers that took part. */
function peerVersions(packages: readonly string[], file: URL): Record<string, string> {
  const known = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as { dependencies: Record<string, string> }).dependencies : {};
  return Object.fromEntries(packages.flatMap((name) => (known[name] === undefined ? [] : [[name, known[name]]])));
}
