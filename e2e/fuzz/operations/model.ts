/** Whole models in training: random transformers, and a step or three of each. */
import {
  adamW,
  attention,
  type AttentionLayerOptions,
  type Batch,
  createTrainer,
  crossEntropy,
  defineModel,
  gelu,
  IGNORED,
  linear,
  loadModel,
  type Loss,
  meanSquaredError,
  type Model,
  multiply,
  type Optimizer,
  parseSafetensors,
  reshape,
  sgd,
  tokenAt,
  toeplitz,
  type Trainer,
  type TrainerOptions,
  transformer,
  type TransformerOptions,
  writeSafetensors,
} from "../../../src/nn.ts";
import { FastRpbError, type Runtime } from "../../../src/index.ts";
import { toFloat64 } from "../../../src/nn/safetensors.ts";
import { normals } from "../../../src/testing/random.ts";
import type { Arrays, Options, TensorPlan } from "../case.ts";
import { norm } from "../data.ts";
import type { Draw } from "../draw-numbers.ts";
import { type Operation, U } from "../operation.ts";

/** A transformer's options, and those of its training, side by side. */
type Drawn = TransformerOptions & {
  readonly batch: number;
  readonly steps: number;
  readonly accumulate?: number;
  readonly recompute?: "layers";
  readonly averageDecay?: number;
  readonly momentum?: number;
  readonly nesterov?: boolean;
  /** Otherwise AdamW. */
  readonly sgd?: boolean;
  readonly clipNorm?: number;
  readonly weightDecay?: number;
  /** Factor on the rate of the weights of relative positions: 0 freezes them. */
  readonly relativeRate?: number;
  readonly labelSmoothing?: number;
  /** A share of the targets that does not count. */
  readonly ignored?: boolean;
  /** Not a transformer, but a Toeplitz product with shared linear layers, and two losses. */
  readonly own?: boolean;
};

const drawnOf = (options: Options) => options as unknown as Drawn;

const TRAINING = ["batch", "steps", "accumulate", "recompute", "averageDecay", "momentum", "nesterov", "sgd", "clipNorm", "weightDecay"] as const;
const MORE = ["relativeRate", "labelSmoothing", "ignored", "own"] as const;

const modelOf = (options: Drawn): Model => (options.own ? ownModel(options) : transformer(transformerOf(options)));

function transformerOf(options: Drawn): TransformerOptions {
  const trained: readonly string[] = [...TRAINING, ...MORE];
  return Object.fromEntries(Object.entries(options).filter(([name]) => !trained.includes(name))) as unknown as TransformerOptions;
}

/** What the layers of a transformer have not: shared weights, products, reshaping, a Toeplitz product alone, several outputs. */
function ownModel({ length, grid, width, heads, feedForward = 5, attention: attended }: Drawn): Model {
  const { biasForm, biasShared, causal = false } = attended;
  return defineModel(
    (build, { inputs }) => {
      let x = linear(inputs!, "embed", { outputs: width });
      x = build.layer("mixed", () =>
        multiply(
          gelu(linear(x, "gate", { outputs: width, bias: false })),
          toeplitz(x, "positions", {
            heads,
            ...(grid ? { grid } : { causal }),
            ...(biasForm && { biasForm }),
            ...(biasShared && { biasShared }),
          }),
        ),
      );
      x = linear(linear(x, "twice", { outputs: width }), "twice", { outputs: width });
      if (length <= 16) x = attention(x, "attention", { ...attended, heads, ...(grid && { grid }) });
      const features = reshape(tokenAt(x, -1), [width, 1]);
      return { out: linear(tokenAt(x, 0), "classes", { outputs: feedForward }), features: reshape(features, [width]) };
    },
    { inputs: { inputs: { shape: [length, 3] } } },
  );
}

function lossesOf({ own, labelSmoothing }: Drawn): readonly Loss[] {
  const classes = crossEntropy({ ...(labelSmoothing !== undefined && { labelSmoothing }) });
  return own ? [classes, meanSquaredError({ output: "features", targets: "features", weight: 0.5 })] : [classes];
}

function optimizerOf({ sgd: isDescent, momentum, nesterov, clipNorm, weightDecay, relativeRate }: Drawn): Optimizer {
  const shared = {
    rate: isDescent ? 0.1 : 0.3,
    ...(clipNorm !== undefined && { clipNorm }),
    ...(weightDecay !== undefined && { weightDecay }),
    ...(relativeRate !== undefined && { groups: [{ names: ["relative.weight", "embed.weight"], rateFactor: relativeRate, weightDecay: 0 }] }),
  };
  // With ε of the size of roots the update does not magnify what gradients are off by.
  if (!isDescent) return adamW({ ...shared, epsilon: 1 });
  return sgd({ ...shared, ...(momentum !== undefined && { momentum, ...(nesterov && { nesterov }) }) });
}

