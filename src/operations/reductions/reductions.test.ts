/** Sums of columns: float64 against PyTorch, and plans. On WebGPU: e2e/cases/nn-reductions.ts. */
import { describe, expect, test } from "vitest";
import fixtures from "../../testing/fixtures/nn-reductions.json" with { type: "json" };
import { runTask } from "../../testing/nodes.ts";
import { DESKTOP_LIMITS, LIMIT_SETS, limitsWith } from "../../testing/planning.ts";
import { planComplaints } from "../../testing/programs.ts";
import { relativeL2 } from "../../testing/random.ts";
import { planProgram, task } from "../operation.ts";
import { columnSums } from "./operation.ts";
import { columnSumsSpec } from "./spec.ts";

const sumsOf = (rows: number, columns: number) => task(columnSums, columnSumsSpec({ rows, columns }));

test.each(fixtures)("$rows × $columns as PyTorch has it", async ({ rows, columns, x, out }) => {
  const result = await runTask(sumsOf(rows, columns), { x: Float64Array.from(x) });
  expect(relativeL2(result["out"]!, out)).toBeLessThan(1e-12);
});

describe("plans", () => {
  const shapes = [
    [1, 1],
    [1000, 1],
    [3, 70_001],
    [5000, 130],
    [50_000, 128],
    [900, 1027],
  ] as const;

  test.each(Object.entries(LIMIT_SETS))("on the device %s are sound, or refused by the name of a limit", (_name, limits) => {
    for (const [rows, columns] of shapes) expect(planComplaints(sumsOf(rows, columns), limits), `${rows} × ${columns}`).toEqual([]);
  });

  test("are one dispatch of few rows, two of many", () => {
    const dispatches = (rows: number, columns: number) => planProgram("test", sumsOf(rows, columns), DESKTOP_LIMITS).cost.dispatches;
    expect(dispatches(64, 128)).toBe(1);
    expect(dispatches(50_000, 128)).toBe(2);
    expect(dispatches(1_000_000, 1)).toBe(2);
  });

  test("move the matrix once, and little else", () => {
    const { cost } = planProgram("test", sumsOf(50_000, 128), DESKTOP_LIMITS);
    expect(cost.bytesMoved).toBeLessThan(1.05 * cost.bytesMinimum);
  });

  test("are refused where not even a row can be bound", () => {
    expect(() => planProgram("test", sumsOf(3, 1000), limitsWith({ maxStorageBufferBindingSize: 3000 }))).toThrow(
      expect.objectContaining({ code: "limit" }),
    );
  });
});
