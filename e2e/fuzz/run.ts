/** `npm run fuzz`, in Node with Dawn; scripts/fuzz.mjs loads it. */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { dawn } from "../dawn/gpu.ts";
import { type FuzzCase, OPERATIONS, type OperationName } from "./case.ts";
import { checkAlone } from "./check.ts";
import { BLOCK, drawCase, drawSubject } from "./draw.ts";
import { fuzz, type FuzzReport, replayLine } from "./fuzz.ts";
import { gpuMachine, type Machine } from "./machine.ts";
import { shrink } from "./shrink.ts";

const USAGE = `npm run fuzz -- [--seed N] [--cases N] [--only ${OPERATIONS.join("|").replaceAll(" ", "-")}] [--per-plan N] [--seconds N] [--failures N]
            -- --case N --seed N     one case of a run again
            -- --replay JSON         one case, however it came about
            --report FILE            counts, as JSON
            --verbose                a line for each plan`;

const DEFAULT_CASES = 10_000;

export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: "string" },
      cases: { type: "string" },
      case: { type: "string" },
      only: { type: "string" },
      "per-plan": { type: "string" },
      seconds: { type: "string" },
      failures: { type: "string" },
      verbose: { type: "boolean" },
      replay: { type: "string" },
      report: { type: "string" },
      help: { type: "boolean" },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const machine = await gpuMachine(dawn());
  if (values.replay !== undefined) return replay(machine, JSON.parse(values.replay) as FuzzCase);
  const seed = integer("seed", values.seed) ?? Math.floor(Date.now() / 1000) % 2 ** 32;
  console.log(`fuzz: seed ${seed}, ${machine.name}, ${machine.half ? "with" : "without"} float16`);
  const number = integer("case", values.case);
  if (number !== undefined) {
    const fuzzCase = drawCase(drawSubject(seed, Math.floor(number / BLOCK), machine.half), seed, number);
    return replay(machine, fuzzCase, true);
  }
  const only = values.only?.split(",").map((name) => {
    const found = OPERATIONS.find((operation) => operation.replaceAll(" ", "-") === name.replaceAll(" ", "-"));
    if (found) return found;
    throw new Error(`--only: there is no ${name}\n${USAGE}`);
  });
  const result = await fuzz(machine, {
    seed,
    cases: integer("cases", values.cases) ?? DEFAULT_CASES,
    only,
    perPlan: integer("per-plan", values["per-plan"]),
    seconds: integer("seconds", values.seconds),
    failures: integer("failures", values.failures),
    verbose: values.verbose,
    log: (line) => console.log(line),
  });
  summarise(result);
  if (values.report !== undefined) writeFileSync(values.report, JSON.stringify(result));
  return result.found.length === 0 ? 0 : 1;
}

function integer(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  throw new Error(`--${name}: ${value} is no number\n${USAGE}`);
}

async function replay(machine: Machine, fuzzCase: FuzzCase, smaller = false): Promise<number> {
  console.log(JSON.stringify(fuzzCase));
  const verdict = await checkAlone(machine, fuzzCase);
  if ("refused" in verdict) {
    console.log(`refused: ${verdict.refused}`);
    return 0;
  }
  if (!("failure" in verdict)) {
    console.log(`passed; errors in terms of their bounds: ${JSON.stringify(verdict.ratios)}`);
    return 0;
  }
  console.log(`failed (${verdict.failure.kind}): ${verdict.failure.message}`);
  if (smaller) {
    const shrunk = await shrink(fuzzCase, verdict.failure, (candidate) => checkAlone(machine, candidate));
    console.log(`after ${shrunk.tries} tries: ${shrunk.failure.message}\n${replayLine(shrunk.fuzzCase)}`);
  }
  return 1;
}

function summarise({ seed, plans, cases, refusedPlans, refusedCases, operations, worst, found, seconds }: FuzzReport): void {
  for (const [name, counts] of Object.entries(operations) as [OperationName, { plans: number; cases: number; failed: number }][]) {
    const results = Object.entries(worst).filter(
      ([result]) =>
        result.startsWith(`${name} `) && OPERATIONS.find((other) => result.startsWith(`${other} `) && other.length > name.length) === undefined,
    );
    const errors = results.map(([result, ratio]) => `${result.slice(name.length + 1)} ${ratio.toFixed(2)}`).join(", ");
    console.log(`${name}: ${counts.plans} plans, ${counts.cases} cases, ${counts.failed} failed; worst errors in terms of their bounds: ${errors}`);
  }
  console.log(
    `fuzz: seed ${seed}: ${plans} plans, ${cases} cases, ${found.length} failed; ${refusedPlans} plans and ${refusedCases} cases refused; ${seconds.toFixed(0)} s`,
  );
}
