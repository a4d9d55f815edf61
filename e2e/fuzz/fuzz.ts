/** The loop: draws plans and cases, runs them, and makes failures small. */
import { type FuzzCase, OPERATIONS, type OperationName } from "./case.ts";
import { checkAlone, checkCase, type Failure, openReference, type Reference, refusalOf } from "./check.ts";
import { BLOCK, drawCase, drawSubject, operationOf } from "./draw.ts";
import type { Machine, OpenSubject } from "./machine.ts";
import { shrink } from "./shrink.ts";

export interface FuzzOptions {
  readonly seed: number;
  readonly cases: number;
  readonly only?: readonly OperationName[] | undefined;
  /** Cases of each plan, at most and by default {@link BLOCK}. Which they are does not depend on it. */
  readonly perPlan?: number | undefined;
  /** No new plan after that. */
  readonly seconds?: number | undefined;
  /** Stops after so many. Default 1. */
  readonly failures?: number | undefined;
  /** Tells of every plan how long its compilation was waited for, and how long its cases ran. */
  readonly verbose?: boolean | undefined;
  readonly log?: ((line: string) => void) | undefined;
}

export interface Found {
  readonly operation: OperationName;
  /** Of the case, with the seed of the run. */
  readonly number: number;
  readonly failure: Failure;
  readonly original: FuzzCase;
  readonly shrunk: FuzzCase;
}

export interface FuzzReport {
  readonly seed: number;
  readonly plans: number;
  readonly cases: number;
  readonly refusedPlans: number;
  readonly refusedCases: number;
  readonly operations: Readonly<Partial<Record<OperationName, { readonly plans: number; readonly cases: number; readonly failed: number }>>>;
  /** The largest error of each result, in terms of its bound. */
  readonly worst: Readonly<Record<string, number>>;
  readonly found: readonly Found[];
  readonly seconds: number;
}

/** Plans that are compiled while others run. */
const AHEAD = 3;
/** Cases under way at a time. */
const PARALLEL = 4;

interface Block {
  readonly number: number;
  readonly operation: OperationName;
  readonly opening: Promise<{ readonly opened: OpenSubject; readonly reference: Reference } | { readonly error: unknown }>;
}

export async function fuzz(machine: Machine, options: FuzzOptions): Promise<FuzzReport> {
  const { seed, cases, only = OPERATIONS, perPlan = BLOCK, seconds = Infinity, failures = 1, verbose = false, log = () => {} } = options;
  const started = performance.now();
  const elapsed = () => (performance.now() - started) / 1000;
  const operations: Partial<Record<OperationName, { plans: number; cases: number; failed: number }>> = {};
  const worst: Record<string, number> = {};
  const found: Found[] = [];
  let [plans, ran, refusedPlans, refusedCases] = [0, 0, 0, 0];

  const open = (number: number): Block => {
    const subject = drawSubject(seed, number, machine.half);
    const opening = Promise.all([machine.open(subject), openReference(subject)]).then(
      ([opened, reference]) => ({ opened, reference }),
      (error: unknown) => ({ error }),
    );
    return { number, operation: subject.operation, opening };
  };
  let next = 0;
  /** A run of one operation has the cases that a run of all has of it. */
  const nextWanted = () => {
    while (!only.includes(operationOf(next))) next++;
    return next++;
  };
  const report = async (fuzzCase: FuzzCase, number: number, failure: Failure) => {
    log(`case ${number} of seed ${seed} failed: ${failure.message}`);
    log(`  ${JSON.stringify(fuzzCase)}`);
    const smaller = await shrink(fuzzCase, failure, (candidate) => checkAlone(machine, candidate));
    log(`  after ${smaller.tries} tries: ${smaller.failure.message}`);
    log(replayLine(smaller.fuzzCase));
    found.push({ operation: fuzzCase.operation, number, failure: smaller.failure, original: fuzzCase, shrunk: smaller.fuzzCase });
  };

  const queue: Block[] = [];
  const isOver = () => ran >= cases || found.length >= failures || elapsed() > seconds;
  while (!isOver()) {
    // No more than there are cases for, unless some are refused.
    while (queue.length === 0 || (queue.length < AHEAD && ran + queue.length * Math.min(BLOCK, perPlan) < cases)) queue.push(open(nextWanted()));
    const { number: block, operation, opening } = queue.shift()!;
    const subject = drawSubject(seed, block, machine.half);
    const counts = (operations[operation] ??= { plans: 0, cases: 0, failed: 0 });
    const asked = performance.now();
    const ready = await opening;
    const waited = performance.now() - asked;
    if ("error" in ready) {
      if (refusalOf(ready.error) !== undefined) refusedPlans++;
      else {
        counts.failed++;
        await report(drawCase(subject, seed, block * BLOCK), block * BLOCK, { kind: "error", message: String(ready.error) });
      }
      continue;
    }
    plans++;
    counts.plans++;
    const count = Math.min(BLOCK, perPlan, cases - ran);
    let broken: { fuzzCase: FuzzCase; number: number; failure: Failure } | undefined;
    const numbers = Array.from({ length: count }, (_, i) => block * BLOCK + i).values();
    const worker = async () => {
      for (const number of numbers) {
        if (broken) return;
        const fuzzCase = drawCase(subject, seed, number);
        const verdict = await checkCase(ready.opened, ready.reference, fuzzCase);
        ran++;
        counts.cases++;
        if ("refused" in verdict) refusedCases++;
        else if ("failure" in verdict) broken ??= { fuzzCase, number, failure: verdict.failure };
        else
          for (const [name, ratio] of Object.entries(verdict.ratios))
            worst[`${operation} ${name}`] = Math.max(worst[`${operation} ${name}`] ?? 0, ratio);
      }
    };
    await Promise.all(Array.from({ length: PARALLEL }, worker));
    if (verbose) {
      log(`waited ${waited.toFixed(0)} ms, ran ${(performance.now() - asked - waited).toFixed(0)} ms: ${JSON.stringify(subject)}`);
    }
    ready.opened.dispose();
    ready.reference.dispose();
    if (broken) {
      counts.failed++;
      await report(broken.fuzzCase, broken.number, broken.failure);
    }
  }
  for (const { opening } of queue) {
    const ready = await opening;
    if ("error" in ready) continue;
    ready.opened.dispose();
    ready.reference.dispose();
  }
  return { seed, plans, cases: ran, refusedPlans, refusedCases, operations, worst, found, seconds: elapsed() };
}

/** The command that runs one case again. */
export function replayLine(fuzzCase: FuzzCase): string {
  return `npm run fuzz -- --replay '${JSON.stringify(fuzzCase)}'`;
}
