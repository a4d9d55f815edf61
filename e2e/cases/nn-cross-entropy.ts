import { crossEntropy, meanSquaredError } from "../../src/operations/cross-entropy/operation.ts";
import { crossEntropySpec, meanSquaredErrorSpec } from "../../src/operations/cross-entropy/spec.ts";
import { planProgram, task } from "../../src/operations/operation.ts";
import type { Runtime } from "../../src/index.ts";
import { normals, random } from "../../src/testing/random.ts";
import { check, type Suite } from "./case.ts";
import { compareBackward, compareTask } from "./compare-nodes.ts";
import { runProgram } from "./run-program.ts";

const BOUND = 1e-6;
const IGNORED = 2 ** 32 - 1;

interface Rows {
  readonly rows: number;
  readonly classes: number;
  readonly labelSmoothing?: number;
  /** Factor on the logits. */
  readonly scale?: number;
  /** Whether some targets are no class. */
  readonly ignored?: boolean;
  /** Added to the logits of the targets. */
  readonly sure?: number;
}

async function compareRows(
  runtime: Runtime,
  { rows, classes, labelSmoothing = 0, scale = 2, ignored = true, sure = 0 }: Rows,
  backward = true,
): Promise<void> {
  const seed = rows + 7 * classes;
  const what = JSON.stringify({ rows, classes, labelSmoothing, scale, sure, seed });
  const uniform = random(seed);
  const logits = normals(seed, rows * classes).map((x) => scale * x);
  const targets = Uint32Array.from({ length: rows }, () => {
    const target = Math.floor(uniform() * classes);
    if (!ignored || uniform() < 0.9) return target;
    return uniform() < 0.5 ? IGNORED : classes;
  });
  targets[0] = classes - 1;
  for (const [row, target] of targets.entries()) if (target < classes) logits[row * classes + target]! += sure;
  const one = task(crossEntropy, crossEntropySpec({ rows, classes, labelSmoothing }));
  const { counts } = await compareTask(runtime, one, { logits, targets }, ["loss", "counts", "statistics"], BOUND, what);
  check(counts![0]! >= 1 && counts![0]! <= rows, `${what}: ${counts![0]} rows count`);
  if (backward) await compareBackward(runtime, one, { logits, targets, dLoss: Float32Array.of(-1.5) }, ["logits"], BOUND, what);
}

async function compareSquares(runtime: Runtime, size: number): Promise<void> {
  const given = { x: normals(size, size), y: normals(size + 1, size) };
  const one = task(meanSquaredError, meanSquaredErrorSpec({ size }));
  await compareTask(runtime, one, given, ["loss"], BOUND, `mean squared error ${size}`);
  await compareBackward(runtime, one, { ...given, dLoss: Float32Array.of(0.75) }, ["x", "y"], BOUND, `mean squared error ${size}`);
}

/** The loss of one row, and its gradient. */
async function ofRow(runtime: Runtime, logits: readonly number[], target: number, labelSmoothing = 0) {
  const one = task(crossEntropy, crossEntropySpec({ rows: 1, classes: logits.length, labelSmoothing }));
  const given = { logits: Float32Array.from(logits), targets: Uint32Array.of(target) };
  const forward = await runProgram(runtime.device!, planProgram("test", one, runtime.limits), given);
  const { nodes } = one.operation.backward!(one.spec, ["logits"]);
  const [counts, statistics] = [new Uint32Array(forward["counts"]!), new Float32Array(forward["statistics"]!)];
  const program = planProgram("test", nodes[0]!.task, runtime.limits);
  const backward = await runProgram(runtime.device!, program, { ...given, counts, statistics, dLoss: Float32Array.of(1) });
  return { loss: new Float32Array(forward["loss"]!)[0]!, hits: counts[1]!, gradient: [...new Float32Array(backward["dLogits"]!)] };
}

