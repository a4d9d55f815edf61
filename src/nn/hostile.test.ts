/**
 * Whatever is given to `fastrpb/nn` that it does not take is refused by an error that names the function and the argument, before anything is done. The
 * options are those that the library itself lists when it refuses an unknown one, so that a new one is tested as it comes.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as nn from "../nn.ts";
import { createRuntime, FastRpbError, type Runtime, type Tensor } from "../index.ts";

const MARKER = "evil";
const INJECTION = `1; } @compute @workgroup_size(1) fn ${MARKER}() {`;

/** No option takes any of these, unless the test says so. */
const HOSTILE: readonly (readonly [string, unknown])[] = [
  ["WGSL", INJECTION],
  ["a number as text", "4"],
  ["__proto__", "__proto__"],
  ["empty text", ""],
  ["an object that reads as a number", { [Symbol.toPrimitive]: () => 4 }],
  ["an object with a length", { length: 1, 0: 4 }],
  ["a Number", Object(4)],
  ["a symbol", Symbol(MARKER)],
  ["a bigint", 4n],
  ["a function", () => 4],
  ["a date", new Date(4)],
  ["an empty array", []],
  ["a nested array", [[4]]],
  ["a hole", Array(2)],
  ["NaN", Number.NaN],
  ["infinity", Infinity],
  ["-1", -1],
  ["1.5", 1.5],
  ["2^32", 2 ** 32],
  ["2^53", 2 ** 53],
  ["1e308", 1e308],
];
/** These are refused, or taken: in the place of what may be left out, and for a switch. */
const RARELY: readonly (readonly [string, unknown])[] = [
  ["null", null],
  ["true", true],
  ["false", false],
  ["0", 0],
  ["-0", -0],
  ["2^31", 2 ** 31],
  ["5e-324", 5e-324],
];

type Options = Readonly<Record<string, unknown>>;
type Value = nn.Value;

/** What comes of an attempt: a refusal that is one of the library's, or a result. */
async function outcome<T>(attempt: () => T | Promise<T>, label = ""): Promise<{ readonly error: FastRpbError } | { readonly result: T }> {
  try {
    return { result: await attempt() };
  } catch (error) {
    if (error instanceof FastRpbError) return { error };
    throw new Error(`${label}: no FastRpbError, but ${String(error)}`, { cause: error });
  }
}

async function expectRefused(
  attempt: () => unknown,
  names: readonly (string | RegExp)[],
  label: string,
  codes = /^(value|shape|unavailable|limit)$/,
): Promise<void> {
  const got = await outcome(attempt, label);
  if ("result" in got) throw new Error(`${label}: not refused`);
  expect(got.error.code, label).toMatch(codes);
  for (const name of names) expect(got.error.message, label).toMatch(name);
}

let runtime: Runtime;
let other: Runtime;
beforeAll(async () => {
  [runtime, other] = [await createRuntime({ backend: "cpu" }), await createRuntime({ backend: "cpu" })];
});
afterAll(() => {
  runtime.dispose();
  other.dispose();
});

const TRANSFORMER = {
  input: { tokens: 5 },
  length: 4,
  grid: [2, 2],
  layers: 1,
  width: 4,
  heads: 2,
  feedForward: 3,
  attention: { featureMap: "sikf", bias: "fastrpb" },
  positions: "learned",
  norm: "pre",
  normKind: "layer",
  activation: "relu",
  dropout: 0.1,
  output: { classes: 3, pool: "mean" },
  variableLengths: false,
} as const satisfies nn.TransformerOptions;

const TRAINER = {
  batch: 2,
  loss: nn.crossEntropy(),
  optimizer: nn.adamW({ rate: 0.1 }),
  seed: 1,
  recompute: "none",
  accumulate: 1,
  averageDecay: 0.5,
  checkpointSteps: 2,
} as const satisfies nn.TrainerOptions;

/** Writes a layer within a model, of float32 values [1, 4, 6] and indices [1, 4]. */
function within(write: (x: Value, indices: Value) => Value): nn.Model {
  return nn.defineModel((_, { x, indices }) => write(x, indices), { inputs: { x: { shape: [4, 6] }, indices: { shape: [4], dtype: "u32" } } });
}

/** A function of options, and valid ones that together have all there are. */
interface Factory {
  readonly name: string;
  readonly make: (options: never) => unknown;
  readonly valid: readonly Options[];
  /** Options that hostile values suit, too: `name: values`. */
  readonly takes?: Readonly<Record<string, readonly string[]>>;
}

const SHARED = { rate: 0.1, weightDecay: 0.1, clipNorm: 1, groups: [{ names: ["weight"], rateFactor: 2, weightDecay: 0 }] };
/** Numbers from 0 on that are not integers. */
const AMOUNTS = ["1.5", "2^32", "2^53"];

