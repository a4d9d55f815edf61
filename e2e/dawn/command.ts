/**
 * The GPU cases, the fuzzer and the accuracy of all lengths (`npm run test:long`) as one program for Node alone (`npm run bench:pack`):
 *
 *     node tests.mjs cases [--limits default|compatibility|adapter|SEED] [--sample] [--only TEXT] [--skip TEXT] ...
 *     node tests.mjs fuzz [options of npm run fuzz]
 *     node tests.mjs accuracy [--part I/N]     of N processes side by side, the I-th; all in one by default
 */
import { parseArgs } from "node:util";
import { CaseContext, isRefusedByLimits, outcome } from "../cases/case.ts";
import { runsInNode, SUITES } from "../cases/index.ts";
import { isDrawn, namedLimits } from "../fuzz/limits.ts";
import { machineName } from "../fuzz/machine.ts";
import { main as fuzz } from "../fuzz/run.ts";
import { checkAll, drawnLengths, everyLength, longest, type Worst, worstLines } from "../long/sweep.ts";
import { dawn } from "./gpu.ts";

const CASE_TIMEOUT_MS = 300_000;

const [command, ...rest] = process.argv.slice(2);
const run = command === "fuzz" ? fuzz : command === "accuracy" ? accuracy : cases;
// Dawn would keep the process alive.
process.exit(await run(rest));

async function cases(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { limits: { type: "string" }, sample: { type: "boolean" }, only: { type: "string" }, skip: { type: "string", multiple: true } },
  });
  const limits = values.limits ?? "adapter";
  const context = new CaseContext(dawn(), namedLimits(limits));
  console.log(`cases with limits "${limits}" on ${machineName(await context.runtime)}`);
  let passed = 0;
  let failed = 0;
  let refused = 0;
  for (const suite of SUITES) {
    for (const entry of suite.cases) {
      const name = `${suite.name} › ${entry.name}`;
      if (!runsInNode(suite, entry, values.sample ?? false)) continue;
      if (!name.includes(values.only ?? "") || values.skip?.some((text) => name.includes(text))) continue;
      const started = performance.now();
      const came = await outcome(entry.run(context), CASE_TIMEOUT_MS);
      const seconds = `${((performance.now() - started) / 1000).toFixed(1)} s`;
      if (came !== "unsettled" && "value" in came) {
        passed++;
        console.log(`✓ ${name} (${seconds})`);
        continue;
      }
      const error = came === "unsettled" ? new Error(`not settled after ${CASE_TIMEOUT_MS / 1000} s`) : came.error;
      if (isDrawn(limits) && isRefusedByLimits(error)) {
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

async function accuracy(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...args], options: { part: { type: "string", default: "1/1" } } });
  const [part, parts] = values.part.split("/").map(Number) as [number, number | undefined];
  if (!parts || !Number.isInteger(parts) || !Number.isInteger(part) || part < 1 || part > parts) {
    throw new Error(`--part: ${values.part} is no part, such as 1/8`);
  }
  const context = new CaseContext(dawn());
  console.log(`accuracy part ${part}/${parts} on ${machineName(await context.runtime)}`);
  const groups = [...everyLength(), ...drawnLengths()].filter((_, i) => i % parts === part - 1);
  // Several of the longest at once would want much memory.
  if (part === 1) groups.push(...longest());
  const worst: Worst = new Map();
  let lengths = 0;
  let failed = 0;
  for (const { name, transforms } of groups) {
    const started = performance.now();
    // Without a device, none of the group has been checked.
    const failures = await checkAll(context, transforms, worst).catch((error: unknown) => transforms.map((transform) => ({ transform, error })));
    lengths += transforms.length;
    failed += failures.length;
    console.log(`${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
    for (const { transform, error } of failures) console.log(`✗ ${transform.shape.join(" × ")}: ${String(error)}`);
  }
  for (const line of worstLines(worst)) console.log(line);
  console.log(`accuracy part ${part}/${parts}: ${lengths} lengths, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}
