/** What the results were measured on, as far as Node knows. */
import { existsSync, readFileSync } from "node:fs";
import { cpus, release, type } from "node:os";
import type { Machine } from "../measure/result.ts";

export function describeMachine(runner: string, engine: string, adapter: string, peers: readonly string[]): Machine {
  const [cpu] = cpus();
  return {
    runner,
    engine,
    adapter,
    cpu: `${cpu?.model.trim() ?? "unknown"}, ${cpus().length} threads`,
    system: `${type()} ${release()}, Node ${process.versions.node}`,
    versions: peerVersions(peers),
  };
}

/** The pinned versions of the peers that took part. */
function peerVersions(packages: readonly string[]): Record<string, string> {
  const file = new URL("../../package.json", import.meta.url); // from bench/dist/command; a copied folder may lack it
  const known = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as { dependencies: Record<string, string> }).dependencies : {};
  return Object.fromEntries(packages.flatMap((name) => (known[name] === undefined ? [] : [[name, known[name]]])));
}
