/** Plans of softmax attention and its gradient: within the limits, in O(N) memory, in few dispatches. */
import { describe, expect, test } from "vitest";
import type { PlannerLimits } from "../../../core/limits.ts";
import { attentionGradientSpec, type AttentionOptions, attentionSpec } from "../../../testing/specs.ts";
import { DESKTOP_LIMITS, LIMIT_SETS, limitsWith } from "../../../testing/planning.ts";
import { wholeDispatches } from "../../../testing/programs.ts";
import { planProgram } from "../../../testing/operations.ts";
import type { Program } from "../../../program/program.ts";
import { sum } from "../../../program/units.ts";

type Way = "forward" | "backward";
const WAYS: readonly Way[] = ["forward", "backward"];

function plan(way: Way, options: Partial<AttentionOptions>, limits: PlannerLimits = limitsWith()): Program {
  const spec = attentionSpec({ kind: "softmax", heads: 1, length: 100, headDim: 64, ...options } as AttentionOptions);
  return planProgram("test", way === "forward" ? spec : attentionGradientSpec(spec), limits);
}

/** The program, or `undefined` where the device is too small: said with the limit's name. */
function tryPlan(way: Way, options: Partial<AttentionOptions>, limits: PlannerLimits): Program | undefined {
  try {
    return plan(way, options, limits);
  } catch (error) {
    expect(error).toMatchObject({ code: "limit", message: expect.stringMatching(/maxComputeWorkgroupStorageSize|maxStorageBufferBindingSize/) });
    return undefined;
  }
}

const DIMENSIONS = [1, 3, 4, 17, 33, 64, 65, 128, 130, 256, 257, 1000, 4096] as const;

function moved(program: Program, name: string, way: "bytesRead" | "bytesWritten"): number {
  return sum(program.dispatches, ({ bindings }) => sum(bindings, (binding) => (binding.buffer === name ? binding[way] : 0)));
}

const bytesOf = (program: Program, name: string) => program.buffers.find((buffer) => buffer.name === name)!.bytes;

describe.each(WAYS)("%s", (way) => {
  test.each(Object.entries(LIMIT_SETS))("obeys %s, whatever the dimensions", (name, limits) => {
    let planned = 0;
    for (const [i, headDim] of DIMENSIONS.entries()) {
      for (const [j, valueDim] of DIMENSIONS.entries()) {
        const options = { heads: 3, batch: 2, length: 70, headDim, valueDim, causal: (i + j) % 2 === 0, variableLengths: (i + j) % 3 === 0 };
        const program = tryPlan(way, options, limits);
        if (!program) continue;
        planned++;
        for (const { kernel, workgroups, bindings } of program.dispatches) {
          const what = `${headDim}, ${valueDim}: ${kernel.label}`;
          const [lanes] = kernel.workgroupSize;
          expect(lanes, what).toBeLessThanOrEqual(Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX));
          expect(kernel.workgroupBytes, what).toBeLessThanOrEqual(limits.maxComputeWorkgroupStorageSize);
          expect(Math.max(...workgroups), what).toBeLessThanOrEqual(limits.maxComputeWorkgroupsPerDimension);
          expect(bindings.length, what).toBeLessThanOrEqual(8);
          for (const { size, offset, buffer } of bindings) {
            expect(size, `${what}, ${buffer}`).toBeLessThanOrEqual(limits.maxStorageBufferBindingSize);
            expect(offset % limits.minStorageBufferOffsetAlignment, `${what}, ${buffer}`).toBe(0);
            expect(offset + size, `${what}, ${buffer}`).toBeLessThanOrEqual(bytesOf(program, buffer));
          }
        }
        for (const { name: buffer, role, bytes } of program.buffers) {
          if (role === "output") expect(moved(program, buffer, "bytesWritten"), buffer).toBe(bytes);
          if (role === "input" && buffer !== "lengths") expect(moved(program, buffer, "bytesRead"), buffer).toBeGreaterThanOrEqual(bytes);
        }
      }
    }
    // 70 tokens of 4096 numbers are more than a small binding holds.
    const all = DIMENSIONS.length ** 2;
    if (name === "tiny workgroups") expect(planned).toBeGreaterThan(0);
    else expect(planned).toBeGreaterThanOrEqual(all - 2 * DIMENSIONS.length);
  });

  test("memory is linear in the length", () => {
    for (const length of [1, 1000, 2 ** 14, 2 ** 18]) {
      const program = plan(way, { heads: 2, length }, DESKTOP_LIMITS);
      expect(program.cost.workspaceBytes, `${length}`).toBe(way === "forward" ? 0 : 2 * 16 * length);
    }
  });

  test("the number of passes does not depend on the length, and long ones are cut into dispatches", () => {
    const passes = (options: Partial<AttentionOptions>) => wholeDispatches(plan(way, options)).length;
    for (const length of [1, 33, 4096, 2 ** 16]) {
      expect(passes({ heads: 8, length }), `${length}`).toBe(way === "forward" ? 1 : 3);
      expect(passes({ heads: 8, length: Math.min(length, 4096), headDim: 256 }), `${length}`).toBe(way === "forward" ? 1 : 4);
    }
    const { dispatches } = plan(way, { heads: 8, length: 2 ** 16 });
    expect(dispatches.length).toBeGreaterThan(100);
    // 8 heads of 2^16 rows take about 10^13 operations.
    expect(Math.max(...dispatches.map(({ estimatedSeconds }) => estimatedSeconds))).toBeLessThanOrEqual(0.25);
  });

  test("pipelines are shared by batches, heads and groups of heads", () => {
    const codes = (program: Program) => [...new Set(program.dispatches.map(({ kernel }) => kernel.code))];
    const one = codes(plan(way, { length: 200 }));
    for (const [options, limits] of [
      [{ heads: 8, batch: 3 }, limitsWith()],
      [{ heads: 8, batch: 3 }, limitsWith({ maxStorageBufferBindingSize: 2 ** 17 })],
    ] as const) {
      const program = plan(way, { length: 200, ...options }, limits);
      expect(codes(program)).toEqual(one);
      if (limits.maxStorageBufferBindingSize === 2 ** 17) expect(program.cost.dispatches).toBe(12 * one.length);
    }
  });

  test("causal attention moves and computes about half", () => {
    const [all, half] = [false, true].map((causal) => plan(way, { length: 4096, causal })) as [Program, Program];
    for (const what of ["bytesMoved", "flops"] as const) {
      expect(half.cost[what] / all.cost[what], what).toBeGreaterThan(0.49);
      expect(half.cost[what] / all.cost[what], what).toBeLessThan(0.53);
    }
  });

  test("a head that no binding holds is refused by name", () => {
    const small = limitsWith({ maxStorageBufferBindingSize: 2 ** 14 });
    expect(() => plan(way, { length: 100 }, small)).toThrow(expect.objectContaining({ code: "limit" }));
    expect(() => plan(way, { length: 100 }, small)).toThrow(/maxStorageBufferBindingSize/);
  });
});

test("statistics of many heads go in groups within the workspace", () => {
  const limits = limitsWith({ workspaceBytes: 2 ** 16 });
  const program = plan("backward", { heads: 10, length: 1000 }, limits);
  expect(program.cost.workspaceBytes).toBe(2 * 16_000);
  expect(program.cost.dispatches).toBe(15);
});