function trainerOptions(options: Drawn, more: Partial<TrainerOptions>): TrainerOptions {
  const { batch, accumulate, recompute, averageDecay } = options;
  return {
    batch,
    seed: 7,
    loss: lossesOf(options),
    optimizer: optimizerOf(options),
    ...(accumulate !== undefined && { accumulate }),
    ...(recompute && { recompute }),
    ...(averageDecay !== undefined && { averageDecay }),
    ...more,
  };
}

const rowsOf = ({ batch, accumulate = 1 }: Drawn) => batch * accumulate;
/** How many inputs a token has, and what each is below, where it is an index. */
const inputOf = ({ input, own }: Drawn) =>
  own ? { features: 3 } : "tokens" in input ? { features: 1, below: input.tokens } : { features: input.features };
const outputOf = ({ output, length, feedForward = 5, own }: Drawn) =>
  own
    ? { targets: 1, classes: feedForward }
    : "tokens" in output
      ? { targets: length, classes: output.tokens }
      : { targets: 1, classes: output.classes };

/** The batches of all steps: what the runtime takes for each. */
function batchesOf(options: Drawn, data: Arrays, lengths: readonly number[] | undefined): readonly Batch[] {
  const rows = rowsOf(options);
  const { length, width, own, ignored } = options;
  const [input, output] = [inputOf(options), outputOf(options)];
  const part = (name: string, step: number, size: number) => data[name]!.slice(step * size, (step + 1) * size);
  return Array.from({ length: options.steps }, (_, step) => {
    const numbers = part("inputs", step, rows * length * input.features);
    const drawn = part("targets", step, rows * output.targets);
    const second = own ? { features: part("features", step, rows * width) } : {};
    const now = options.variableLengths ? Array.from({ length: rows }, (_, b) => lengths?.[b % lengths.length] ?? length) : undefined;
    const targets = Uint32Array.from(drawn, (x, i) => {
      const [b, n] = [Math.floor(i / output.targets), i % output.targets];
      // Tokens beyond a length are of no use; and one target has to count.
      const counts = i === 0 || !((output.targets > 1 && now && n >= now[b]!) || (ignored && x > 1));
      return counts ? Math.floor(1e4 * Math.abs(x)) % output.classes : IGNORED;
    });
    return {
      inputs: input.below === undefined ? numbers : Uint32Array.from(numbers, (x) => Math.floor(1e4 * Math.abs(x)) % input.below!),
      targets,
      ...second,
      ...(now && { lengths: Uint32Array.from(now) }),
    };
  });
}

/** A file of a training, with weights of relative positions that are not zero, and all numbers off by a share of them. */
function changed(file: Uint8Array, off: number): Uint8Array {
  const { tensors, metadata } = parseSafetensors(file);
  const changed = [...tensors].map(([name, tensor]) => {
    if (/^training\.(?!average\.)/.test(name)) return [name, tensor] as const;
    // Averages start as the parameters they are of.
    const own = name.replace(/^training\.average\./, "");
    const seed = [...own].reduce((sum, letter) => (31 * sum + letter.charCodeAt(0)) | 0, 17);
    const numbers = toFloat64(tensor);
    if (own.endsWith("relative.weight")) numbers.set(normals(seed, numbers.length).map((x) => 0.3 * x));
    const noise = normals(seed ^ 0x1234, numbers.length);
    const moved = numbers.map((x, at) => x * (1 + off * noise[at]!));
    const bytes = tensor.dtype === "F64" ? new Uint8Array(moved.buffer) : new Uint8Array(Float32Array.from(moved).buffer);
    return [name, { ...tensor, bytes }] as const;
  });
  return writeSafetensors(changed, metadata);
}

function expectSame(a: Uint8Array, b: Uint8Array, what: string): void {
  const apart = a.length === b.length ? a.findIndex((byte, i) => byte !== b[i]) : 0;
  if (apart >= 0) throw new Error(`${what}: files of ${a.length} and ${b.length} bytes differ, first at ${apart}`);
}

async function all(model: Model, read: (name: string) => Promise<ArrayLike<number>>): Promise<number[]> {
  const result: number[] = [];
  for (const name of model.parameters.keys()) result.push(...Array.from(await read(name)));
  return result;
}

