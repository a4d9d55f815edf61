/** Models in training on the GPU: against plain PyTorch, the same bits from the same seed, and what goes wrong. */
import {
  type Batch,
  createTrainer,
  crossEntropy,
  adamW,
  loadModel,
  transformer,
  type TrainerOptions,
  type TransformerOptions,
} from "../../src/nn.ts";
import type { Parameter } from "../../src/nn/recorder.ts";
import { FastRpbError, type Runtime } from "../../src/index.ts";
import { modelFixtures, type ModelFixture, trainerOf } from "../../src/testing/nn-models.ts";
import { random } from "../../src/testing/random.ts";
import fixtures from "../../src/testing/fixtures/nn-models.json" with { type: "json" };
import { check, type Case, checkRefused, relativeL2, type Suite } from "./case.ts";

const { models } = modelFixtures(JSON.stringify(fixtures));
/** Bounds of DESIGN for whole models on a GPU. */
const GRADIENT = 1e-5;
const LOSS = 1e-3;

const SIZES = { length: 16, grid: [4, 4], layers: 2, width: 12, heads: 2, feedForward: 16 } as const;
const SMALL: TransformerOptions = {
  ...SIZES,
  input: { tokens: 9 },
  attention: { featureMap: "sikf", bias: "fastrpb" },
  output: { classes: 3 },
  dropout: 0.1,
};
const OPTIONS = { batch: 4, seed: 5, loss: crossEntropy({ labelSmoothing: 0.1 }), optimizer: adamW({ rate: 3e-3, clipNorm: 1 }) } as const;

/** Sequences whose class is told by how often each token comes. */
function batchOf(seed: number, rows: number = OPTIONS.batch, length = SIZES.length): Batch {
  const draw = random(seed);
  const inputs = Uint32Array.from({ length: rows * length }, () => Math.floor(9 * draw()));
  const targets = Uint32Array.from({ length: rows }, (_, b) => inputs.slice(b * length, (b + 1) * length).filter((token) => token < 3).length % 3);
  return { inputs, targets };
}

/** The bits of all parameters. */
async function bitsOf(trainer: { save(): Promise<Uint8Array> }): Promise<string> {
  const bytes = await trainer.save();
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return `${bytes.length} bytes, ${hash}`;
}

async function withTrainer<T>(
  runtime: Runtime,
  options: Partial<TrainerOptions>,
  work: (trainer: Awaited<ReturnType<typeof createTrainer>>) => Promise<T>,
  model = transformer(SMALL),
): Promise<T> {
  const trainer = await createTrainer(runtime, model, { ...OPTIONS, ...options });
  try {
    return await work(trainer);
  } finally {
    trainer.dispose();
  }
}

function fixtureCase(fixture: ModelFixture, sample: boolean): Case {
  return {
    name: `${fixture.name}: gradients and losses as in PyTorch`,
    sample,
    run: async (context) => {
      const runtime = await context.runtime;
      const { trainer, model, batchAt } = await trainerOf(runtime, fixture);
      try {
        const losses = [trainer.step(batchAt(1)).loss];
        const all = Math.sqrt(Object.values(fixture.gradients).reduce((sum, each) => sum + each.reduce((own, value) => own + value * value, 0), 0));
        for (const name of model.parameters.keys()) {
          const expected = fixture.gradients[name]!;
          const gradient = await trainer.gradient(name);
          const norm = Math.sqrt(expected.reduce((sum, value) => sum + value * value, 0));
          // Where a gradient is zero but for rounding, it is measured by that of all.
          const error = norm > 1e-6 * all ? relativeL2(gradient, expected) : Math.hypot(...gradient.map((value, i) => value - expected[i]!)) / all;
          check(error <= GRADIENT, `${fixture.name}: the gradient of ${name} is off by ${error}`);
        }
        for (let step = 2; step <= fixture.losses.length; step++) losses.push(trainer.step(batchAt(step)).loss);
        for (const [i, loss] of losses.entries()) {
          const off = Math.abs((await loss.value()) - fixture.losses[i]!);
          check(off <= LOSS, `${fixture.name}: the loss of step ${i + 1} is off by ${off}`);
        }
      } finally {
        trainer.dispose();
      }
    },
  };
}

