/** Matrix products: float64 against PyTorch, gradients, and plans. On WebGPU: e2e/cases/nn-matmul.ts. */
import { describe, expect, test } from "vitest";
import type { PlannerLimits } from "../../core/limits.ts";
import fixtures from "../../testing/fixtures/nn-matmul.json" with { type: "json" };
import { runNodes, runTask, slopeErrors } from "../../testing/nodes.ts";
import { DESKTOP_LIMITS, LIMIT_SETS, limitsWith } from "../../testing/planning.ts";
import { planComplaints } from "../../testing/programs.ts";
import { normals, random, relativeL2 } from "../../testing/random.ts";
import { elementCount } from "../../core/check.ts";
import { planProgram, task } from "../operation.ts";
import { matmul } from "./operation.ts";
import { type MatmulOptions, matmulSpec } from "./spec.ts";
import { chooseTile, MATMUL_TILES } from "./tiles.ts";

interface Fixture {
  readonly spec: MatmulOptions;
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  readonly out: readonly number[];
  readonly dOut: readonly number[];
  readonly gradients: Readonly<Record<string, readonly number[]>>;
}

const product = (options: MatmulOptions) => task(matmul, matmulSpec(options));
const wide = (data: Readonly<Record<string, readonly number[]>>) =>
  Object.fromEntries(Object.entries(data).map(([name, numbers]) => [name, Float64Array.from(numbers)]));

describe("as PyTorch has it", () => {
  for (const { spec, inputs, out, dOut, gradients } of fixtures as unknown as readonly Fixture[]) {
    test(JSON.stringify(spec), async () => {
      const given = wide(inputs);
      const result = await runTask(product(spec), given);
      expect(relativeL2(result["out"]!, out)).toBeLessThan(1e-12);
      if (spec.activation !== "none") return;
      const backward = matmul.backward!(matmulSpec(spec), Object.keys(inputs));
      const values = await runNodes(backward.nodes, { ...given, dOut: Float64Array.from(dOut) });
      for (const [name, expected] of Object.entries(gradients)) {
        expect(relativeL2(values[backward.gradients[name]!]!, expected), name).toBeLessThan(1e-12);
      }
    });
  }
});

describe("gradients", () => {
  test.each([
    { m: 5, n: 4, k: 3, bias: true, residual: true },
    { batch: 2, m: 3, n: 5, k: 70, transposeB: true, bias: true },
    { m: 12, n: 6, k: 4, transposeB: true, bias: true, heads: { of: "out", length: 4, heads: 2 } },
    { m: 12, n: 4, k: 6, transposeB: true, heads: { of: "a", length: 4, heads: 2 } },
  ] as const)("of %j are those of finite differences", async (options) => {
    const spec = matmulSpec(options);
    const { out: _, ...inputs } = matmul.tensors(spec, limitsWith());
    const given = Object.fromEntries(
      Object.entries(inputs).map(([name, { shape }], i) => [name, Float64Array.from(normals(i, elementCount(shape)))]),
    );
    for (const [name, error] of Object.entries(await slopeErrors(product(options), given, Object.keys(given))))
      expect(error, name).toBeLessThan(1e-8);
  });

  test("are those that are wanted, and none of an activation", () => {
    expect(matmul.backward!(matmulSpec({ m: 2, n: 3, k: 4, residual: true }), ["residual"])).toEqual({ nodes: [], gradients: { residual: "dOut" } });
    expect(() => matmul.backward!(matmulSpec({ m: 2, n: 3, k: 4, activation: "relu" }), ["a"])).toThrow(TypeError);
  });
});

test("heads that do not divide a matrix are a defect", () => {
  expect(() => matmulSpec({ m: 7, n: 4, k: 3, heads: { of: "out", length: 2, heads: 2 } })).toThrow(TypeError);
  expect(() => matmulSpec({ m: 6, n: 5, k: 3, heads: { of: "out", length: 2, heads: 2 } })).toThrow(TypeError);
  expect(() => matmulSpec({ batch: 2, m: 6, n: 4, k: 3, heads: { of: "out", length: 2, heads: 2 } })).toThrow(TypeError);
});