/** The losses of all steps, the gradients of the first, what parameters moved by, and what the model gave before. */
async function train(runtime: Runtime, options: Drawn, data: Arrays, lengths: readonly number[] | undefined): Promise<Arrays> {
  const model = modelOf(options);
  const batches = batchesOf(options, data, lengths);
  const within = async <T>(more: Partial<TrainerOptions>, work: (trainer: Trainer) => Promise<T>) => {
    const trainer = await createTrainer(runtime, model, trainerOptions(options, more));
    try {
      return await work(trainer);
    } finally {
      trainer.dispose();
    }
  };
  const start = changed(await within({}, (trainer) => trainer.save()), data["off"]![0]!);
  const first = await within({ resume: start }, async (trainer) => {
    const before = await all(model, (name) => trainer.parameter(name));
    const losses = [trainer.step(batches[0]!).loss];
    const gradients = await all(model, (name) => trainer.gradient(name));
    const middle = await trainer.save();
    for (const batch of batches.slice(1)) losses.push(trainer.step(batch).loss);
    const values = await Promise.all(losses.map((loss) => loss.value()));
    const after = await all(model, (name) => trainer.parameter(name));
    return { middle, end: await trainer.save(), losses: values, gradients, moved: after.map((x, i) => x - before[i]!) };
  });
  const again = (resume: Uint8Array, from: number) =>
    within({ resume }, async (trainer) => {
      for (const batch of batches.slice(from)) trainer.step(batch);
      return trainer.save();
    });
  expectSame(first.end, await again(start, 0), "the same steps twice");
  expectSame(first.end, await again(first.middle, 1), "stopped after the first step and resumed");
  const net = await loadModel(runtime, start, { batch: options.batch, ...(options.own && { model }) });
  try {
    const given = Object.fromEntries(
      Object.entries(batches[0]!).flatMap(([name, numbers]) =>
        name in model.inputs ? [[name, (numbers as Float32Array).slice(0, (numbers as Float32Array).length / (options.accumulate ?? 1))]] : [],
      ),
    );
    const outputs = net.runAll(given);
    const numbers = await Promise.all(Object.values(outputs).map((tensor) => tensor.data()));
    for (const tensor of Object.values(outputs)) tensor.dispose();
    return {
      losses: Float32Array.from(first.losses),
      gradients: Float32Array.from(first.gradients),
      moved: Float32Array.from(first.moved),
      outputs: Float32Array.from(numbers.flatMap((each) => Array.from(each))),
    };
  } finally {
    net.dispose();
  }
}

const plain = (shape: readonly number[]): TensorPlan => ({ shape, dtype: "f32", kinds: { normal: 1 } });

function draw(numbers: Draw): Options {
  const grid = numbers.chance(0.3) ? ([numbers.int(1, 6), numbers.int(1, 6)] as const) : undefined;
  const length = grid ? grid[0] * grid[1] : numbers.size(40);
  const heads = numbers.int(1, 3);
  const width = heads * numbers.int(1, 7);
  const attention = drawAttention(numbers, grid, length, width / heads);
  const isSequence = numbers.chance(0.4);
  const momentum = numbers.chance(0.6);
  const variableLengths = !grid && numbers.chance(0.3) && attention.bias !== "multiplicative" && !("outside" in attention);
  return {
    input: numbers.chance(0.5) ? { tokens: numbers.size(30) } : { features: numbers.size(6) },
    length,
    ...(grid && { grid }),
    layers: numbers.int(1, 2),
    width,
    heads,
    feedForward: numbers.size(24),
    attention,
    positions: numbers.pick(["none", "sinusoidal", "learned"]),
    norm: numbers.pick(["pre", "post"]),
    normKind: numbers.pick(["layer", "rms"]),
    activation: numbers.pick(["gelu", "gelu-tanh", "relu"]),
    ...(numbers.chance(0.3) && { dropout: numbers.pick([0.1, 0.5]) }),
    output: isSequence ? { tokens: numbers.size(20) } : { classes: numbers.size(20), pool: numbers.pick(["mean", "first", "last"]) },
    ...(variableLengths && { variableLengths }),
    batch: numbers.int(1, 3),
    steps: numbers.int(1, 3),
    ...(numbers.chance(0.3) && { accumulate: numbers.int(1, 3) }),
    ...(numbers.chance(0.4) && { recompute: "layers" }),
    ...(numbers.chance(0.3) && { averageDecay: numbers.pick([0, 0.5, 0.99]) }),
    ...(numbers.chance(0.5) && { sgd: true, ...(momentum && { momentum: 0.9, ...(numbers.chance(0.5) && { nesterov: true }) }) }),
    ...(numbers.chance(0.4) && { clipNorm: numbers.pick([0.1, 1, 100]) }),
    ...(numbers.chance(0.4) && { weightDecay: numbers.pick([0, 0.1]) }),
    ...(numbers.chance(0.4) && { relativeRate: numbers.pick([0, 3]) }),
    ...(numbers.chance(0.4) && { labelSmoothing: numbers.pick([0.1, 1]) }),
    ...(numbers.chance(0.3) && { ignored: true }),
    ...(numbers.chance(0.15) && !variableLengths && !("outside" in attention) && { own: true }),
  } satisfies Drawn as unknown as Options;
}