const FACTORIES: readonly Factory[] = [
  {
    name: "adamW",
    make: (options) => nn.adamW(options),
    valid: [{ ...SHARED, betas: [0.9, 0.99], epsilon: 1e-8 }],
    takes: {
      rate: AMOUNTS,
      weightDecay: AMOUNTS,
      clipNorm: AMOUNTS,
      groups: ["an empty array"],
      "groups.names": ["WGSL", "a number as text", "__proto__"],
      "groups.rateFactor": AMOUNTS,
      "groups.weightDecay": AMOUNTS,
      epsilon: AMOUNTS,
    },
  },
  {
    name: "sgd",
    make: (options) => nn.sgd(options),
    valid: [{ ...SHARED, momentum: 0.9, nesterov: true }],
    takes: {
      rate: AMOUNTS,
      weightDecay: AMOUNTS,
      clipNorm: AMOUNTS,
      groups: ["an empty array"],
      "groups.names": ["WGSL", "a number as text", "__proto__"],
      "groups.rateFactor": AMOUNTS,
      "groups.weightDecay": AMOUNTS,
    },
  },
  {
    name: "crossEntropy",
    make: (options) => nn.crossEntropy(options),
    valid: [{ output: "out", targets: "targets", weight: 2, labelSmoothing: 0.1 }],
    takes: {
      output: ["WGSL", "a number as text", "__proto__"],
      targets: ["WGSL", "a number as text", "__proto__"],
      weight: [...AMOUNTS, "-1"],
    },
  },
  {
    name: "meanSquaredError",
    make: (options) => nn.meanSquaredError(options),
    valid: [{ output: "out", targets: "targets", weight: 2 }],
    takes: {
      output: ["WGSL", "a number as text", "__proto__"],
      targets: ["WGSL", "a number as text", "__proto__"],
      weight: [...AMOUNTS, "-1"],
    },
  },
  {
    name: "linear",
    make: (options) => within((x) => nn.linear(x, "layer", options)),
    valid: [{ outputs: 3, bias: true }],
  },
  { name: "embedding", make: (options) => within((_, indices) => nn.embedding(indices, "layer", options)), valid: [{ count: 3, width: 2 }] },
  { name: "layerNorm", make: (options) => within((x) => nn.layerNorm(x, "layer", options)), valid: [{ epsilon: 1e-5 }], takes: { epsilon: AMOUNTS } },
  { name: "rmsNorm", make: (options) => within((x) => nn.rmsNorm(x, "layer", options)), valid: [{ epsilon: 1e-5 }], takes: { epsilon: AMOUNTS } },
  { name: "gelu", make: (options) => within((x) => nn.gelu(x, options)), valid: [{ approximate: "tanh" }] },
  {
    name: "attention",
    make: (options) => within((x) => nn.attention(x, "layer", options)),
    valid: [
      {
        heads: 2,
        featureMap: "sikf",
        bias: "fastrpb",
        biasForm: "symmetric",
        causal: false,
        biasLength: 5,
        linearBias: false,
        headDim: 2,
        valueDim: 3,
      },
      { heads: 2, kind: "softmax", scale: 1, window: 2, causal: true },
      {
        heads: 2,
        featureMap: "favor+",
        randomFeatures: { count: 3, seed: 2 },
        grid: [2, 2],
        bias: "fastrpb",
        biasForm: "separable",
        biasShared: true,
      },
      { heads: 2, featureMap: "dpfp", nu: 1, bias: "fastrpb", outside: { first: 1, last: 1 } },
    ],
    takes: { scale: AMOUNTS },
  },
  {
    name: "toeplitz",
    make: (options) => within((x) => nn.toeplitz(x, "layer", options)),
    valid: [
      { heads: 2, causal: true, biasLength: 5, linearBias: true },
      { heads: 2, grid: [2, 2], biasForm: "separable", biasShared: true },
      { heads: 2, outside: { first: 1, last: 1 } },
    ],
  },
  {
    name: "transformer",
    make: (options) => nn.transformer(options),
    valid: [
      TRANSFORMER,
      { ...TRANSFORMER, grid: undefined, input: { features: 2 }, output: { tokens: 3 }, variableLengths: true, attention: { kind: "softmax" } },
    ],
  },
  {
    name: "createTrainer",
    make: async (options) => (await nn.createTrainer(runtime, nn.transformer(TRANSFORMER), options)).dispose(),
    valid: [TRAINER],
  },
];

/** Places in options, as paths. */
function placesIn(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  const isPlain =
    Array.isArray(value) ||
    (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype && !Object.isFrozen(value));
  return [path, ...(isPlain ? Object.entries(value).flatMap(([key, child]) => placesIn(child, [...path, key])) : [])];
}

