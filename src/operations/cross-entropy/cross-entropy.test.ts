import { describe, expect, test } from "vitest";
import { FastRpbError } from "../../core/errors.ts";
import fixtures from "../../testing/fixtures/nn-cross-entropy.json" with { type: "json" };
import { runNodes, runTask, slopeErrors } from "../../testing/nodes.ts";
import { LIMIT_SETS, limitsWith } from "../../testing/planning.ts";
import { programComplaints } from "../../testing/programs.ts";
import { normals, random, relativeL2 } from "../../testing/random.ts";
import { planProgram, type Task, task } from "../operation.ts";
import { crossEntropy, meanSquaredError } from "./operation.ts";
import { crossEntropySpec, meanSquaredErrorSpec } from "./spec.ts";

const IGNORED = 2 ** 32 - 1;

const entropyTask = (rows: number, classes: number, labelSmoothing = 0) => task(crossEntropy, crossEntropySpec({ rows, classes, labelSmoothing }));
const squaresTask = (size: number) => task(meanSquaredError, meanSquaredErrorSpec({ size }));

/** Results, and gradients of the wanted inputs for a dLoss. */
async function withGradients(one: Task, given: Readonly<Record<string, Float64Array | Uint32Array>>, wanted: readonly string[], dLoss = 3) {
  const forward = await runTask(one, given);
  const { nodes } = one.operation.backward!(one.spec, wanted);
  return runNodes(nodes, { ...forward, dLoss: Float64Array.of(dLoss) });
}

test.each(fixtures.crossEntropy)("as PyTorch: $options", async ({ options, logits, targets, loss, counts, dLogits }) => {
  const given = { logits: Float64Array.from(logits, (x) => x ?? -Infinity), targets: Uint32Array.from(targets) };
  const got = await withGradients(task(crossEntropy, crossEntropySpec(options)), given, ["logits"]);
  expect(Math.abs(got["loss"]![0]! - loss)).toBeLessThanOrEqual(1e-12 * Math.abs(loss));
  expect([...got["counts"]!]).toEqual(counts);
  expect(relativeL2(got["dLogits"]!, dLogits)).toBeLessThan(1e-12);
});

test.each(fixtures.meanSquaredError)("mean squared error as PyTorch: $size", async ({ size, x, y, loss, dX, dY }) => {
  const got = await withGradients(squaresTask(size), { x: Float64Array.from(x), y: Float64Array.from(y) }, ["x", "y"]);
  expect(Math.abs(got["loss"]![0]! - loss)).toBeLessThan(1e-12 * loss);
  expect(relativeL2(got["dX"]!, dX)).toBeLessThan(1e-12);
  expect(relativeL2(got["dY"]!, dY)).toBeLessThan(1e-12);
});

test("gradients are slopes", async () => {
  for (const labelSmoothing of [0, 0.1]) {
    const given = { logits: Float64Array.from(normals(1, 60)), targets: Uint32Array.of(3, IGNORED, 0, 11, 12) };
    const errors = await slopeErrors(entropyTask(5, 12, labelSmoothing), given, ["logits"], { result: "loss" });
    expect(errors["logits"]).toBeLessThan(1e-8);
  }
  const given = { x: Float64Array.from(normals(2, 9)), y: Float64Array.from(normals(3, 9)) };
  const errors = await slopeErrors(squaresTask(9), given, ["x", "y"], { result: "loss" });
  for (const error of Object.values(errors)) expect(error).toBeLessThan(1e-8);
});

test("where no row counts, loss and gradient are 0", async () => {
  const got = await withGradients(entropyTask(2, 3), { logits: Float64Array.of(1, NaN, 3, 4, 5, 6), targets: Uint32Array.of(3, IGNORED) }, [
    "logits",
  ]);
  expect([...got["loss"]!, ...got["counts"]!, ...got["dLogits"]!]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0]);
});

