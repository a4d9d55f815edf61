/**
 * Drives a browser on a machine with a GPU through bench/site: the benchmark with every peer, and the GPU cases. Numbers are kept as they come.
 *
 *     BENCH="--quick --only sikf" CASES="all|none|TEXT;TEXT"     which rows, as `npm run bench` has them, and which cases
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright";
import { describeMachine } from "./command/machine.ts";
import { parseOptions, USAGE } from "./command/options.ts";
import { resultTables, rowLine } from "./command/tables.ts";
import type { BenchResult, CopyBandwidth, RowResult, Settings } from "./measure/result.ts";

/** What the page tells when it has begun. */
interface Start {
  readonly adapter: { readonly description: string };
  readonly copy: CopyBandwidth;
  readonly settings: Settings;
  readonly packages: readonly string[];
}

interface CaseName {
  readonly suite: string;
  readonly name: string;
}

/** @param place the browser, the address under which bench/site lies at its own path, and the folder for results */
export default async function drive({
  browser,
  base,
  out,
}: {
  readonly browser: Browser;
  readonly base: string;
  readonly out: string;
}): Promise<void> {
  mkdirSync(out, { recursive: true });
  const which = process.env["CASES"] ?? "all";
  const failed = which === "none" ? [] : await runCases(await open(browser, `${base}/bench/site/cases/e2e/harness.html`), which, out);
  if (process.env["BENCH"] !== "none") await measure(browser, await open(browser, `${base}/bench/site/page/index.html`), base, out);
  if (failed.length > 0) throw new Error(`${failed.length} cases failed: ${failed.join("; ")}`);
}

async function open(browser: Browser, address: string): Promise<Page> {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.log(`page: ${String(error)}`));
  page.on("console", (message) => {
    if (message.type() === "error") console.log(`page: ${message.text().split("\n")[0]}`);
  });
  await page.goto(address);
  return page;
}

/** @returns the names of those that failed */
async function runCases(page: Page, which: string, out: string): Promise<readonly string[]> {
  await page.waitForFunction("window.cases !== undefined");
  const all = await page.evaluate<readonly CaseName[]>("window.cases");
  const texts = which === "all" ? [""] : which.split(";");
  const chosen = all.filter(({ suite, name }) => texts.some((text) => `${suite} › ${name}`.includes(text)));
  const failed: string[] = [];
  const results: object[] = [];
  for (const { suite, name } of chosen) {
    const started = performance.now();
    const call = `window.runCase(${JSON.stringify(suite)}, ${JSON.stringify(name)})`;
    const { failure, uncaptured } = await page.evaluate<{ readonly failure: string | undefined; readonly uncaptured: readonly string[] }>(call);
    const wrong = failure ?? uncaptured[0];
    const seconds = (performance.now() - started) / 1000;
    console.log(`${wrong === undefined ? "ok    " : "FAILED"} ${seconds.toFixed(1)} s  ${suite} › ${name}${wrong === undefined ? "" : `\n${wrong}`}`);
    if (wrong !== undefined) failed.push(`${suite} › ${name}`);
    results.push({ suite, name, seconds, failure: wrong });
    writeFileSync(join(out, "cases.json"), `${JSON.stringify(results, undefined, 1)}\n`);
  }
  console.log(`${chosen.length - failed.length} cases passed, ${failed.length} failed`);
  await page.close();
  return failed;
}

async function measure(browser: Browser, page: Page, base: string, out: string): Promise<void> {
  const options = parseOptions((process.env["BENCH"] ?? "").split(/ (?=--)|(?<=--[a-z-]+) /).filter((word) => word !== ""));
  if (!options) return console.log(USAGE);
  const rows: RowResult[] = [];
  const keep = (start: Start | undefined) => {
    const { copy, settings } = start ?? {};
    const engine = `Chromium ${browser.version()}`;
    const versions = new URL("package.json", import.meta.url);
    const machine = describeMachine("chromium", engine, start?.adapter.description ?? "unknown", start?.packages ?? [], versions);
    const result = { date: new Date().toISOString(), machine, settings, copy, rows } as BenchResult;
    writeFileSync(join(out, "bench.json"), `${JSON.stringify(result, undefined, 1)}\n`);
    return result;
  };
  await page.exposeFunction("report", (line: string) => console.log(line));
  await page.exposeFunction("done", (row: RowResult) => {
    rows.push(row);
    console.log(rowLine(row));
    keep(undefined);
  });
  await page.waitForFunction("window.measure !== undefined");
  const request = { library: `${base}/bench/site/dist/fastrpb.js`, rows: options.rows, peers: options.peers, settings: options.settings };
  const start = await page.evaluate<Start>(`window.measure(${JSON.stringify(request)})`);
  console.log(`\n${resultTables(keep(start))}`);
  await page.close();
}
