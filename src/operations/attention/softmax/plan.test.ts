/** Plans of softmax attention and its gradient: within the limits, in O(N) memory, in few dispatches. */
import { describe, expect, test } from "vitest";
import { softmaxOthers, softmaxRows, type SoftmaxTile } from "../../../../shaders/attention/softmax/tiles.ts";
import { type PlannerLimits, SLOW_GPU, SOFTWARE_GPU, type Speed } from "../../../core/limits.ts";
import { attentionGradientSpec, type AttentionOptions, attentionSpec } from "../../../testing/specs.ts";
import { DESKTOP_LIMITS, LIMIT_SETS, limitsWith } from "../../../testing/planning.ts";
import { constantOf, programComplaints, wholeDispatches } from "../../../testing/programs.ts";
import { planProgram } from "../../../testing/operations.ts";
import type { Program, ProgramDispatch } from "../../../program/program.ts";
import { sum } from "../../../program/units.ts";
import { WEIGHT_FLOPS } from "./sweep.ts";

/** An H100. */
const FAST: Speed = { flopsPerSecond: 1.4e13, bytesPerSecond: 2e12, workgroupShare: 1 / 1024 };
/** A device that is never busy. */
const ENDLESS: Speed = { flopsPerSecond: 1e30, bytesPerSecond: 1e30, workgroupShare: 1 };

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

  test("memory is linear in the length, besides an eighth of the scratch for what splits leave", () => {
    for (const length of [1, 1000, 2 ** 14, 2 ** 18]) {
      const program = plan(way, { heads: 2, length }, DESKTOP_LIMITS);
      const statistics = way === "forward" ? 0 : 2 * 16 * length;
      expect(program.cost.workspaceBytes, `${length}`).toBeGreaterThanOrEqual(statistics / 2);
      expect(program.cost.workspaceBytes, `${length}`).toBeLessThanOrEqual(statistics + (length > 1000 ? DESKTOP_LIMITS.workspaceBytes / 8 : 0));
    }
  });

  test("the number of passes does not depend on the length where nothing is split, and long ones are cut into dispatches", () => {
    const passes = (options: Partial<AttentionOptions>) => wholeDispatches(plan(way, options, limitsWith({ speed: FAST }))).length;
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

/** The splits of a sweep, and the keys or queries of each; one of all where it is not split. */
function splitsOf({ kernel, params }: ProgramDispatch): { readonly count: number; readonly others: number } {
  const value = (name: string) => params[kernel.params.indexOf(name)];
  return { count: value("splits") ?? 1, others: value("splitOthers") ?? constantOf({ kernel } as ProgramDispatch, "length") };
}

/** Pairs of a row and an other in the tile of a kernel. */
function pairsOf({ kernel }: ProgramDispatch): number {
  const tile = kernel.constants["tile"] as SoftmaxTile;
  return softmaxRows(tile) * softmaxOthers(tile);
}

/** Kernels that bring splits together. */
const JOINS = ["attention/softmax/combine", "attention/softmax/combine-statistics", "attention/softmax/sum"];
const sweeps = ({ dispatches }: Program) => dispatches.filter(({ kernel }) => !JOINS.includes(kernel.id));
const groupsOf = ({ params }: ProgramDispatch) => params[0]! - params[1]!;

describe.each(WAYS)("splits, %s", (way) => {
  test("fill the device where rows alone do not, also where work is cut into dispatches", () => {
    for (const [speed, heads, length, least] of [
      [FAST, 1, 4096, 1],
      [FAST, 2, 1024, 0.125],
      [FAST, 8, 1024, 0.5],
      [FAST, 1, 2 ** 13, 1],
      [SLOW_GPU, 8, 4096, 0.9],
      [SLOW_GPU, 8, 2 ** 14, 0.8],
      [SLOW_GPU, 8, 2 ** 16, 0.9],
    ] as const) {
      const program = plan(way, { heads, length }, limitsWith({ speed }));
      const pairs = sweeps(program).map((dispatch) => groupsOf(dispatch) * pairsOf(dispatch));
      const what = `${speed.flopsPerSecond}, ${heads} heads of ${length}`;
      expect(splitsOf(program.dispatches[0]!).count, what).toBeGreaterThan(1);
      // What is left over at the end of a head may be less.
      const enough = pairs.filter((count) => count >= least * 2 ** 20);
      expect(enough.length / pairs.length, what).toBeGreaterThan(0.9);
    }
  });

  test("are not where they are not needed: the same kernels, the same dispatches", () => {
    for (const [heads, length] of [
      [8, 4096],
      [16, 2048],
      [1, 2 ** 15],
      [8, 2 ** 16],
      [1, 1023],
    ] as const) {
      const program = plan(way, { heads, length }, limitsWith({ speed: FAST }));
      expect(program.dispatches.filter(({ kernel }) => JOINS.includes(kernel.id) || kernel.constants["split"] === true)).toEqual([]);
    }
  });

  test("have 512 keys at least and cost little: flops, bytes, and the same pairs", () => {
    for (const speed of [FAST, SLOW_GPU, SOFTWARE_GPU]) {
      for (const causal of [false, true]) {
        for (const length of [1024, 1100, 4096, 5001]) {
          const [program, whole] = [
            plan(way, { heads: 2, length, causal }, limitsWith({ speed })),
            plan(way, { heads: 2, length, causal }, limitsWith({ speed: { ...ENDLESS, workgroupShare: 1 }, workspaceBytes: 2 ** 20 })),
          ];
          const what = `${speed.flopsPerSecond}, ${length}, causal ${causal}`;
          for (const dispatch of program.dispatches) expect(splitsOf(dispatch).others, what).toBeGreaterThanOrEqual(512);
          expect(splitsOf(whole.dispatches[0]!).count).toBe(1);
          expect(program.cost.flops / whole.cost.flops, what).toBeLessThanOrEqual(1.05);
          expect(program.cost.flops / whole.cost.flops, what).toBeGreaterThan(1);
          expect(program.cost.bytesMoved / whole.cost.bytesMoved, what).toBeLessThanOrEqual(1.1);
        }
      }
    }
  });

  test("bound the work of a workgroup, with the best tile, whatever the length", () => {
    for (const [speed, lengths] of [
      [SOFTWARE_GPU, [1000, 2 ** 13, 2 ** 14]],
      [SLOW_GPU, [2 ** 17, 2 ** 18]],
      [FAST, [2 ** 17, 2 ** 18]],
    ] as const) {
      for (const length of lengths) {
        const program = plan(way, { length }, limitsWith({ speed }));
        const best = sweeps(plan(way, { length }, limitsWith({ speed: { ...ENDLESS, workgroupShare: 1 } })));
        for (const [i, dispatch] of sweeps(program).entries()) {
          if (i < best.length) expect(dispatch.kernel.constants["tile"]).toEqual(best[i]!.kernel.constants["tile"]);
          const seconds = dispatch.flops / groupsOf(dispatch) / (speed.flopsPerSecond * speed.workgroupShare);
          expect(seconds, `${length}`).toBeLessThanOrEqual(0.25);
        }
      }
    }
  });

  test("keep to their scratch: heads in groups, rows in blocks, fewer splits, and then smaller tiles", () => {
    const tiles = new Set<string>();
    let before = Infinity;
    for (const workspaceBytes of [28, 24, 22, 21, 20, 18, 17].map((bits) => 2 ** bits)) {
      const limits = limitsWith({ speed: SOFTWARE_GPU, workspaceBytes });
      const program = plan(way, { heads: 2, length: 4000, variableLengths: true, causal: true }, limits);
      expect(programComplaints(program, limits), `${workspaceBytes}`).toEqual([]);
      const { count } = splitsOf(program.dispatches[0]!);
      expect(count, `${workspaceBytes}`).toBeLessThanOrEqual(before);
      before = count;
      tiles.add(JSON.stringify(program.dispatches[0]!.kernel.constants["tile"]));
    }
    expect(before).toBeLessThanOrEqual(2);
    if (way === "backward") expect(tiles.size).toBeGreaterThan(1);
  });

  test("twice the length takes at most 4.4 times as long, from 1024 to 131072", () => {
    for (const speed of [SLOW_GPU, FAST]) {
      const seconds = Array.from({ length: 8 }, (_, i) =>
        sum(plan(way, { heads: 8, length: 2 ** (10 + i) }, limitsWith({ speed })).dispatches, (dispatch) => dispatch.estimatedSeconds),
      );
      for (const [i, after] of seconds.slice(1).entries()) expect(after / seconds[i]!, `${2 ** (11 + i)}`).toBeLessThanOrEqual(4.4);
    }
  });

  test("pipelines are shared by all numbers of splits, heads and rows", () => {
    const codes = (options: { heads?: number; batch?: number }, limits: PlannerLimits) => [
      ...new Set(plan(way, { length: 4000, ...options }, limits).dispatches.map(({ kernel }) => kernel.code)),
    ];
    const one = codes({ heads: 2 }, limitsWith({ speed: FAST }));
    expect(one.length).toBe(way === "forward" ? 2 : 6);
    expect(codes({ heads: 3 }, limitsWith({ speed: FAST }))).toEqual(one);
    expect(codes({ heads: 3, batch: 2 }, limitsWith({ speed: SLOW_GPU, workspaceBytes: 2 ** 26 }))).toEqual(one);
  });
});

test("statistics of many heads go in groups within the workspace", () => {
  const limits = limitsWith({ workspaceBytes: 2 ** 16 });
  const program = plan("backward", { heads: 10, length: 1000 }, limits);
  expect(program.cost.workspaceBytes).toBe(2 * 16_000);
  expect(program.cost.dispatches).toBe(15);
});

describe("a window", () => {
  test("counts the pairs that see one another", () => {
    for (const length of [1, 7, 77, 301]) {
      for (const window of [1, 2, 5, 64, 300, 1000]) {
        for (const causal of [false, true]) {
          let pairs = 0;
          for (let i = 0; i < length; i++) for (let j = 0; j < length; j++) if (Math.abs(i - j) < window && !(causal && j > i)) pairs++;
          const { cost } = plan("forward", { length, headDim: 4, window, causal });
          expect(cost.flops, `${length}, ${window}, causal ${causal}`).toBe(pairs * (2 * 4 + 2 * 4 + WEIGHT_FLOPS));
        }
      }
    }
  });

  test.each(WAYS)("%s: work, bytes and memory in proportion to the length, and work to the window", (way) => {
    for (const speed of [FAST, SOFTWARE_GPU]) {
      for (const [causal, bias] of [
        [true, "none"],
        [false, "logits"],
      ] as const) {
        const cost = (length: number, window: number) => plan(way, { length, window, causal, bias }, limitsWith({ speed })).cost;
        const [one, long, wide] = [cost(2 ** 14, 1000), cost(2 ** 15, 1000), cost(2 ** 14, 2000)];
        const what = `${speed.flopsPerSecond}, ${bias}`;
        for (const measure of ["flops", "bytesMoved"] as const) {
          expect(long[measure] / one[measure], `${measure}, ${what}`).toBeGreaterThan(1.8);
          expect(long[measure] / one[measure], `${measure}, ${what}`).toBeLessThan(2.1);
        }
        expect(wide.flops / one.flops, what).toBeLessThan(2.1);
        expect(long.workspaceBytes, what).toBeLessThanOrEqual(2.2 * one.workspaceBytes + 2 ** 20);
      }
    }
  });
});

test("the gradient of a bias in the logits keeps to a part of the scratch, or takes heads in groups", () => {
  for (const options of [{ length: 4000 }, { length: 4000, causal: true, window: 600 }, { length: undefined as never, grid: [50, 80] as const }]) {
    for (const workspaceBytes of [2 ** 28, 2 ** 22, 2 ** 21]) {
      for (const speed of [FAST, SOFTWARE_GPU]) {
        const limits = limitsWith({ speed, workspaceBytes });
        const program = plan("backward", { heads: 3, batch: 2, headDim: 8, bias: "logits", ...options } as Partial<AttentionOptions>, limits);
        expect(programComplaints(program, limits), `${workspaceBytes}`).toEqual([]);
      }
    }
  }
});