export const crossEntropySuite: Suite = {
  name: "nn cross-entropy",
  engineFree: "plain float32 arithmetic and integers, of which the sample has each kernel",
  cases: [
    {
      name: "few classes and many, smoothed or not, and the mean squared error",
      sample: true,
      run: async ({ runtime: opened }) => {
        const runtime = await opened;
        const all: Rows[] = [
          { rows: 1, classes: 1 },
          { rows: 64, classes: 10, labelSmoothing: 0.1 },
          { rows: 7, classes: 256 },
          { rows: 5, classes: 1003, labelSmoothing: 0.2 },
        ];
        for (const rows of all) await compareRows(runtime, rows);
        for (const size of [1, 7, 4096]) await compareSquares(runtime, size);
      },
    },
    {
      name: "rows of any length, sure or not",
      run: async ({ runtime: opened }) => {
        const runtime = await opened;
        for (const [i, classes] of [2, 3, 4, 5, 12, 17, 33, 64, 130, 516, 5001].entries()) {
          await compareRows(runtime, { rows: 13, classes, labelSmoothing: i % 2 === 0 ? 0 : 0.1 });
        }
        for (const sure of [5, 12, 20]) {
          await compareRows(runtime, { rows: 40, classes: 10, sure });
          await compareRows(runtime, { rows: 9, classes: 260, sure, labelSmoothing: 0.001 });
        }
        for (const scale of [0.01, 30, 1e4]) await compareRows(runtime, { rows: 50, classes: 20, scale });
        await compareRows(runtime, { rows: 2, classes: 50_000, labelSmoothing: 0.1, ignored: false });
        await compareRows(runtime, { rows: 3, classes: 8, labelSmoothing: 1 });
      },
    },
    {
      name: "many rows",
      run: async ({ runtime: opened }) => {
        const runtime = await opened;
        await compareRows(runtime, { rows: 5000, classes: 256 });
        await compareRows(runtime, { rows: 50_001, classes: 10, labelSmoothing: 0.1 });
        await compareSquares(runtime, 300_001);
        await compareSquares(runtime, 1_000_000);
      },
    },
    {
      name: "in parts, and with little memory",
      run: async (context) => {
        const limits = { maxStorageBufferBindingSize: 2 ** 15, maxComputeWorkgroupStorageSize: 512, maxComputeInvocationsPerWorkgroup: 32 };
        const small = await context.open({ limits, workspaceBytes: 2 ** 18 });
        // So little that workgroups sum several times as many rows.
        const least = await context.open({ limits, workspaceBytes: 2 ** 8 });
        try {
          await compareRows(small, { rows: 3001, classes: 10, labelSmoothing: 0.1 });
          await compareRows(small, { rows: 90, classes: 301 });
          await compareRows(least, { rows: 3001, classes: 10, labelSmoothing: 0.1 }, false);
          await compareRows(least, { rows: 90, classes: 301 }, false);
          await compareSquares(small, 20_001);
          await compareSquares(least, 40_000);
        } finally {
          least.dispose();
          small.dispose();
        }
      },
    },
    {
      name: "numbers that are large, infinite, or none",
      sample: true,
      run: async ({ runtime: opened }) => {
        const runtime = await opened;
        const near = (value: number, expected: number, what: string) =>
          check(Math.abs(value - expected) <= 1e-6 * Math.abs(expected), `${what}: ${value}, ${expected} expected`);
        for (const labelSmoothing of [0, 0.1]) {
          for (const [place, bad] of [
            [3, NaN],
            [40, Infinity],
          ] as const) {
            const logits = Array.from({ length: 41 }, (_, i) => (i === place ? bad : i / 10));
            const { loss, hits, gradient } = await ofRow(runtime, logits, 5, labelSmoothing);
            check(
              Number.isNaN(loss) && hits === 0 && gradient.every(Number.isNaN),
              `${bad} at ${place}: loss ${loss}, ${hits} hits, gradient ${gradient}`,
            );
          }
          const none = await ofRow(runtime, [-Infinity, -Infinity, -Infinity], 0, labelSmoothing);
          check(Number.isNaN(none.loss), `−∞ alone: loss ${none.loss}`);
          const masked = await ofRow(runtime, [1, -Infinity, 1, -Infinity, 1], 0, labelSmoothing);
          if (labelSmoothing === 0) near(masked.loss, Math.log(3), "masked classes");
          else check(masked.loss === Infinity, `masked classes, smoothed: loss ${masked.loss}`);
          check(masked.hits === 1, `masked classes: ${masked.hits} hits`);
          const p = 1 / 3;
          for (const [c, s] of [1 - labelSmoothing, 0, 0, 0, 0].entries()) {
            const expected = (c % 2 === 0 ? p : 0) - s - labelSmoothing / 5;
            check(Math.abs(masked.gradient[c]! - expected) < 1e-6, `masked classes: gradient ${masked.gradient}, ${expected} expected at ${c}`);
          }
        }
        const ignored = await ofRow(runtime, [1, NaN, 2, Infinity], IGNORED);
        check(ignored.loss === 0 && ignored.gradient.every((g) => g === 0), `an ignored row: loss ${ignored.loss}, gradient ${ignored.gradient}`);
        const impossible = await ofRow(runtime, [0, -Infinity], 1);
        check(impossible.loss === Infinity, `target at −∞: loss ${impossible.loss}`);
        near((await ofRow(runtime, [1e30, -1e30, 1e30], 0)).loss, Math.LN2, "1e30");
        near((await ofRow(runtime, [0, 1e30, -1e30], 2)).loss, 2e30, "−1e30 beside 1e30");
        near((await ofRow(runtime, [12, 0, 0, 0, 0], 0)).loss, Math.log1p(4 * Math.exp(-12)), "a row that is sure");
        const first = await ofRow(
          runtime,
          Array.from({ length: 300 }, (_, i) => (i >= 77 && i % 7 === 0 ? 5 : 1)),
          77,
        );
        check(first.hits === 1, "the first of equal logits is the largest");
      },
    },
    {
      name: "the same bits every time",
      run: async ({ runtime: opened }) => {
        const runtime = await opened;
        const one = task(crossEntropy, crossEntropySpec({ rows: 2000, classes: 50, labelSmoothing: 0.1 }));
        const given = { logits: normals(1, 100_000), targets: Uint32Array.from({ length: 2000 }, (_, i) => i % 50) };
        const program = planProgram("test", one, runtime.limits);
        const losses = [];
        for (let i = 0; i < 3; i++) losses.push(new Uint32Array((await runProgram(runtime.device!, program, given))["loss"]!)[0]);
        check(new Set(losses).size === 1, `losses ${losses}`);
      },
    },
  ],
};
