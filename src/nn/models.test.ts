/** Whole models on the CPU backend, in float64, against plain PyTorch: python/fastrpb, by scripts/nn-fixtures/models.py. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { createRuntime } from "../index.ts";
import { relativeL2 } from "../testing/random.ts";
import { modelFixtures, trainerOf } from "../testing/nn-models.ts";

const { models } = modelFixtures(readFileSync(new URL("../testing/fixtures/nn-models.json", import.meta.url), "utf8"));

describe("models of two layers, against PyTorch in float64", () => {
  test.each(models.map((model) => [model.name, model] as const))("%s: gradients, and losses of 100 steps", async (_, fixture) => {
    const runtime = await createRuntime({ backend: "cpu" });
    const { trainer, batchAt, model } = await trainerOf(runtime, fixture);
    const first = trainer.step(batchAt(1));
    expect(Math.abs((await first.loss.value()) - fixture.loss) / fixture.loss).toBeLessThan(1e-12);
    for (const name of model.parameters.keys()) {
      const expected = fixture.gradients[name]!;
      const gradient = await trainer.gradient(name);
      // Of a bias of keys the gradient is zero but for rounding, where attention does not change with it.
      const size = Math.sqrt(expected.reduce((sum, value) => sum + value * value, 0));
      expect(size < 1e-12 ? Math.max(...gradient.map(Math.abs)) : relativeL2(gradient, expected), name).toBeLessThan(1e-10);
    }
    const losses = [await first.loss.value()];
    for (let step = 2; step <= fixture.losses.length; step++) losses.push(await trainer.step(batchAt(step)).loss.value());
    const worst = Math.max(...losses.map((loss, i) => Math.abs(loss - fixture.losses[i]!)));
    expect(worst).toBeLessThan(1e-8);
    runtime.dispose();
  });
});