function replaced(value: unknown, [first, ...rest]: readonly string[], by: unknown): unknown {
  if (first === undefined) return by;
  if (Array.isArray(value)) return value.map((item: unknown, i) => (String(i) === first ? replaced(item, rest, by) : item));
  return { ...(value as object), [first]: replaced((value as Record<string, unknown>)[first], rest, by) };
}

/** An object without options: where options are asked for, all are left out. */
function isEmptyObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length === 0;
}

describe.each(FACTORIES)("$name", ({ name, make, valid, takes = {} }) => {
  // A transformer is made of layers, which look at their own.
  const names = ["transformer", "createTrainer"].includes(name)
    ? new RegExp(`^(${name}|[\\w.]+ \\(|layers\\.0|embed|positions|head|input )`)
    : new RegExp(`^${name}|^layer\\b`);
  test("the valid options have all that there are, and are taken", async () => {
    const got = await outcome(() => make({ unknownOption: 1 } as never));
    expect(got).toMatchObject({ error: { code: "value", message: expect.stringContaining("an object with the keys") } });
    const keys = /with the keys (.*), got "unknownOption"/.exec("error" in got ? got.error.message : "")![1]!.split(", ");
    const known = new Set(valid.flatMap((options) => Object.keys(options)));
    expect(keys.filter((key) => !known.has(key) && key !== "resume" && key !== "lengths")).toEqual([]);
    for (const options of valid) await make(options as never);
  });

  test("hostile values are refused wherever they stand, and unknown options too", async () => {
    let refused = 0;
    for (const options of valid) {
      for (const path of placesIn(options)) {
        const place = path.filter((part) => !/^\d+$/.test(part)).join(".");
        for (const [what, value] of [...HOSTILE, ...RARELY]) {
          const label = `${name}: ${path.join(".") || "options"} = ${what} in ${JSON.stringify(options)}`;
          const got = await outcome(() => make(replaced(options, path, value) as never), label);
          if ("error" in got) {
            refused++;
            expect(got.error.message, label).toMatch(names);
            expect(got.error.message.length, label).toBeLessThan(2000);
            continue;
          }
          const isTaken = takes[place]?.includes(what) || RARELY.some(([rare]) => rare === what) || isEmptyObject(value);
          if (!isTaken) throw new Error(`${label}: not refused`);
        }
        const inner = path.reduce<unknown>((at, key) => (at as Options)[key], options);
        if (typeof inner !== "object" || inner === null || Array.isArray(inner) || Object.isFrozen(inner)) continue;
        await expectRefused(() => make(replaced(options, [...path, "misspelt"], 1) as never), [names, /misspelt/], `${place}.misspelt`);
      }
    }
    expect(refused).toBeGreaterThan(20);
  });
});

/** An attempt that is refused, and what its error names. */
type Refusals = readonly (readonly [what: string, attempt: () => unknown, ...names: (string | RegExp)[]])[];

async function expectAll(refusals: Refusals): Promise<void> {
  for (const [what, attempt, ...names] of refusals) await expectRefused(attempt, names, what, /^(value|shape|unavailable|limit|disposed)$/);
}

const layersOf = (x: Value, y: unknown, z: Value) =>
  [
    ["linear, x", () => nn.linear(y as Value, "a", { outputs: 2 }), "linear", "x"],
    ["linear, name", () => nn.linear(x, y as string, { outputs: 2 }), "linear", "name"],
    ["embedding", () => nn.embedding(y as Value, "a", { count: 2, width: 2 }), "embedding", "indices"],
    ["embedding of floats", () => nn.embedding(x, "a", { count: 2, width: 2 }), "embedding", "indices"],
    ["linear of indices", () => nn.linear(z, "a", { outputs: 2 }), "linear", "x"],
    ["layerNorm", () => nn.layerNorm(y as Value, "a"), "layerNorm", "x"],
    ["rmsNorm", () => nn.rmsNorm(y as Value, "a"), "rmsNorm", "x"],
    ["relu", () => nn.relu(y as Value), "relu", "x"],
    ["gelu", () => nn.gelu(y as Value), "gelu", "x"],
    ["add, x", () => nn.add(y as Value, x), "add", "x"],
    ["add, y", () => nn.add(x, y as Value), "add", "y"],
    ["multiply", () => nn.multiply(x, y as Value), "multiply", "y"],
    ["dropout, x", () => nn.dropout(y as Value, 0.1), "dropout", "x"],
    ["dropout, rate", () => nn.dropout(x, y as number), "dropout", "rate"],
    ["meanOverTokens", () => nn.meanOverTokens(y as Value), "meanOverTokens", "x"],
    ["meanOverTokens, lengths", () => nn.meanOverTokens(x, { lengths: (y ?? 4) as Value }), "meanOverTokens", "lengths"],
    ["tokenAt", () => nn.tokenAt(y as Value, 0), "tokenAt", "x"],
    ["tokenAt, index", () => nn.tokenAt(x, y as number), "tokenAt", "index"],
    ["reshape", () => nn.reshape(y as Value, [24]), "reshape", "x"],
    ["reshape, shape", () => nn.reshape(x, y as number[]), "reshape", "shape"],
    ["attention", () => nn.attention(y as Value, "a", { heads: 2, featureMap: "sikf" }), "attention", "x"],
    ["attention, lengths", () => nn.attention(x, "a", { heads: 2, featureMap: "sikf", lengths: (y ?? 4) as Value }), "attention", "lengths"],
    ["toeplitz", () => nn.toeplitz(y as Value, "a", { heads: 2 }), "toeplitz", "x"],
  ] as const satisfies Refusals;

