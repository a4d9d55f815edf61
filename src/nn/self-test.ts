/** Models for the self-test: a step of each has all kernels of models. */
import { Runtime } from "../runtime/runtime.ts";
import type { SelfTestCase } from "../runtime/self-test.ts";
import type { Batch } from "./feed.ts";
import { crossEntropy } from "./losses.ts";
import { adamW, sgd, type Optimizer } from "./optimizers.ts";
import { createTrainer } from "./trainer.ts";
import { transformer, type TransformerOptions } from "./transformer.ts";

/** Bound of DESIGN for the gradients of whole models. */
const BOUND = 1e-5;
const BATCH = 3;
const SIZES = { length: 20, layers: 1, width: 12, heads: 3, feedForward: 20 } as const;

interface ModelCase {
  readonly name: string;
  readonly options: TransformerOptions;
  readonly optimizer: Optimizer;
  readonly batch: Batch;
}

const words = (length: number, below: number) => Uint32Array.from({ length }, (_, i) => (7 * i + (i % 5)) % below);

const MODELS: readonly ModelCase[] = [
  {
    name: "a step of a transformer of tokens on a grid",
    options: {
      ...SIZES,
      grid: [4, 5],
      input: { tokens: 11 },
      attention: { featureMap: "sikf", bias: "fastrpb" },
      positions: "learned",
      dropout: 0.1,
      output: { classes: 4 },
    },
    optimizer: adamW({ rate: 10, clipNorm: 1, epsilon: 1 }),
    batch: { inputs: words(BATCH * SIZES.length, 11), targets: words(BATCH, 4) },
  },
  {
    name: "a step of a causal transformer of vectors",
    options: {
      ...SIZES,
      input: { features: 2 },
      attention: { featureMap: "elu+1", causal: true },
      norm: "post",
      normKind: "rms",
      activation: "relu",
      output: { tokens: 5 },
    },
    optimizer: sgd({ rate: 0.5, momentum: 0.9 }),
    batch: { inputs: Float32Array.from({ length: 2 * BATCH * SIZES.length }, (_, i) => Math.sin(i * i)), targets: words(BATCH * SIZES.length, 5) },
  },
];

/** All parameters after two steps, less what they were before. */
export const MODEL_CASES: readonly SelfTestCase[] = MODELS.map(({ name, options, optimizer, batch }) => ({
  name,
  bound: BOUND,
  async run(runtime) {
    if (!(runtime instanceof Runtime)) throw new TypeError("self-test: not a runtime");
    const model = transformer(options);
    const trainer = await createTrainer(runtime, model, { batch: BATCH, seed: 1, loss: crossEntropy({ labelSmoothing: 0.1 }), optimizer });
    try {
      const read = () => Promise.all([...model.parameters.keys()].map((parameter) => trainer.parameter(parameter)));
      const before = await read();
      for (let step = 0; step < 2; step++) trainer.step(batch);
      const moved = (await read()).flatMap((after, i) => Array.from(after, (value, at) => value - before[i]![at]!));
      return runtime.tensor(Float32Array.from(moved), [moved.length]);
    } finally {
      trainer.dispose();
    }
  },
}));
