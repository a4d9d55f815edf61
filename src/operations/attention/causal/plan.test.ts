/** Plans of causal attention: what they refuse, how much they take, and how many dispatches. */
import { expect, test } from "vitest";
import { attentionGradientSpec, type AttentionOptions, attentionSpec, type AnySpec } from "../../../testing/specs.ts";
import { DESKTOP_LIMITS, LIMIT_SETS, limitsWith } from "../../../testing/planning.ts";
import { tryPlan } from "../../../testing/programs.ts";
import { seenRows } from "./chunks.ts";
import { planProgram } from "../../../testing/operations.ts";

const FEATURE_MAPS = ["sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"] as const;

function specs(options: AttentionOptions): readonly AnySpec[] {
  const spec = attentionSpec({ causal: true, ...options });
  return [spec, attentionGradientSpec(spec)];
}

test.each(Object.entries(LIMIT_SETS))("obeys the limits, or refuses by them: %s", (name, limits) => {
  let planned = 0;
  for (const featureMap of FEATURE_MAPS) {
    for (const headDim of [1, 17, 64, 300]) {
      for (const valueDim of [1, 64, 257]) {
        for (const spec of specs({ heads: 2, batch: 2, length: 333, headDim, valueDim, featureMap, variableLengths: true })) {
          const program = tryPlan(spec, limits);
          if (!program) continue;
          planned++;
          expect(program.cost.workspaceBytes).toBeLessThanOrEqual(limits.workspaceBytes);
          for (const { kernel, workgroupSize, workgroups, bindings, label } of program.dispatches) {
            const what = `${name}, ${featureMap} ${headDim}×${valueDim}, ${label}`;
            expect(workgroupSize[0], what).toBeLessThanOrEqual(Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX));
            expect(kernel.workgroupBytes, what).toBeLessThanOrEqual(limits.maxComputeWorkgroupStorageSize);
            expect(Math.max(...workgroups), what).toBeLessThanOrEqual(limits.maxComputeWorkgroupsPerDimension);
            expect(bindings.length, what).toBeLessThanOrEqual(limits.maxStorageBuffersPerShaderStage);
            for (const { size } of bindings) expect(size, what).toBeLessThanOrEqual(limits.maxStorageBufferBindingSize);
          }
        }
      }
    }
  }
  // 256 bytes of workgroup memory are too few for any.
  if (name !== "tiny workgroups") expect(planned).toBeGreaterThan(30);
});

test("no more than four dispatches with bias to 4096, and one within a chunk", () => {
  for (const length of [65, 1000, 4096]) {
    const spec = attentionSpec({ heads: 8, length, headDim: 64, featureMap: "sikf", bias: "fastrpb", causal: true });
    expect(planProgram("test", spec, limitsWith()).cost.dispatches, `${length}`).toBeLessThanOrEqual(4);
  }
  for (const length of [1, 64]) {
    const spec = attentionSpec({ heads: 8, length, headDim: 64, featureMap: "sikf", causal: true });
    expect(planProgram("test", spec, limitsWith()).cost, `${length}`).toMatchObject({ dispatches: 1, workspaceBytes: 0 });
  }
});

test("workspace, bytes and work grow no faster than the length", () => {
  for (const featureMap of FEATURE_MAPS) {
    const programs = [2 ** 12, 2 ** 14, 2 ** 16].flatMap((length) =>
      specs({ heads: 1, length, headDim: 32, featureMap }).map((spec) => ({ length, spec })),
    );
    const [forward, backward] = [0, 1].map((way) => programs.filter((_, i) => i % 2 === way));
    for (const way of [forward!, backward!]) {
      const perToken = way.map(({ length, spec }) => {
        const { workspaceBytes, bytesMoved, flops } = planProgram("test", spec, limitsWith()).cost;
        return [workspaceBytes / length, bytesMoved / length, flops / length];
      });
      for (const costs of perToken) for (const [i, cost] of costs.entries()) expect(cost, featureMap).toBeLessThan(1.1 * perToken[0]![i]!);
    }
  }
});