describe("layers", () => {
  test("what is no value, name, number or shape is refused by name", async () => {
    for (const wrong of [undefined, null, 4.5, Number.NaN, "", "no name", {}, [], [-4, -6], [2.5], () => 4, 4n, Symbol(MARKER)]) {
      let refusals: Refusals = [];
      const model = nn.defineModel(
        (_, { x, indices }) => {
          refusals = layersOf(x, wrong, indices);
          return x;
        },
        { inputs: { x: { shape: [4, 6] }, indices: { shape: [4], dtype: "u32" } } },
      );
      expect(model.parameters.size).toBe(0);
      await expectAll(refusals);
    }
  });

  test("values of another model are refused, and names that two things have", async () => {
    let stolen: Value | undefined;
    within((x) => (stolen = x));
    await expectAll([
      ["a value of another model", () => within((x) => nn.add(x, stolen!)), "another model"],
      ["an output of another model", () => within(() => stolen!), "defineModel", "value of this model"],
      [
        "two shapes by one name",
        () =>
          within((x) =>
            nn.add(
              nn.linear(x, "a", { outputs: 6 }),
              nn.linear(x, "a", { outputs: 6, bias: false }) && nn.linear(nn.linear(x, "b", { outputs: 5 }), "a", { outputs: 6 }),
            ),
          ),
        "a.weight",
        "same name",
      ],
    ]);
  });

  test("models: what writes them, inputs, layers, parameters and constants", async () => {
    const build = (work: (build: nn.Build, x: Value) => unknown) => () =>
      nn.defineModel((build, { x }) => work(build, x) as Value, { inputs: { x: { shape: [2] } } });
    const inputs = (given: unknown) => () => nn.defineModel((_, { x }) => x!, { inputs: given as Record<string, nn.ModelInput> });
    await expectAll([
      ["write", () => nn.defineModel(4 as never, { inputs: { x: { shape: [2] } } }), "defineModel", "write"],
      ["options", () => nn.defineModel((_, { x }) => x!, undefined as never), "defineModel", "options"],
      ["inputs: null", inputs(null), "defineModel", "options.inputs"],
      ["inputs: {}", inputs({}), "defineModel", "options.inputs"],
      ["inputs.x: null", inputs({ x: null }), "defineModel", "options.inputs.x"],
      ["inputs.x.shape", inputs({ x: { shape: 4 } }), "defineModel", "options.inputs.x.shape"],
      ["inputs.x.shape: -1", inputs({ x: { shape: [-1] } }), "defineModel", "options.inputs.x.shape"],
      ["inputs.x.shape: too many", inputs({ x: { shape: [2 ** 31, 2 ** 31] } }), "defineModel", "options.inputs.x.shape"],
      ["inputs.x.dtype", inputs({ x: { shape: [2], dtype: "f16" } }), "defineModel", "options.inputs.x.dtype"],
      ["inputs.x.misspelt", inputs({ x: { shape: [2], misspelt: 1 } }), "defineModel", "misspelt"],
      ["nothing", build(() => undefined), "defineModel", "write"],
      ["a number", build(() => 4), "defineModel", "write"],
      ["text", build(() => "text"), "defineModel", "output"],
      ["a promise", build(async (_, x) => x), "defineModel", "write"],
      ["outputs", build((_, x) => ({ x, y: 4 })), "defineModel", "output y"],
      ["layer, name", build((build, x) => build.layer(undefined as never, () => x)), "build.layer", "name"],
      ["layer, write", build((build) => build.layer("a", 4 as never)), "build.layer", "write"],
      ["parameter, name", build((build) => build.parameter("a b", [2])), "build.parameter", "name"],
      ["parameter, shape", build((build) => build.parameter("a", [0])), "build.parameter", "shape"],
      ["parameter, initial", build((build) => build.parameter("a", [2], { uniform: Number.NaN })), "build.parameter", "initial"],
      ["constant, data", build((build) => build.constant("a", [2], [1])), "build.constant", "data"],
      ["constant, no data", build((build) => build.constant("a", [2], null as never)), "build.constant", "data"],
      ["constant, text", build((build) => build.constant("a", [2], ["1", "2"] as never)), "build.constant", "data"],
      ["constant, symbols", build((build) => build.constant("a", [1], [Symbol(MARKER)] as never)), "build.constant", "data"],
      ["too many parameters", build((_, x) => nn.linear(x, "a", { outputs: 2 ** 32 - 1 })), "a.weight", "elements"],
    ]);
  });
});

