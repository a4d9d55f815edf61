/** Means over tokens: float64 against PyTorch, gradients, and plans. On WebGPU: e2e/cases/nn-mean-over-tokens.ts. */
import { describe, expect, test } from "vitest";
import fixtures from "../../testing/fixtures/nn-mean-over-tokens.json" with { type: "json" };
import { runNodes, runTask, slopeErrors, type WideValues } from "../../testing/nodes.ts";
import { DESKTOP_LIMITS, LIMIT_SETS } from "../../testing/planning.ts";
import { planComplaints } from "../../testing/programs.ts";
import { relativeL2 } from "../../testing/random.ts";
import { planProgram, task } from "../operation.ts";
import { meanOverTokens, meanOverTokensGradient } from "./operation.ts";
import { meanOverTokensGradientSpec, meanOverTokensSpec } from "./spec.ts";

describe.each(fixtures)("$spec $lengths", ({ spec, lengths, x, dOut, out, dX }) => {
  const one = task(meanOverTokens, meanOverTokensSpec(spec));
  const given: WideValues = { x: Float64Array.from(x), ...(spec.variableLengths && { lengths: Uint32Array.from(lengths) }) };

  test("and its gradient as PyTorch has them", async () => {
    const forward = await runTask(one, given);
    expect(relativeL2(forward["out"]!, out)).toBeLessThan(1e-12);
    const { nodes } = one.operation.backward!(one.spec, ["x"]);
    const all = await runNodes(nodes, { ...forward, dOut: Float64Array.from(dOut) });
    expect(relativeL2(all["dX"]!, dX)).toBeLessThan(1e-12);
  });

  test("has the slopes that it has", async () => {
    expect((await slopeErrors(one, given, ["x"]))["x"]).toBeLessThan(1e-8);
  });
});

describe("plans", () => {
  const tasksOf = (batch: number, length: number, width: number, variableLengths: boolean) => [
    task(meanOverTokens, meanOverTokensSpec({ batch, length, width, variableLengths })),
    task(meanOverTokensGradient, meanOverTokensGradientSpec({ batch, length, width, variableLengths })),
  ];

  test.each(Object.entries(LIMIT_SETS))("on the device %s are sound, or refused by the name of a limit", (_name, limits) => {
    for (const variableLengths of [false, true]) {
      for (const [batch, length, width] of [
        [1, 1, 1],
        [3, 5001, 65],
        [70, 784, 64],
      ] as const) {
        for (const one of tasksOf(batch, length, width, variableLengths)) {
          expect(planComplaints(one, limits), `${one.operation.name}, ${batch} × ${length} × ${width}`).toEqual([]);
        }
      }
    }
  });

  test("split the tokens of a few sequences, not those of many", () => {
    const dispatches = (batch: number, length: number) => planProgram("test", tasksOf(batch, length, 128, true)[0]!, DESKTOP_LIMITS).cost.dispatches;
    expect(dispatches(2, 8192)).toBe(2);
    expect(dispatches(2000, 784)).toBe(1);
  });
});
