/** Ends a run: keeps the numbers in bench/results, shows the tables, and updates bench/RESULTS.md where asked to. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { BenchResult, TorchResult } from "../measure/result.ts";
import { resultTables } from "./tables.ts";

// From bench/dist/command.
const FOLDER = process.env["RESULTS_DIR"] ?? fileURLToPath(new URL("../../results", import.meta.url));
const MARKDOWN = fileURLToPath(new URL("../../RESULTS.md", import.meta.url));

export function saveResult(result: BenchResult): void {
  mkdirSync(FOLDER, { recursive: true });
  const file = `${FOLDER}/${result.date.slice(0, 19).replaceAll(":", "-")}-${result.machine.runner}.json`;
  writeFileSync(file, `${JSON.stringify(result, undefined, 1)}\n`);
  console.log(`\nsaved as ${file}`);
}

export function showResult(result: BenchResult, write: boolean): void {
  const tables = resultTables(result);
  console.log(`\n${tables}`);
  if (!write) return;
  const text = existsSync(MARKDOWN) ? readFileSync(MARKDOWN, "utf8") : "";
  writeFileSync(MARKDOWN, replaceSection(text, sectionName(result), tables));
  console.log(`\nwritten to ${MARKDOWN}`);
}

export function readResult(file: string): BenchResult {
  return JSON.parse(readFileSync(file, "utf8")) as BenchResult;
}

export function readTorch(file: string): TorchResult {
  return JSON.parse(readFileSync(file, "utf8")) as TorchResult;
}

/** One section for every runner and adapter: results of several machines stand side by side. */
function sectionName({ machine }: BenchResult): string {
  return `${machine.runner} ${machine.adapter}`
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-|-$/g, "");
}

/** Replaces what stands between the section's marks, or adds it at the end; the rest is left alone. */
function replaceSection(text: string, name: string, content: string): string {
  const start = `<!-- bench: ${name} -->`;
  const end = `<!-- end of ${name} -->`;
  const from = text.indexOf(start);
  const to = text.indexOf(end, from);
  const section = `${start}\n\n${content}\n\n${end}`;
  if (from < 0 || to < 0) return `${text.trimEnd()}\n\n${section}\n`.trimStart();
  return text.slice(0, from) + section + text.slice(to + end.length);
}