/** A trainer, and what it takes. */
async function withTrainer(options: Partial<nn.TrainerOptions>, work: (trainer: nn.Trainer) => Promise<void>): Promise<void> {
  const trainer = await nn.createTrainer(runtime, nn.transformer(TRANSFORMER), { ...TRAINER, ...options });
  try {
    await work(trainer);
  } finally {
    trainer.dispose();
  }
}

const BATCH = { inputs: [0, 1, 2, 3, 4, 0, 1, 2], targets: [0, 2] };

/** Batches that a model of indices or of float32 numbers does not take. */
function wrongBatches(take: (batch: nn.Batch) => unknown, caller: string, tensors: readonly Tensor[]): Refusals {
  const of = (batch: unknown) => () => take(batch as nn.Batch);
  const names = [caller, "batch"] as const;
  const inputs = (given: unknown) => [of({ ...BATCH, inputs: given }), ...names] as const;
  return [
    ...[undefined, null, 4, "text", [], [BATCH]].map((batch) => [`batch = ${String(batch)}`, of(batch), ...names] as const),
    ["nothing", of({}), ...names],
    ["one misspelt", of({ ...BATCH, misspelt: [1] }), ...names],
    ...[
      undefined,
      null,
      4,
      "01234567",
      Symbol(MARKER),
      4n,
      () => 4,
      {},
      [],
      [0, 1],
      { length: 7 },
      { length: 8 },
      new DataView(new ArrayBuffer(8)),
      new ArrayBuffer(8),
    ].map((given, i) => [`inputs, ${i}`, ...inputs(given)] as const),
    ...["1", null, undefined, Number.NaN, 0.5, Infinity, 2 ** 32, -(2 ** 31) - 1, 4n, Symbol(MARKER), {}].map(
      (given, i) => [`inputs[1], ${i}`, ...inputs([0, given, 2, 3, 4, 0, 1, 2])] as const,
    ),
    ["big integers", ...inputs(new BigInt64Array(8))],
    ["halves", ...inputs(Float64Array.from({ length: 8 }, (_, i) => i / 2))],
    ["no numbers", ...inputs(new Float32Array(8).fill(Number.NaN))],
    ...tensors.map((tensor, i) => [`tensor ${i}`, ...inputs(tensor)] as const),
  ];
}

function withoutTargets(batch: object): nn.Batch {
  return Object.fromEntries(Object.entries(batch).filter(([name]) => name !== "targets")) as nn.Batch;
}