test("a row with NaN, +∞ or −∞ alone gives NaN, a target that is −∞ gives ∞; large numbers are right", async () => {
  const lossOf = async (logits: readonly number[], target = 0, labelSmoothing = 0) =>
    (await runTask(entropyTask(1, logits.length, labelSmoothing), { logits: Float64Array.from(logits), targets: Uint32Array.of(target) }))[
      "loss"
    ]![0];
  for (const logits of [
    [0, NaN],
    [NaN, 0],
    [0, Infinity],
    [-Infinity, -Infinity],
  ]) {
    for (const smoothing of [0, 0.1]) expect(await lossOf(logits, 0, smoothing)).toBeNaN();
  }
  expect(await lossOf([-Infinity, 1])).toBe(Infinity);
  expect(await lossOf([1, -Infinity], 0, 0.1)).toBe(Infinity);
  expect(await lossOf([1, -Infinity, 1])).toBeCloseTo(Math.LN2, 14);
  expect(await lossOf([1e30, -1e30, 1e30])).toBeCloseTo(Math.LN2, 14);
  expect(await lossOf([40, 0])).toBeCloseTo(Math.exp(-40), 30);
});

test("of equal logits the first is the largest", async () => {
  const got = await runTask(entropyTask(2, 3), { logits: Float64Array.of(2, 2, 1, 1, 2, 2), targets: Uint32Array.of(0, 2) });
  expect([...got["counts"]!]).toEqual([2, 1]);
});

const SHAPES = [
  [1, 1],
  [64, 10],
  [7, 1000],
  [5000, 256],
  [3, 50_000],
  [70_000, 3],
] as const;

describe.each(Object.entries(LIMIT_SETS))("plans, %s", (_name, limits) => {
  test("hold what all programs hold, and read logits about once", () => {
    let planned = 0;
    for (const [rows, classes] of SHAPES) {
      const one = entropyTask(rows, classes, 0.1);
      for (const each of [one, one.operation.backward!(one.spec, ["logits"]).nodes[0]!.task]) {
        try {
          const program = planProgram("test", each, limits);
          planned++;
          expect(programComplaints(program, limits), `${rows} × ${classes}`).toEqual([]);
        } catch (error) {
          if (!(error instanceof FastRpbError) || error.code !== "limit") throw error;
        }
      }
    }
    expect(planned).toBeGreaterThanOrEqual(SHAPES.length);
    for (const size of [1, 7, 4096, 300_000, 300_001]) {
      const one = squaresTask(size);
      for (const each of [one, one.operation.backward!(one.spec, ["x"]).nodes[0]!.task]) {
        expect(programComplaints(planProgram("test", each, limits), limits), `${size}`).toEqual([]);
      }
    }
  });
});

test("two dispatches forward, one backward; only what is wanted", () => {
  const one = entropyTask(50_000, 256, 0.1);
  expect(planProgram("test", one, limitsWith()).dispatches.length).toBe(2);
  const { nodes } = one.operation.backward!(one.spec, ["logits"]);
  expect(nodes.map((node) => planProgram("test", node.task, limitsWith()).dispatches.length)).toEqual([1]);
  expect(one.operation.backward!(one.spec, []).nodes).toEqual([]);
  const squares = squaresTask(1000);
  expect(squares.operation.backward!(squares.spec, ["y"]).gradients).toEqual({ y: "dY" });
});

test("the mean of many rows in float64 is that of their losses", async () => {
  const [rows, classes] = [300, 17];
  const uniform = random(5);
  const logits = Float64Array.from(normals(6, rows * classes));
  const targets = Uint32Array.from({ length: rows }, () => Math.floor(uniform() * (classes + 2)));
  const { loss, counts } = await runTask(entropyTask(rows, classes), { logits, targets });
  const losses = [...targets].flatMap((target, row) => {
    if (target >= classes) return [];
    const own = logits.slice(row * classes, (row + 1) * classes);
    return [Math.log(own.reduce((total, x) => total + Math.exp(x), 0)) - own[target]!];
  });
  expect(counts![0]).toBe(losses.length);
  expect(loss![0]).toBeCloseTo(losses.reduce((total, each) => total + each, 0) / losses.length, 12);
});