function drawAttention(
  numbers: Draw,
  grid: readonly [number, number] | undefined,
  length: number,
  headDim: number,
): Omit<AttentionLayerOptions, "heads" | "grid" | "lengths"> {
  const isLinear = numbers.chance(0.75);
  const featureMap = isLinear ? numbers.pick(["sikf", "sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"]) : undefined;
  const bias = numbers.pick<NonNullable<AttentionLayerOptions["bias"]>>([
    "none",
    "fastrpb",
    "fastrpb",
    featureMap === "softmax" ? "none" : isLinear ? "multiplicative" : "logits",
  ]);
  const isSquare = grid !== undefined && grid[0] === grid[1];
  const forms = grid ? (["full", "symmetric", "separable", "manhattan"] as const) : (["full", "symmetric"] as const);
  const hasForm = bias === "fastrpb" && numbers.chance(0.5);
  const biasForm = numbers.pick(forms);
  const outside = bias === "fastrpb" && !grid && length > 3 && numbers.chance(0.2);
  return {
    ...(isLinear ? { featureMap: featureMap! } : { kind: "softmax" }),
    ...(featureMap === "favor+" && { randomFeatures: { count: numbers.int(1, 6), seed: 3 } }),
    ...(featureMap === "dpfp" && headDim > 1 && { nu: 2 }),
    ...(!isLinear && !grid && numbers.chance(0.3) && { window: numbers.int(1, 9) }),
    ...(!grid && numbers.chance(0.4) && { causal: true }),
    ...(bias !== "none" && { bias }),
    ...(hasForm && { biasForm, ...(biasForm === "separable" && isSquare && numbers.chance(0.5) && { biasShared: true }) }),
    ...(outside && { outside: { first: 1 } }),
    ...(numbers.chance(0.2) && { valueDim: numbers.int(1, 6) }),
    ...(numbers.chance(0.2) && { headDim: numbers.int(2, 6) }),
    ...(numbers.chance(0.2) && { linearBias: false }),
  };
}

export const modelOperation: Operation = {
  share: 2,
  draw,
  tensors(options) {
    const drawn = drawnOf(options);
    const model = modelOf(drawn);
    const { length, width, steps, own } = drawn;
    const rows = rowsOf(drawn) * steps;
    const parameters = [...model.parameters.values()].reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
    const outputs = Object.values(model.outputs).reduce((sum, shape) => sum + drawn.batch * shape.reduce((product, size) => product * size, 1), 0);
    return {
      inputs: {
        inputs: plain([rows, length, inputOf(drawn).features]),
        targets: plain([rows, outputOf(drawn).targets]),
        ...(own && { features: plain([rows, width]) }),
        // How far parameters are moved, relative to their size, to find out what roundings come to.
        off: { shape: [1], dtype: "f32", kinds: { normal: 0 } },
      },
      outputs: {
        losses: { shape: [steps], dtype: "f32" },
        gradients: { shape: [parameters], dtype: "f32" },
        moved: { shape: [parameters], dtype: "f32" },
        outputs: { shape: [outputs], dtype: "f32" },
      },
    };
  },
  flags: () => [],
  drawLengths(numbers, options) {
    const drawn = drawnOf(options);
    return drawn.variableLengths ? Array.from({ length: drawn.batch }, () => numbers.int(0, drawn.length)) : undefined;
  },
  async open(runtime, options) {
    const drawn = drawnOf(options);
    const model = modelOf(drawn);
    // What a device is too small for is refused here, and nothing later on.
    (await createTrainer(runtime, model, trainerOptions(drawn, {}))).dispose();
    return {
      run: () => [],
      async perform(data, lengths) {
        try {
          return await train(runtime, drawn, data, lengths);
        } catch (error) {
          throw error instanceof FastRpbError && error.code !== "limit" ? new Error(error.message, { cause: error }) : error;
        }
      },
      dispose: () => {},
    };
  },
  /**
   * Some tens of operations round, each about as parameters do that are off by half a unit. How much of that comes out is a matter of the model: the
   * gradients of ReLU features go as 1 / x. So all parameters are moved at random by four such units one way and the other, and the changes are taken
   * four times: of the size of what some tens of layers of roundings come to. Besides, 1e-5, the bound for gradients of whole models, and
   * for losses that are 0 some roundings of the logits.
   */
  async bounds({ data, expected, reference }) {
    const nearby = await Promise.all([4, -4].map((units) => reference({ ...data, off: Float32Array.of(units * U) })));
    return Object.fromEntries(
      Object.entries(expected).map(([name, exact]) => {
        const change = nearby.reduce((sum, other) => sum + norm(exact.map((x, i) => x - other[name]![i]!)), 0);
        return [name, 1e-5 * norm(exact) + 4 * change + 1e-6];
      }),
    );
  },
};