describe("trainers", () => {
  test("createTrainer: runtime, model, loss and optimizer", async () => {
    const model = nn.transformer(TRANSFORMER);
    const create =
      (more: unknown, of: unknown = model, by: unknown = runtime) =>
      () =>
        nn.createTrainer(by as Runtime, of as nn.Model, more as nn.TrainerOptions);
    await expectAll([
      ["runtime", create(TRAINER, model, {}), "createTrainer", "runtime"],
      ["no runtime", create(TRAINER, model, null), "createTrainer", "runtime"],
      ["model", create(TRAINER, { parameters: new Map() }), "createTrainer", "model"],
      ["a model's options", create(TRAINER, TRANSFORMER), "createTrainer", "model"],
      ["no options", create(undefined), "createTrainer", "options"],
      ["no losses", create({ ...TRAINER, loss: [] }), "createTrainer", "options.loss"],
      ["losses, one missing", create({ ...TRAINER, loss: [TRAINER.loss, undefined] }), "createTrainer", "options.loss"],
      ["a loss of no output", create({ ...TRAINER, loss: nn.crossEntropy({ output: "other" }) }), "createTrainer", "options.loss"],
      ["losses with one name for two targets", create({ ...TRAINER, loss: [nn.crossEntropy(), nn.meanSquaredError()] }), "targets"],
      ["targets with the name of an input", create({ ...TRAINER, loss: nn.crossEntropy({ targets: "inputs" }) }), "inputs"],
      ["an optimizer's name", create({ ...TRAINER, optimizer: "adamW" }), "createTrainer", "options.optimizer"],
      ["the function of an optimizer", create({ ...TRAINER, optimizer: nn.adamW }), "createTrainer", "options.optimizer"],
    ]);
  });

  test("batches, and nothing is done of a wrong one", () =>
    withTrainer({}, async (trainer) => {
      const disposed = runtime.tensor(new Uint32Array(8), [2, 4], "u32");
      disposed.dispose();
      const tensors = [
        disposed,
        other.tensor(new Uint32Array(8), [2, 4], "u32"),
        runtime.tensor(new Float32Array(8), [2, 4]),
        runtime.tensor(new Uint32Array(8), [8], "u32"),
      ];
      const before = await trainer.save();
      await expectAll(wrongBatches((batch) => trainer.step(batch), "trainer.step", tensors));
      await expectAll(wrongBatches((batch) => trainer.fit([batch]), "trainer.fit", tensors));
      await expectAll(wrongBatches((batch) => trainer.evaluate([batch]), "trainer.evaluate", tensors));
      expect(trainer.stepCount).toBe(0);
      expect(await trainer.save()).toEqual(before);
      expect(Number.isFinite(await trainer.step(BATCH).loss.value())).toBe(true);
      for (const tensor of tensors) tensor.dispose();
    }));

  test("a schedule that goes wrong is refused before the step", () =>
    withTrainer({ optimizer: nn.sgd({ rate: { name: "mine", at: (step) => (step === 2 ? Number.NaN : 0.1) } }) }, async (trainer) => {
      trainer.step(BATCH);
      await expectAll([["NaN", () => trainer.step(BATCH), "sgd", "options.rate.at(2)"]]);
      expect(trainer.stepCount).toBe(1);
    }));

  test("arguments of fit, evaluate, parameter, gradient and save", () =>
    withTrainer({ averageDecay: 0.5 }, async (trainer) => {
      const wrong = [undefined, null, 4, "text", {}, () => [BATCH]];
      await expectAll([
        ...wrong.map((batches) => [`fit(${String(batches)})`, () => trainer.fit(batches as never), "trainer.fit", "batches"] as const),
        ...wrong.map((batches) => [`evaluate(${String(batches)})`, () => trainer.evaluate(batches as never), "trainer.evaluate", "batches"] as const),
        ...[null, 4, { step: 4 }, [], { steps: "4" }, { steps: Number.NaN }, { steps: -1 }, { steps: 1.5 }, { onProgress: 4 }].map(
          (options, i) => [`fit, options ${i}`, () => trainer.fit([BATCH], options as never), "trainer.fit", "options"] as const,
        ),
        ...[null, 4, { steps: 4 }].map(
          (options, i) => [`evaluate, options ${i}`, () => trainer.evaluate([BATCH], options as never), "trainer.evaluate", "options"] as const,
        ),
        ...[undefined, null, 4, "", "head", "__proto__", Symbol(MARKER)].flatMap((name) => [
          [`parameter(${String(name)})`, () => trainer.parameter(name as never), "trainer.parameter", "name"] as const,
          [`gradient(${String(name)})`, () => trainer.gradient(name as never), "trainer.gradient", "name"] as const,
        ]),
        ["parameter, average", () => trainer.parameter("head.weight", { average: 1 } as never), "trainer.parameter", "options.average"],
        ["parameter, options", () => trainer.parameter("head.weight", null as never), "trainer.parameter", "options"],
        ["save, options", () => trainer.save({ averages: true } as never), "trainer.save", "options"],
        ["save, average", () => trainer.save({ average: "yes" } as never), "trainer.save", "options.average"],
      ]);
      expect(trainer.stepCount).toBe(0);
    }));

  test("what is disposed of says so", async () => {
    const trainer = await nn.createTrainer(runtime, nn.transformer(TRANSFORMER), TRAINER);
    const net = await nn.loadModel(runtime, await trainer.save());
    const { loss } = trainer.step(BATCH);
    trainer.dispose();
    trainer.dispose();
    net.dispose();
    await expectAll([
      ["step", () => trainer.step(BATCH), "trainer.step", "disposed"],
      ["fit", () => trainer.fit([BATCH]), "trainer.fit", "disposed"],
      ["evaluate", () => trainer.evaluate([BATCH]), "trainer.evaluate", "disposed"],
      ["parameter", () => trainer.parameter("head.weight"), "trainer.parameter", "disposed"],
      ["gradient", () => trainer.gradient("head.weight"), "trainer.gradient", "disposed"],
      ["save", () => trainer.save(), "trainer.save", "disposed"],
      ["restore", () => trainer.restore(), "trainer.restore", "disposed"],
      ["a loss", () => loss.value(), "trainer", "disposed"],
      ["run", () => net.run({ inputs: [0, 1, 2, 3] }), "net.run", "disposed"],
      ["runAll", () => net.runAll({ inputs: [0, 1, 2, 3] }), "net.runAll", "disposed"],
      ["generate", () => net.generate([1]).next(), "net.generate", "disposed"],
      ["restore of a model", () => net.restore(), "net.restore", "disposed"],
    ]);
    const gone = await createRuntime({ backend: "cpu" });
    gone.dispose();
    await expectAll([["a runtime that is gone", () => nn.createTrainer(gone, nn.transformer(TRANSFORMER), TRAINER), "createTrainer", "disposed"]]);
  });
});

