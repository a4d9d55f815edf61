/** Layer norm and RMS norm: float64 against PyTorch, gradients, and plans. On WebGPU: e2e/cases/nn-layer-norm.ts. */
import { describe, expect, test } from "vitest";
import type { NormKind } from "../../../shaders/nn/norm-rows.ts";
import fixtures from "../../testing/fixtures/nn-layer-norm.json" with { type: "json" };
import { runNodes, runTask, slopeErrors, type WideValues } from "../../testing/nodes.ts";
import { DESKTOP_LIMITS, LIMIT_SETS } from "../../testing/planning.ts";
import { planComplaints } from "../../testing/programs.ts";
import { relativeL2 } from "../../testing/random.ts";
import { planProgram, task } from "../operation.ts";
import { norm, normGradient, normWeightGradient } from "./operation.ts";
import { normGradientSpec, normSpec, normWeightGradientSpec } from "./spec.ts";

describe.each(fixtures)("$spec", ({ spec, given, dOut, out, gradients }) => {
  const one = task(norm, normSpec({ ...spec, kind: spec.kind as NormKind }));
  const inputs = Object.fromEntries(Object.entries(given).map(([name, values]) => [name, Float64Array.from(values)])) as WideValues;

  test("and its gradients as PyTorch has them", async () => {
    const forward = await runTask(one, inputs);
    expect(relativeL2(forward["out"]!, out)).toBeLessThan(1e-12);
    const { nodes, gradients: names } = one.operation.backward!(one.spec, Object.keys(given));
    const all = await runNodes(nodes, { ...forward, dOut: Float64Array.from(dOut) });
    for (const [name, expected] of Object.entries(gradients)) {
      // Of a row of one number, dX is 0 but for rounding.
      if (spec.width > 1 || name === "bias") expect(relativeL2(all[names[name]!]!, expected), name).toBeLessThan(1e-12);
    }
  });

  test.runIf(spec.width > 1)("has the slopes that it has", async () => {
    for (const [name, error] of Object.entries(await slopeErrors(one, inputs, Object.keys(given)))) expect(error, name).toBeLessThan(1e-8);
  });
});

test("only what is wanted is computed", () => {
  const spec = normSpec({ kind: "layer", rows: 4, width: 8, epsilon: 1e-5, bias: true });
  const operations = (...wanted: string[]) => norm.backward!(spec, wanted).nodes.map((node) => node.task.operation.name);
  expect(operations("x")).toEqual(["norm gradient"]);
  expect(operations("weight", "bias")).toEqual(["norm weight gradient"]);
  expect(operations("bias")).toEqual(["column sums"]);
});

describe("plans", () => {
  const tasksOf = (kind: NormKind, rows: number, width: number) => [
    task(norm, normSpec({ kind, rows, width, epsilon: 1e-5, bias: kind === "layer" })),
    task(normGradient, normGradientSpec({ kind, rows, width })),
    task(normWeightGradient, normWeightGradientSpec({ kind, rows, width, bias: kind === "layer" })),
  ];

  test.each(Object.entries(LIMIT_SETS))("on the device %s are sound, or refused by the name of a limit", (_name, limits) => {
    for (const kind of ["layer", "rms"] as const) {
      for (const [rows, width] of [
        [1, 1],
        [3, 16_384],
        [700, 130],
        [9000, 128],
      ] as const) {
        for (const one of tasksOf(kind, rows, width)) expect(planComplaints(one, limits), `${one.operation.name}, ${rows} × ${width}`).toEqual([]);
      }
    }
  });

  test("are one dispatch, but for the sums over many rows", () => {
    const dispatches = tasksOf("layer", 50_176, 128).map((one) => planProgram("test", one, DESKTOP_LIMITS).cost.dispatches);
    expect(dispatches).toEqual([1, 1, 3]);
  });

  test("have one text for any number of rows", () => {
    const codes = (rows: number) => planProgram("test", tasksOf("layer", rows, 96)[0]!, DESKTOP_LIMITS).dispatches.map(({ kernel }) => kernel.code);
    expect(codes(7)).toEqual(codes(5000));
  });
});
