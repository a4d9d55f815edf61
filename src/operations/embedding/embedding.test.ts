import { describe, expect, test } from "vitest";
import { FastRpbError } from "../../core/errors.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import type { Program } from "../../program/program.ts";
import fixtures from "../../testing/fixtures/nn-embedding.json" with { type: "json" };
import { runNodes, runTask, slopeErrors } from "../../testing/nodes.ts";
import { DESKTOP_LIMITS, LIMIT_SETS, limitsWith } from "../../testing/planning.ts";
import { programComplaints } from "../../testing/programs.ts";
import { normals } from "../../testing/random.ts";
import { planProgram, task } from "../operation.ts";
import { embedding } from "./operation.ts";
import { embeddingSpec } from "./spec.ts";

const embeddingTask = (tokens: number, count: number, width: number) => task(embedding, embeddingSpec({ tokens, count, width }));
const gradientTask = (tokens: number, count: number, width: number) =>
  embedding.backward!(embeddingSpec({ tokens, count, width }), ["table"]).nodes[0]!.task;

test.each(fixtures)("as PyTorch: $options", async ({ options, indices, table, out, dOut, dTable }) => {
  const given = { indices: Uint32Array.from(indices), table: Float64Array.from(table) };
  const one = task(embedding, embeddingSpec(options));
  expect([...(await runTask(one, given))["out"]!]).toEqual(out);
  const { nodes, gradients } = embedding.backward!(embeddingSpec(options), ["table"]);
  const got = await runNodes(nodes, { ...given, dOut: Float64Array.from(dOut) });
  expect([...got[gradients["table"]!]!]).toEqual(dTable);
});

test("the gradient is a slope", async () => {
  const given = { indices: Uint32Array.of(2, 0, 2, 4, 2), table: Float64Array.from(normals(1, 15)) };
  expect((await slopeErrors(embeddingTask(5, 5, 3), given, ["table"]))["table"]).toBeLessThan(1e-8);
});

test("an index that is no row gives NaN, and adds nothing to the gradient", async () => {
  const indices = Uint32Array.of(1, 2, 2 ** 32 - 1);
  const { out } = await runTask(embeddingTask(3, 2, 1), { indices, table: Float64Array.of(5, 6) });
  expect([...out!]).toEqual([6, NaN, NaN]);
  const { nodes } = embedding.backward!(embeddingSpec({ tokens: 3, count: 2, width: 1 }), ["table"]);
  expect([...(await runNodes(nodes, { indices, dOut: Float64Array.of(1, 2, 3) }))["dTable"]!]).toEqual([0, 1]);
});

function tryPlan(one: ReturnType<typeof embeddingTask>, limits: PlannerLimits): Program | undefined {
  try {
    return planProgram("test", one, limits);
  } catch (error) {
    if (error instanceof FastRpbError && error.code === "limit") return undefined;
    throw error;
  }
}

describe.each(Object.entries(LIMIT_SETS))("plans, %s", (_name, limits) => {
  test("hold what all programs hold", () => {
    let planned = 0;
    for (const [tokens, count, width] of [
      [1, 1, 1],
      [100, 256, 32],
      [50_000, 256, 17],
      [3000, 50_000, 4],
      [200_000, 100_000, 8],
      [20_000, 10, 512],
    ] as const) {
      for (const one of [embeddingTask(tokens, count, width), gradientTask(tokens, count, width)]) {
        const program = tryPlan(one, limits);
        if (!program) continue;
        planned++;
        expect(programComplaints(program, limits), `${tokens} of ${count} × ${width}`).toEqual([]);
      }
    }
    expect(planned).toBeGreaterThanOrEqual(7);
  });
});

test("dispatches: three for each digit, and four", () => {
  const dispatches = (tokens: number, count: number, limits = limitsWith()) =>
    planProgram("test", gradientTask(tokens, count, 8), limits).dispatches.length;
  expect(planProgram("test", embeddingTask(50_000, 256, 8), limitsWith()).dispatches.length).toBe(1);
  expect(dispatches(50_000, 256)).toBe(3 + 4);
  expect(dispatches(50_000, 50_000)).toBe(2 * 3 + 4);
  expect(dispatches(50_000, 100_000)).toBe(3 * 3 + 4);
  expect(dispatches(500, 256)).toBe(3 + 3);
  expect(dispatches(5, 256)).toBe(3 + 2);
});

test("gradients are read once, and sorting takes some words a token", () => {
  for (const [tokens, count] of [
    [50_000, 256],
    [200_000, 100_000],
    [50_000, 10],
  ] as const) {
    const { dispatches, cost } = planProgram("test", gradientTask(tokens, count, 128), DESKTOP_LIMITS);
    const reads = dispatches.flatMap(({ bindings }) => bindings.filter(({ name }) => name === "dOut"));
    expect(reads.reduce((sum, { bytesRead }) => sum + bytesRead, 0)).toBe(tokens * 128 * 4);
    expect(cost.bytesMoved).toBeLessThan(1.8 * cost.bytesMinimum);
  }
});