describe("files", () => {
  const model = nn.transformer(TRANSFORMER);
  /** A file with changes. */
  async function fileWith(
    change: (
      tensors: Map<string, nn.SafetensorsFile["tensors"] extends ReadonlyMap<string, infer T> ? T : never>,
      metadata: Record<string, string>,
    ) => void,
  ): Promise<Uint8Array> {
    let file: Uint8Array | undefined;
    await withTrainer({}, async (trainer) => void (file = await trainer.save()));
    const { tensors, metadata } = nn.parseSafetensors(file!);
    const [named, texts] = [new Map(tensors), { ...metadata }];
    change(named, texts);
    return nn.writeSafetensors(named, texts);
  }
  const load = (bytes: unknown, options?: unknown) => () => nn.loadModel(runtime, bytes as Uint8Array, options as nn.LoadOptions);
  const resume = (bytes: unknown) => () => nn.createTrainer(runtime, model, { ...TRAINER, resume: bytes as Uint8Array });

  test("that are none", async () => {
    const wrong = [
      null,
      4,
      "text",
      [],
      {},
      new Uint8Array(0),
      new Uint8Array(7),
      new Uint8Array(64),
      new ArrayBuffer(3),
      new Float32Array(8),
      new Uint8Array(8).fill(255),
    ];
    await expectAll(
      wrong.flatMap((bytes, i) => [
        [`loadModel ${i}`, load(bytes), "loadModel"] as const,
        [`resume ${i}`, resume(bytes), "createTrainer"] as const,
        [`parseSafetensors ${i}`, () => nn.parseSafetensors(bytes as Uint8Array), "parseSafetensors"] as const,
      ]),
    );
    await expectAll([["loadModel, undefined", load(undefined), "loadModel", "bytes"]]);
  });

  test("of descriptions and trainings that are none", async () => {
    for (const text of [
      "",
      "{",
      "null",
      "4",
      '"text"',
      "[]",
      "{}",
      '{"layers":2}',
      '{"__proto__":{}}',
      JSON.stringify({ ...TRANSFORMER, width: -1 }),
      JSON.stringify({ ...TRANSFORMER, misspelt: 1 }),
    ]) {
      const file = await fileWith((_, metadata) => (metadata["fastrpb"] = text));
      await expectAll([[`description ${text}`, load(file), "loadModel", "bytes"]]);
    }
    const training = (more: object) => JSON.stringify({ step: 1, seed: 1, optimizer: "adamW", ...more });
    for (const text of [
      "",
      "{",
      "null",
      "4",
      "{}",
      training({ step: -1 }),
      training({ step: 1.5 }),
      training({ step: 2 ** 33 }),
      training({ seed: -1 }),
      training({ seed: 2 ** 40 }),
      training({ optimizer: 4 }),
      training({ optimizer: "sgd" }),
    ]) {
      const file = await fileWith((_, metadata) => (metadata["fastrpb.training"] = text));
      await expectAll([[`training ${text}`, resume(file), "createTrainer", "options.resume"]]);
    }
  });

  test("without a parameter, with another one, of another shape or dtype", async () => {
    const name = "head.weight";
    const files = [
      await fileWith((tensors) => tensors.delete(name)),
      await fileWith((tensors) => tensors.set("other", tensors.get(name)!)),
      await fileWith((tensors) => tensors.set(name, { ...tensors.get(name)!, shape: [4, 3] })),
      await fileWith((tensors) => tensors.set(name, { dtype: "I64", shape: [3, 4], bytes: new Uint8Array(96) })),
    ];
    await expectAll(files.map((file, i) => [`loadModel ${i}`, load(file), "loadModel", "bytes"] as const));
    const trained = [files[0]!, files[2]!, files[3]!, await fileWith((tensors) => tensors.delete(`training.mean.${name}`))];
    await expectAll(trained.map((file, i) => [`resume ${i}`, resume(file), "createTrainer", "options.resume"] as const));
  });

  test("arguments of loadModel, of what it gives, and of writeSafetensors", async () => {
    const file = await fileWith(() => {});
    const net = await nn.loadModel(runtime, file, { batch: 2 });
    await expectAll([
      ["runtime", () => nn.loadModel({} as Runtime, file), "loadModel", "runtime"],
      ...[null, 4, { batches: 2 }, { batch: 0 }, { batch: "2" }, { batch: Number.NaN }, { model: {} }, { model: TRANSFORMER }].map(
        (options, i) => [`options ${i}`, load(file, options), "loadModel", "options"] as const,
      ),
      ["a file without a description", load(await fileWith((_, metadata) => delete metadata["fastrpb"])), "loadModel", "options.model"],
      ...wrongBatches((batch: object) => net.run(withoutTargets(batch)), "net.run", []).filter(([what]) => !what.startsWith("batch = ")),
      ["generate of a model of classes", () => net.generate([1]).next(), "net.generate", "model"],
    ]);
    net.dispose();
    const tensor = { dtype: "F32", shape: [1], bytes: new Uint8Array(4) } as const;
    const write = (tensors: unknown, metadata?: unknown) => () => nn.writeSafetensors(tensors as never, metadata as never);
    await expectAll([
      ...[
        undefined,
        null,
        4,
        {},
        [null],
        [4],
        [[]],
        [["a"]],
        [["a", null]],
        [[4, tensor]],
        [["a", {}]],
        [["a", { ...tensor, dtype: "F8" }]],
        [["a", { ...tensor, shape: 4 }]],
      ].map((tensors, i) => [`tensors ${i}`, write(tensors), "writeSafetensors"] as const),
      ["shape", write([["a", { ...tensor, shape: null }]]), "writeSafetensors", "shape"],
      ["bytes", write([["a", { ...tensor, bytes: [0, 0, 0, 0] }]]), "writeSafetensors", "bytes"],
      ...[null, 4, { a: 4 }, { a: null }].map(
        (metadata, i) => [`metadata ${i}`, write([["a", tensor]], metadata), "writeSafetensors", "metadata"] as const,
      ),
    ]);
  });

  test("prompts and options of generate", async () => {
    const causal = nn.transformer({
      input: { tokens: 5 },
      length: 6,
      layers: 1,
      width: 4,
      heads: 1,
      attention: { featureMap: "elu+1", causal: true },
      output: { tokens: 5 },
    });
    const trainer = await nn.createTrainer(runtime, causal, { ...TRAINER, batch: 1 });
    const net = await nn.loadModel(runtime, await trainer.save());
    trainer.dispose();
    const generate = (prompt: unknown, options?: unknown) => () => net.generate(prompt as number[], options as nn.GenerateOptions).next();
    const prompts = [
      undefined,
      null,
      4,
      "",
      [],
      "text",
      [0, 1, 2, 3, 4, 0],
      { length: 1e9 },
      { length: -1 },
      { length: "2" },
      { length: 2 ** 60 },
      { length: 2 },
      [5],
      [-1],
      [0.5],
      ["1"],
      [null],
      [1n],
    ];
    const options = [
      null,
      4,
      { token: 4 },
      { tokens: 0 },
      { tokens: 6 },
      { tokens: "2" },
      { temperature: -1 },
      { temperature: Number.NaN },
      { temperature: "1" },
      { topK: 0 },
      { topK: 1.5 },
      { topP: 0 },
      { topP: 1.1 },
      { topP: "0.5" },
      { seed: -1 },
      { seed: 2 ** 32 },
      { seed: "1" },
    ];
    await expectAll([
      ...prompts.map((prompt, i) => [`prompt ${i}`, generate(prompt), "net.generate", "prompt"] as const),
      ...options.map((given, i) => [`options ${i}`, generate([1], given), "net.generate", "options"] as const),
    ]);
    net.dispose();
  });
});

describe("schedules", () => {
  test("rates and steps", async () => {
    for (const [what, value] of HOSTILE) {
      const number = value as number;
      if (["1.5", "2^32", "2^53"].includes(what)) continue;
      await expectAll([
        [`constant(${what})`, () => nn.constant(number), "constant", "rate"],
        [`warmupCosine, peak ${what}`, () => nn.warmupCosine(number, 1, 2), "warmupCosine", "peak"],
        [`warmupCosine, warmupSteps ${what}`, () => nn.warmupCosine(1, number, 2), "warmupCosine", "Steps"],
        [`warmupCosine, totalSteps ${what}`, () => nn.warmupCosine(1, 1, number), "warmupCosine", "totalSteps"],
        [`warmupCosine, floor ${what}`, () => nn.warmupCosine(1, 1, 2, number), "warmupCosine", "floor"],
        [`inverseSquareRoot, peak ${what}`, () => nn.inverseSquareRoot(number, 1), "inverseSquareRoot", "peak"],
        [`inverseSquareRoot, warmupSteps ${what}`, () => nn.inverseSquareRoot(1, number), "inverseSquareRoot", "warmupSteps"],
        [`at(${what})`, () => nn.constant(1).at(number), "constant", "step"],
      ]);
    }
  });
});
