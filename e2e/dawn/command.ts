/**
 * The GPU cases and the fuzzer as one program for Node alone (`npm run bench:pack`):
 *
 *     node tests.js cases [--limits default|compatibility|adapter|SEED] [--sample] [--only TEXT] [--skip TEXT] ...
 *     node tests.js fuzz [options of npm run fuzz]
 */
import { parseArgs } from "node:util";
import { CaseContext, isRefusedByLimits } from "../cases/case.ts";
import { isSampled, SUITES } from "../cases/index.ts";
import { isDrawn, namedLimits } from "../fuzz/limits.ts";
import { gpuMachine } from "../fuzz/machine.ts";
import { main as fuzz } from "../fuzz/run.ts";
import { dawn } from "./gpu.ts";

const CASE_TIMEOUT_MS = 300_000;

const [command, ...rest] = process.argv.slice(2);
// Dawn would keep the process alive.
process.exit(await (command === "fuzz" ? fuzz(rest) : cases(rest)));

async function cases(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { limits: { type: "string" }, sample: { type: "boolean" }, only: { type: "string" }, skip: { type: "string", multiple: true } },
  });
  const gpu = dawn();
  const machine = await gpuMachine(gpu);
  const limits = values.limits ?? "adapter";
  console.log(`cases with limits "${limits}" on ${machine.name}`);
  machine.dispose();
  const context = new CaseContext(gpu, namedLimits(limits));
  let passed = 0;
  let failed = 0;
  let refused = 0;
  for (const suite of SUITES) {
    for (const entry of suite.cases) {
      const name = `${suite.name} › ${entry.name}`;
      if (entry.slow || entry.skip?.node !== undefined || (values.sample && !isSampled(suite, entry))) continue;
      if (!name.includes(values.only ?? "") || values.skip?.some((text) => name.includes(text))) continue;
      const started = performance.now();
      const error = await inTime(entry.run(context));
      const seconds = `${((performance.now() - started) / 1000).toFixed(1)} s`;
      if (error === undefined) {
        passed++;
        console.log(`✓ ${name} (${seconds})`);
      } else if (isDrawn(limits) && isRefusedByLimits(error)) {
        refused++;
        console.log(`- ${name}: ${error.message}`);
      } else {
        failed++;
        console.log(`✗ ${name} (${seconds})\n${error instanceof Error ? error.stack : String(error)}`);
      }
    }
  }
  console.log(`limits "${limits}": ${passed} passed, ${failed} failed, ${refused} refused by the limits`);
  return failed > 0 || passed === 0 || refused > passed ? 1 : 0;
}

/** What a case throws; a case that does not settle fails. */
async function inTime(run: Promise<void>): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<unknown>((resolve) => {
    timer = setTimeout(() => resolve(new Error(`not settled after ${CASE_TIMEOUT_MS / 1000} s`)), CASE_TIMEOUT_MS);
  });
  const ran = run.then(
    () => undefined,
    (error: unknown) => error ?? new Error("rejected with nothing"),
  );
  const error = await Promise.race([ran, timeout]);
  clearTimeout(timer);
  return error;
}
