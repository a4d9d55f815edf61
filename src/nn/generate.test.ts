/** Tokens one by one against whole sequences, on the CPU; and what is drawn. The GPU: e2e/cases/nn-models.ts. */
import { describe, expect, test } from "vitest";
import { createRuntime } from "../index.ts";
import { adamW, createTrainer, crossEntropy, loadModel, transformer, type TransformerOptions } from "../nn.ts";
import type { Parameter } from "./recorder.ts";
import { sample } from "./generate.ts";

const LENGTH = 200;
const BASE = { input: { tokens: 11 }, length: LENGTH, layers: 2, width: 8, heads: 2, feedForward: 12, output: { tokens: 11 } } as const;
const CASES: Readonly<Record<string, Partial<TransformerOptions> & Pick<TransformerOptions, "attention">>> = {
  "SIKF with FastRPB": { attention: { featureMap: "sikf", bias: "fastrpb", causal: true } },
  "elu+1, learned positions": { attention: { featureMap: "elu+1", causal: true }, positions: "learned" },
  "ReLU, sinusoids, after": { attention: { featureMap: "relu", causal: true }, positions: "sinusoidal", norm: "post" },
  softmax: { attention: { kind: "softmax", causal: true } },
};

describe("writes on as the whole sequence says", () => {
  test.each(Object.entries(CASES))("%s", async (_, options) => {
    const runtime = await createRuntime({ backend: "cpu" });
    const model = transformer({ ...BASE, ...options });
    for (const [name, parameter] of model.parameters) {
      if (name.endsWith("relative.weight"))
        (model.parameters as Map<string, Parameter>).set(name, { ...parameter, initial: { kind: "normal", scale: 0.3 } });
    }
    const trainer = await createTrainer(runtime, model, { batch: 1, seed: 3, loss: crossEntropy(), optimizer: adamW({ rate: 0.1 }) });
    const net = await loadModel(runtime, await trainer.save());
    const prompt = [1, 5, 2];
    const written: number[] = [];
    for await (const token of net.generate(prompt, { tokens: 150, temperature: 0 })) written.push(token);
    expect(written).toHaveLength(150);
    const all = [...prompt, ...written];
    const logits = await net.run({ inputs: [...all, ...Array.from({ length: LENGTH - all.length }, () => 0)] }).data();
    for (const [i, token] of written.entries()) {
      const own = Array.from(logits.slice((prompt.length + i - 1) * 11, (prompt.length + i) * 11));
      expect(own[token], `token ${i}`).toBeCloseTo(Math.max(...own), 5);
    }
    runtime.dispose();
  });
});

describe("what is drawn", () => {
  const logits = Float32Array.of(1, 3, 2, 0);
  const all = { temperature: 1, topK: 4, topP: 1 };
  test("goes by shares, likeliest first", () => {
    const weights = [3, 2, 1, 0].map(Math.exp);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    expect(sample(logits, all, 0)).toBe(1);
    expect(sample(logits, all, (weights[0]! + 0.01) / total)).toBe(2);
    expect(sample(logits, all, 0.9999)).toBe(3);
  });
  test("leaves out what is not among the likeliest", () => {
    expect(sample(logits, { ...all, topK: 2 }, 0.9999)).toBe(2);
    expect(sample(logits, { ...all, topP: 0.5 }, 0.9999)).toBe(1);
    expect(sample(logits, { ...all, temperature: 0 }, 0.9999)).toBe(1);
  });
});
