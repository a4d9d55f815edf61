/** Sums, products and activations: float64 against PyTorch, gradients, and plans. On WebGPU: e2e/cases/nn-elementwise.ts. */
import { describe, expect, test } from "vitest";
import type { ActivationKind } from "../../../shaders/nn/activation.ts";
import fixtures from "../../testing/fixtures/nn-elementwise.json" with { type: "json" };
import { runNodes, runTask, slopeErrors, type WideValues } from "../../testing/nodes.ts";
import { LIMIT_SETS } from "../../testing/planning.ts";
import { planComplaints } from "../../testing/programs.ts";
import { normals, relativeL2 } from "../../testing/random.ts";
import { type Task, task } from "../operation.ts";
import { accumulate, activation, activationGradient, add, multiply } from "./operation.ts";
import { accumulateSpec, activationGradientSpec, activationSpec, addSpec, multiplySpec } from "./spec.ts";

function taskOf(spec: (typeof fixtures)[number]["spec"]): Task {
  const { size, operation, period = size, kind = "relu" } = spec;
  if (operation === "add") return task(add, addSpec({ size, period }));
  if (operation === "multiply") return task(multiply, multiplySpec({ size, period }));
  return task(activation, activationSpec({ size, kind: kind as ActivationKind }));
}

const float64 = (values: readonly number[] | Float32Array) => Float64Array.from(values);

describe.each(fixtures)("$spec", ({ spec, given, dOut, out, gradients }) => {
  const one = taskOf(spec);
  const inputs = Object.fromEntries(Object.entries(given).map(([name, values]) => [name, float64(values)])) as WideValues;

  test("and its gradients as PyTorch has them", async () => {
    const forward = await runTask(one, inputs);
    expect(relativeL2(forward["out"]!, out)).toBeLessThan(1e-12);
    const { nodes, gradients: names } = one.operation.backward!(one.spec, Object.keys(given));
    const all = await runNodes(nodes, { ...forward, dOut: float64(dOut) });
    for (const [name, expected] of Object.entries(gradients)) expect(relativeL2(all[names[name]!]!, expected), name).toBeLessThan(1e-12);
  });

  test("has the slopes that it has", async () => {
    for (const [name, error] of Object.entries(await slopeErrors(one, inputs, Object.keys(given)))) expect(error, name).toBeLessThan(1e-8);
  });
});

test("only what is wanted is computed", () => {
  const product = multiplySpec({ size: 6, period: 3 });
  expect(multiply.backward!(product, ["x"]).nodes).toHaveLength(1);
  expect(multiply.backward!(product, ["y"]).nodes).toHaveLength(2);
  expect(add.backward!(addSpec({ size: 6, period: 3 }), ["x"])).toMatchObject({ nodes: [], gradients: { x: "dOut" } });
});

test("accumulate adds to what is there", async () => {
  const [x, out] = [float64(normals(1, 5)), float64(normals(2, 5))];
  const after = await runTask(task(accumulate, accumulateSpec({ size: 5 })), { x, out });
  expect(after["out"]).toEqual(out.map((value, i) => value + x[i]!));
});

test.each(Object.entries(LIMIT_SETS))("plans on the device %s are sound, or refused by the name of a limit", (_name, limits) => {
  for (const size of [1, 6, 1000, 1_500_001, 1_600_000]) {
    const period = size % 1000 === 0 ? 1000 : size;
    const tasks = [
      task(add, addSpec({ size, period })),
      task(multiply, multiplySpec({ size, period: size })),
      task(activation, activationSpec({ size, kind: "gelu" })),
      task(activationGradient, activationGradientSpec({ size, kind: "relu" })),
      task(accumulate, accumulateSpec({ size })),
    ];
    for (const one of tasks) expect(planComplaints(one, limits), `${one.operation.name} of ${size}`).toEqual([]);
  }
});
