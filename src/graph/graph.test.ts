/** Several operations in one Program: its memory, its refusals, and the same bits on the CPU as one by one. The GPU: e2e/cases/composition.ts. */
import { describe, expect, test } from "vitest";
import type { Storage } from "../core/backend.ts";
import { attentionSpec } from "../operations/attention/spec.ts";
import { fftSpec } from "../operations/fft/spec.ts";
import { planProgram, task, type TaskNode } from "../operations/operation.ts";
import { createTestBackend } from "../testing/compute.ts";
import { taskOf } from "../testing/operations.ts";
import { LIMIT_SETS, limitsWith } from "../testing/planning.ts";
import { programComplaints } from "../testing/programs.ts";
import { normals, relativeL2 } from "../testing/random.ts";
import { graph, graphSpec } from "./graph.ts";

/** Two attentions, the second of the first one's result, and a transform of that. */
function nodesOf(length: number): readonly TaskNode[] {
  const shape = { heads: 2, length, headDim: 8 } as const;
  const first = taskOf(attentionSpec({ ...shape, featureMap: "sikf", bias: "fastrpb" }));
  const second = taskOf(attentionSpec({ ...shape, featureMap: "elu+1", causal: true }));
  return [
    { task: first.operation.preparation!(first.spec)!, values: { weights: "weights", spectrum: "spectrum" } },
    { task: first, values: { q: "q", k: "k", v: "v", spectrum: "spectrum", out: "attended" } },
    { task: second, values: { q: "attended", k: "k", v: "v", out: "again" } },
    { task: taskOf(fftSpec({ shape: [1, 2, length, 8], axes: [2], kind: "r2c" })), values: { x: "again", out: "transformed" } },
  ];
}

const RESULTS = ["again", "transformed"];

describe("two attentions and an FFT in one Program", () => {
  test.each([1, 50, 3000, 20_000])("of %i tokens: sound, and in less memory than one after the other", (length) => {
    const nodes = nodesOf(length);
    const limits = limitsWith();
    const whole = planProgram("test", task(graph, graphSpec({ nodes, results: RESULTS })), limits);
    expect(programComplaints(whole, limits)).toEqual([]);
    const separate = nodes.map(({ task: one }) => planProgram("test", one, limits));
    expect(whole.dispatches.map(({ label }) => label)).toEqual(separate.flatMap(({ dispatches }) => dispatches.map(({ label }) => label)));
    // Between them, one by one, lie the spectrum and the first result.
    const between = whole.buffers.filter(({ name }) => name === "spectrum" || name === "attended").reduce((sum, { bytes }) => sum + bytes, 0);
    const sum = separate.reduce((bytes, { cost }) => bytes + cost.workspaceBytes, between);
    if (length > 1) expect(whole.cost.workspaceBytes).toBeLessThan(sum);
    expect(whole.buffers.filter(({ role }) => role === "input").map(({ name }) => name)).toEqual(["weights", "q", "k", "v"]);
    expect(whole.buffers.filter(({ role }) => role === "output").map(({ name }) => name)).toEqual(RESULTS);
  });

  test.each(Object.entries(LIMIT_SETS))("on the device %s: sound, or refused by the name of a limit", (_name, limits) => {
    const whole = task(graph, graphSpec({ nodes: nodesOf(3000), results: RESULTS }));
    try {
      expect(programComplaints(planProgram("test", whole, limits), limits)).toEqual([]);
    } catch (error) {
      expect(error).toMatchObject({ name: "FastRpbError", code: "limit" });
    }
  });

  test("computes on the CPU what it does one by one, without rounding in between", async () => {
    const length = 50;
    const nodes = nodesOf(length);
    const backend = createTestBackend();
    const rows = 16 * length;
    const values: Record<string, Storage> = {
      q: backend.upload(normals(1, rows), "q"),
      k: backend.upload(normals(2, rows), "k"),
      v: backend.upload(normals(3, rows), "v"),
      weights: backend.upload(normals(4, 2 * (2 * length - 1)), "weights"),
    };
    const whole = await backend.compile("test", task(graph, graphSpec({ nodes, results: RESULTS })));
    const results = Object.fromEntries(RESULTS.map((name) => [name, backend.allocate(whole.bytes[name]!, name)]));
    backend.run([{ executable: whole, bindings: { ...values, ...results } }]);
    for (const { task: one, values: names } of nodes) {
      const executable = await backend.compile("test", one);
      for (const [tensor, name] of Object.entries(names)) values[name] ??= backend.allocate(executable.bytes[tensor]!, name);
      backend.run([{ executable, bindings: Object.fromEntries(Object.entries(names).map(([tensor, name]) => [tensor, values[name]!])) }]);
    }
    for (const name of RESULTS) {
      const together = new Float64Array(results[name]!.byteLength / 8);
      const alone = new Float32Array(values[name]!.byteLength / 4);
      await Promise.all([results[name]!.read(together), values[name]!.read(alone)]);
      const error = relativeL2(alone, together);
      expect(error, `${name}, seeds 1 to 4`).toBeLessThan(1e-6);
      expect(error).toBeGreaterThan(0);
    }
  });

  test("a node without a value for a tensor, and a value of two sizes, are defects", () => {
    const [preparation, first] = nodesOf(50);
    const { out: _, ...missing } = first!.values;
    const plan = (nodes: readonly TaskNode[]) => planProgram("test", task(graph, graphSpec({ nodes, results: ["attended"] })), limitsWith());
    expect(() => plan([preparation!, { ...first!, values: missing }])).toThrow(TypeError);
    expect(() => plan([preparation!, { ...first!, values: { ...first!.values, q: "weights" } }])).toThrow(TypeError);
  });
});
