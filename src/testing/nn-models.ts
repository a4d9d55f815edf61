/** Whole models as plain PyTorch trains them: fixtures of scripts/nn-fixtures/models.py, and trainers that start from the same numbers. */
import type { Batch } from "../nn/feed.ts";
import { crossEntropy } from "../nn/losses.ts";
import type { Model } from "../nn/model.ts";
import { adamW } from "../nn/optimizers.ts";
import type { Parameter } from "../nn/recorder.ts";
import { warmupCosine } from "../nn/schedules.ts";
import { createTrainer, type Trainer } from "../nn/trainer.ts";
import { transformer, type TransformerOptions } from "../nn/transformer.ts";
import type { Runtime } from "../runtime/runtime.ts";

/** One of the models: its gradients and logits are of the first batch, and step t takes batch (t − 1) mod batches. */
export interface ModelFixture {
  readonly name: string;
  readonly description: TransformerOptions;
  readonly seed: number;
  /** Weights of relative positions start normal with this deviation, so that gradients through them are not those at zero. */
  readonly relativeDeviation: number;
  readonly batch: number;
  readonly batches: number;
  readonly inputs: readonly number[];
  readonly targets: readonly number[];
  readonly labelSmoothing: number;
  readonly logits: readonly number[];
  readonly loss: number;
  readonly gradients: Readonly<Record<string, readonly number[]>>;
  readonly training: {
    readonly rate: number;
    readonly warmup: number;
    readonly steps: number;
    readonly betas: readonly [number, number];
    readonly epsilon: number;
    readonly weightDecay: number;
    readonly clipNorm?: number;
  };
  readonly losses: readonly number[];
}

export function modelFixtures(text: string): { readonly models: readonly ModelFixture[] } {
  return JSON.parse(text) as { readonly models: readonly ModelFixture[] };
}

/** A model of a fixture, whose weights of relative positions start as the fixture says. */
export function modelOf({ description, relativeDeviation }: ModelFixture): Model {
  const model = transformer(description);
  const parameters = model.parameters as Map<string, Parameter>;
  for (const [name, parameter] of parameters) {
    if (name.endsWith("relative.weight")) parameters.set(name, { ...parameter, initial: { kind: "normal", scale: relativeDeviation } });
  }
  return model;
}

/** A trainer of a fixture, and the batch of a step. */
export async function trainerOf(
  runtime: Runtime,
  fixture: ModelFixture,
): Promise<{ readonly trainer: Trainer; readonly model: Model; readonly batchAt: (step: number) => Batch }> {
  const { batch, batches, inputs, targets, labelSmoothing, seed, training } = fixture;
  const { rate, warmup, steps, clipNorm, ...rest } = training;
  const model = modelOf(fixture);
  const trainer = await createTrainer(runtime, model, {
    batch,
    seed,
    loss: crossEntropy({ labelSmoothing }),
    optimizer: adamW({ ...rest, rate: warmupCosine(rate, warmup, steps), ...(clipNorm !== undefined && { clipNorm }) }),
  });
  const part = (all: readonly number[], step: number) => {
    const size = all.length / batches;
    const first = ((step - 1) % batches) * size;
    return all.slice(first, first + size);
  };
  return { trainer, model, batchAt: (step) => ({ inputs: part(inputs, step), targets: part(targets, step) }) };
}