export const modelSuite: Suite = {
  name: "models",
  engineFree: "models are graphs of operations, each of which has cases of its own",
  cases: [
    ...models.map((fixture, i) => fixtureCase(fixture, i === 0)),
    {
      name: "the same seed gives the same bits, stopped and resumed or not, with dropout",
      run: async (context) => {
        const runtime = await context.runtime;
        const run = (from: number, to: number, options: Partial<TrainerOptions> = {}) =>
          withTrainer(runtime, options, async (trainer) => {
            for (let step = from; step < to; step++) trainer.step(batchOf(step));
            return { bits: await bitsOf(trainer), file: await trainer.save() };
          });
        const whole = await run(0, 200);
        check((await run(0, 200)).bits === whole.bits, "twice from the same seed");
        const half = await run(0, 100);
        check(half.bits !== whole.bits, "100 steps more change nothing");
        check((await run(100, 200, { resume: half.file })).bits === whole.bits, "stopped at 100 and resumed");
        check((await run(0, 100, { seed: 6 })).bits !== half.bits, "another seed");
      },
    },
    {
      name: "a step is one encoder and one submit, holds no more memory than the one before, and learns",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        await withTrainer(runtime, {}, async (trainer) => {
          const first = await trainer.step(batchOf(0)).loss.value();
          const device = runtime.device!;
          const calls = { createCommandEncoder: 0, submit: 0 };
          const { createCommandEncoder } = device;
          const { submit } = device.queue;
          device.createCommandEncoder = (...args) => (calls.createCommandEncoder++, createCommandEncoder.apply(device, args));
          device.queue.submit = (...args) => (calls.submit++, submit.apply(device.queue, args));
          const before = runtime.memory();
          for (let step = 1; step <= 60; step++) trainer.step(batchOf(step % 4));
          const after = runtime.memory();
          device.createCommandEncoder = createCommandEncoder;
          device.queue.submit = submit;
          check(calls.createCommandEncoder === 60 && calls.submit === 60, `${JSON.stringify(calls)} for 60 steps`);
          check(after.buffers === before.buffers && after.liveBytes === before.liveBytes, `${before.buffers} buffers, then ${after.buffers}`);
          const { loss, accuracy } = await trainer.evaluate([0, 1, 2, 3].map((seed) => batchOf(seed)));
          check(loss < 0.8 * first, `the loss went from ${first} to ${loss}, accuracy ${accuracy}`);
        });
      },
    },
    {
      name: "profiled steps and runs are steps and runs, with a time for each dispatch",
      run: async (context) => {
        const runtime = await context.runtime;
        const both = await Promise.all(
          [false, true].map((profiled) =>
            withTrainer(runtime, {}, async (trainer) => {
              for (let step = 0; step < 3; step++) {
                if (!profiled) trainer.step(batchOf(step));
                else {
                  const { output, dispatches } = await trainer.profile(batchOf(step));
                  check(output.step === step + 1, `step ${output.step}`);
                  const labels = (list: readonly { readonly label: string }[]) => list.map(({ label }) => label).join();
                  check(labels(dispatches) === labels(trainer.dispatches), "the dispatches of a step");
                }
              }
              return { bits: await bitsOf(trainer), file: await trainer.save() };
            }),
          ),
        );
        check(both[0]!.bits === both[1]!.bits, "other bits");
        const net = await loadModel(runtime, both[0]!.file, { batch: OPTIONS.batch });
        const inputs = batchOf(0)["inputs"]!;
        const [out, profile] = [net.run({ inputs }), await net.profile({ inputs })];
        check(profile.dispatches.length === net.dispatches.length, `${profile.dispatches.length} dispatches`);
        const [expected, found] = await Promise.all([out.data(), profile.output["out"]!.data()]);
        check(expected.join() === found.join(), "another output");
        for (const tensor of [out, profile.output["out"]!]) tensor.dispose();
        net.dispose();
      },
    },
    {
      name: "layers that are computed again give the same bits, in less memory",
      run: async (context) => {
        const runtime = await context.runtime;
        const model = transformer({ ...SMALL, layers: 6 });
        const run = (recompute: "none" | "layers") =>
          withTrainer(
            runtime,
            { recompute },
            async (trainer) => {
              for (let step = 0; step < 5; step++) trainer.step(batchOf(step));
              return { bits: await bitsOf(trainer), bytes: trainer.cost.workspaceBytes };
            },
            model,
          );
        const [kept, again] = [await run("none"), await run("layers")];
        check(kept.bits === again.bits, "the bits differ");
        check(again.bytes < kept.bytes, `${again.bytes} bytes, ${kept.bytes} where all is kept`);
      },
    },
    {
      name: "gradients of several batches add up to that of one",
      run: async (context) => {
        const runtime = await context.runtime;
        const model = transformer({ ...SMALL, dropout: 0 });
        const batch = batchOf(1, 8);
        const gradientOf = (options: Partial<TrainerOptions>) =>
          withTrainer(
            runtime,
            options,
            async (trainer) => {
              const { loss, accuracy } = trainer.step(batch);
              return {
                loss: await loss.value(),
                accuracy: await accuracy.value(),
                gradient: await trainer.gradient("layers.0.attention.q.weight"),
                head: await trainer.gradient("head.weight"),
              };
            },
            model,
          );
        const [whole, parts] = [await gradientOf({ batch: 8 }), await gradientOf({ batch: 2, accumulate: 4 })];
        check(Math.abs(whole.loss - parts.loss) < 1e-6, `losses ${whole.loss}, ${parts.loss}`);
        check(whole.accuracy === parts.accuracy, `accuracies ${whole.accuracy}, ${parts.accuracy}`);
        for (const name of ["gradient", "head"] as const) {
          const error = relativeL2(parts[name], whole[name]);
          check(error < GRADIENT, `${name} is off by ${error}`);
        }
      },
    },
    {
      name: "a number that is not finite is told by step and place, and changes no parameter",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        const model = transformer({ ...SMALL, input: { features: 2 }, dropout: 0 });
        const inputs = Float32Array.from({ length: 4 * SIZES.length * 2 }, (_, i) => Math.sin(i));
        await withTrainer(
          runtime,
          {},
          async (trainer) => {
            const targets = [0, 1, 2, 0];
            await trainer.step({ inputs, targets }).loss.value();
            const before = await trainer.parameter("layers.0.norm1.weight");
            const bad = inputs.slice();
            bad[5] = NaN;
            const failed = trainer.step({ inputs: bad, targets });
            trainer.step({ inputs, targets });
            await checkRefused(() => failed.loss.value(), "value", "step 2", "input inputs");
            const after = await trainer.parameter("layers.0.norm1.weight");
            check(
              before.every((value, i) => value === after[i]),
              "parameters changed",
            );
          },
          model,
        );
      },
    },
    {
      name: "after a lost device training goes on from the last copy, with the same bits as without a loss",
      run: async (context) => {
        const whole = await withTrainer(await context.runtime, {}, async (trainer) => {
          for (let step = 0; step < 8; step++) trainer.step(batchOf(step));
          return bitsOf(trainer);
        });
        const runtime = await context.open();
        try {
          await withTrainer(runtime, { checkpointSteps: 5 }, async (trainer) => {
            for (let step = 0; step < 7; step++) await trainer.step(batchOf(step)).loss.value();
            await trainer.parameter("head.weight"); // the copy of step 5 was read before
            runtime.device!.destroy();
            await runtime.lost;
            await checkRefused(async () => trainer.step(batchOf(7)), "lost");
            const from = await trainer.restore();
            check(from === 5 && trainer.stepCount === 5, `it goes on from step ${from}`);
            for (let step = 5; step < 8; step++) trainer.step(batchOf(step));
            check((await bitsOf(trainer)) === whole, "the bits differ");
          });
        } finally {
          runtime.dispose();
        }
      },
    },
    {
      name: "what does not fit is refused, with the batch that would",
      run: async (context) => {
        const runtime = await context.open({ workspaceBytes: 2 ** 20 });
        try {
          const error = await createTrainer(runtime, transformer({ ...SMALL, dropout: 0 }), { ...OPTIONS, batch: 4000 }).then(
            () => undefined,
            (reason: unknown) => reason,
          );
          check(error instanceof FastRpbError && error.code === "limit", `expected a limit, got ${String(error)}`);
          const fitting = Number(/A batch of (\d+) would fit/.exec((error as FastRpbError).message)?.[1]);
          check(fitting >= 1 && fitting < 4000, (error as FastRpbError).message);
          (await createTrainer(runtime, transformer({ ...SMALL, dropout: 0 }), { ...OPTIONS, batch: fitting })).dispose();
        } finally {
          runtime.dispose();
        }
      },
    },
    {
      name: "writes on as the whole sequence says",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        const length = 150;
        const model = transformer({
          input: { tokens: 7 },
          output: { tokens: 7 },
          length,
          layers: 2,
          width: 8,
          heads: 2,
          attention: { featureMap: "sikf", bias: "fastrpb", causal: true },
          positions: "learned",
        });
        for (const [name, parameter] of model.parameters) {
          if (name.endsWith("relative.weight")) {
            (model.parameters as Map<string, Parameter>).set(name, { ...parameter, initial: { kind: "normal", scale: 0.3 } });
          }
        }
        const file = await withTrainer(runtime, { batch: 1 }, (trainer) => trainer.save(), model);
        const net = await loadModel(runtime, file);
        try {
          const prompt = [1, 2, 3];
          const written: number[] = [];
          for await (const token of net.generate(prompt, { tokens: 140, temperature: 0 })) written.push(token);
          const all = [...prompt, ...written];
          const logits = await net.run({ inputs: [...all, ...Array.from({ length: length - all.length }, () => 0)] }).data();
          for (const [i, token] of written.entries()) {
            const own = logits.slice((prompt.length + i - 1) * 7, (prompt.length + i) * 7);
            check(Math.max(...own) - own[token]! < 1e-5, `token ${i}: ${own[token]} where ${Math.max(...own)} is the largest`);
          }
        } finally {
          net.dispose();
        }
      },
    },
  ],
};