describe("plans", () => {
  const shapes: readonly MatmulOptions[] = [
    { m: 1, n: 1, k: 1 },
    { m: 512, n: 512, k: 512, bias: true, residual: true, activation: "gelu" },
    { m: 50176, n: 128, k: 128, transposeB: true, bias: true, heads: { of: "out", length: 784, heads: 4 } },
    { m: 128, n: 128, k: 50176, transposeA: true },
    { m: 130, n: 127, k: 5001, transposeA: true, bias: true },
    { batch: 64, m: 100, n: 90, k: 33, transposeA: true, transposeB: true },
    { batch: 5, m: 1000, n: 130, k: 170, residual: true },
    { m: 3, n: 1000, k: 200, transposeB: true },
    { m: 700, n: 64, k: 9000, bias: true },
  ];

  test.each(Object.entries(LIMIT_SETS))("on the device %s are sound, or refused by the name of a limit", (_name, limits) => {
    for (const options of shapes) expect(planComplaints(product(options), limits), JSON.stringify(options)).toEqual([]);
  });

  test("of random sizes are sound", () => {
    const uniform = random(1);
    const upTo = (high: number) => Math.max(1, Math.floor(Math.exp(uniform() * Math.log(high + 1))));
    const sets = Object.entries(LIMIT_SETS);
    for (let trial = 0; trial < 300; trial++) {
      const [name, limits] = sets[trial % sets.length]!;
      const flip = () => uniform() < 0.5;
      const [batch, m, n, k] = [upTo(6), upTo(2000), upTo(500), upTo(5000)];
      const options = { batch, m, n, k, transposeA: flip(), transposeB: flip(), bias: flip(), residual: flip() };
      expect(planComplaints(product(options), limits), `seed 1: ${JSON.stringify(options)} on ${name}`).toEqual([]);
    }
  });

  const planned = (options: MatmulOptions, limits: PlannerLimits = DESKTOP_LIMITS) => planProgram("test", product(options), limits);
  /** A device on which nothing takes long. */
  const fast = limitsWith({ ...DESKTOP_LIMITS, speed: { flopsPerSecond: 1e13, bytesPerSecond: 1e12, workgroupShare: 0.01 } });

  test("are one dispatch where there is work enough, and two where k is split", () => {
    const dispatches = (m: number, n: number, k: number) => planned({ m, n, k, transposeA: true }, fast).cost.dispatches;
    expect(dispatches(2048, 2048, 2048)).toBe(1);
    expect(dispatches(50176, 128, 128)).toBe(1);
    expect(dispatches(64, 10, 128)).toBe(1);
    expect(dispatches(1, 128, 128)).toBe(1);
    expect(dispatches(128, 128, 50176)).toBe(2);
    expect(dispatches(2048, 2048, 5000)).toBe(3); // sums in turns
  });

  test("fill a GPU where there is work enough", () => {
    for (const [m, n, k] of [
      [512, 512, 512],
      [128, 128, 50176],
      [50176, 128, 128],
    ] as const) {
      const { params } = planned({ m, n, k, transposeA: true }, fast).dispatches[0]!;
      expect(params[0]!, `${m} × ${n} × ${k}`).toBeGreaterThan(100);
    }
  });

  test("choose tiles that fit", () => {
    const caller = { caller: "test", limits: limitsWith({ maxComputeWorkgroupStorageSize: 1024 }) };
    const { tile } = chooseTile(caller, { items: 1, rows: 512, columns: 512, depth: 512 }, 2 ** 20);
    expect(4 * (tile.rows + tile.columns) * tile.depth).toBeLessThanOrEqual(1024);
    expect(() =>
      chooseTile({ caller: "test", limits: limitsWith({ maxComputeInvocationsPerWorkgroup: 2 }) }, { items: 1, rows: 1, columns: 1, depth: 1 }, 0),
    ).toThrow(expect.objectContaining({ code: "limit" }));
    expect(MATMUL_TILES.length).toBeGreaterThan(5);
  });

  test("are refused where a matrix that every row needs cannot be bound", () => {
    const limits = limitsWith({ maxStorageBufferBindingSize: 2 ** 16 });
    expect(() => planned({ m: 200, n: 200, k: 200, transposeB: true }, limits)).toThrow(expect.objectContaining({ code: "limit" }));
  });
});