test("tiles of rows as large as the memory of a workgroup allows, but not of rows that are not there", () => {
  for (const [length, maxComputeWorkgroupStorageSize, rows] of [
    [1000, 49152, 64],
    [1000, 32768, 32],
    [1000, 16384, 16],
    [33, 49152, 64],
    [32, 49152, 32],
    [16, 49152, 16],
  ] as const) {
    const spec = attentionSpec({ heads: 1, length, headDim: 64, featureMap: "sikf", causal: true });
    const { dispatches } = planProgram("test", spec, limitsWith({ maxComputeWorkgroupStorageSize }));
    expect(dispatches.at(-1)!.kernel.constants, `${length}, ${maxComputeWorkgroupStorageSize}`).toMatchObject({ rows });
  }
});

test("states in one pass where heads fill a GPU, are as wide as its tiles, and a group holds as many", () => {
  const dispatches = (options: Partial<AttentionOptions>, limits = DESKTOP_LIMITS) => {
    const spec = attentionSpec({ heads: 8, batch: 16, length: 1024, headDim: 64, featureMap: "sikf", causal: true, ...options } as AttentionOptions);
    return planProgram("test", spec, limits).dispatches.map(({ kernel }) => kernel.id.replace("attention/", ""));
  };
  const onePass = ["causal/running-states", "causal/patches"];
  const twoPasses = ["linear/reduce", "causal/scan", "causal/patches"];
  expect(dispatches({})).toEqual(onePass);
  expect(dispatches({ batch: 8, valueDim: 65 }).slice(0, 1)).toEqual(onePass.slice(0, 1));
  for (const options of [{ batch: 4 }, { headDim: 32 }, { valueDim: 16 }]) expect(dispatches(options), JSON.stringify(options)).toEqual(twoPasses);
});

test("groups of heads are of about the same size", () => {
  const spec = attentionSpec({ heads: 8, batch: 16, length: 4096, headDim: 64, featureMap: "sikf", bias: "fastrpb", causal: true });
  const { dispatches } = planProgram(
    "test",
    spec,
    limitsWith({ workspaceBytes: 2 ** 28, maxStorageBufferBindingSize: 2 ** 30, maxBufferSize: 2 ** 30 }),
  );
  const groups = dispatches.filter(({ kernel }) => kernel.id === "attention/linear/reduce");
  expect(groups.map(({ workgroups }) => workgroups.reduce((product, n) => product * n))).toEqual([4096, 4096]);
});

test("a million tokens fit, in chunks as long as the workspace asks for", () => {
  for (const [headDim, limits] of [
    [32, limitsWith()],
    [64, DESKTOP_LIMITS],
  ] as const) {
    const program = planProgram("test", attentionSpec({ heads: 1, length: 2 ** 20, headDim, featureMap: "sikf", causal: true }), limits);
    expect(program.cost.workspaceBytes).toBeLessThanOrEqual(2 ** 28);
    expect(program.cost.bytesMoved / program.cost.bytesMinimum).toBeLessThan(8);
  }
});

test("rows that tiles see, against counting them one by one", () => {
  for (const [length, chunkRows, rows, rowLanes] of [
    [1, 64, 16, 16],
    [200, 64, 16, 16],
    [333, 64, 4, 16],
    [65, 128, 8, 32],
  ] as const) {
    let [all, later] = [0, 0];
    for (let row = 0; row < length; row += rows) {
      const chunk = Math.floor(row / chunkRows) * chunkRows;
      const block = Math.floor(row / rowLanes) * rowLanes;
      for (let j = chunk; j < Math.min(chunk + chunkRows, length); j++) {
        if (j < row + rows) all++;
        if (j >= block) later++;
      }
    }
    expect(seenRows(length, chunkRows, { rows, laneRows: Math.min(rows, 4), rowLanes, laneKeys: 1, tileVectors: 1 })).toEqual({ all, later });
  }
});
