/** Every form of a bias, tokens outside it, and grids with channels, in products and in attention, against definitions over all pairs of tokens and against the float64 CPU. */
import { expandWeights, foldWeights, toeplitzGradientReference, toeplitzReference } from "../../src/testing/reference.ts";
import type { AttentionOptions, Runtime, RuntimeOptions, ToeplitzOptions } from "../../src/index.ts";
import { toeplitzSpec, weightsShape } from "../../src/testing/specs.ts";
import { compareBackward, compareForward, compareToDefinition } from "./attention-harness.ts";
import { type CaseContext, check, checkClose, checkRefused, normals, scoped, type Suite, together } from "./case.ts";

const BOUND = 3e-7;
const WEIGHT_BOUND = 1e-6;

interface Product {
  readonly out: Float32Array;
  readonly dv: Float32Array;
  readonly dWeights: Float32Array;
}

interface Data {
  readonly v: Float32Array;
  readonly weights: Float32Array;
  readonly dOut: Float32Array;
}

/** A product and its gradients, into tensors of NaN; from weights and from what `prepare` makes of them, which have to agree. */
async function multiply(runtime: Runtime, options: ToeplitzOptions, data: Data): Promise<Product> {
  const spec = toeplitzSpec(options);
  const shape = [spec.batch, spec.heads, spec.length, spec.channels];
  return scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.toeplitz(options));
    const weights = scope.tensor(data.weights, weightsShape(spec));
    const [v, dOut] = [scope.tensor(data.v, shape), scope.tensor(data.dOut, shape)];
    const out = await plan.run(v, weights, { out: scope.unwritten(shape) }).data();
    const prepared = await plan.run(v, scope.keep(plan.prepare(data.weights)), { out: scope.unwritten(shape) }).data();
    check(
      out.every((value, i) => Object.is(value, prepared[i])),
      `${JSON.stringify(options)}: weights and what is prepared of them give different results`,
    );
    const to = { dv: scope.unwritten(shape), dWeights: scope.unwritten(weightsShape(spec)) };
    plan.backward({ v, weights, dOut }, { out: to });
    return { out, dv: await to.dv.data(), dWeights: await to.dWeights.data() };
  });
}

/** Against the definition where that takes less than seconds, else against the CPU. */
async function compare(context: CaseContext, options: ToeplitzOptions, runtime?: Runtime): Promise<void> {
  const spec = toeplitzSpec(options);
  const seed = spec.length + spec.channels;
  const rows = spec.batch * spec.heads * spec.length * spec.channels;
  const count = weightsShape(spec).reduce((product, size) => product * size, 1);
  const data = { v: normals(seed, rows), weights: normals(seed + 1, count), dOut: normals(seed + 2, rows) };
  const actual = await multiply(runtime ?? (await context.runtime), options, data);
  const what = `${JSON.stringify(options)}, seed ${seed}`;
  let expected: Readonly<Record<keyof Product, ArrayLike<number>>>;
  if (rows * spec.length <= 2e7) {
    const weights = expandWeights(spec, data.weights);
    const { dv, dWeights } = toeplitzGradientReference(spec, { ...data, weights });
    expected = { out: toeplitzReference(spec, data.v, weights), dv, dWeights: foldWeights(spec, count, dWeights) };
  } else {
    expected = await multiply(await context.cpu, options, data);
  }
  checkClose(actual.out, expected.out, BOUND, `out of ${what}`);
  checkClose(actual.dv, expected.dv, BOUND, `dv of ${what}`);
  checkClose(actual.dWeights, expected.dWeights, WEIGHT_BOUND, `dWeights of ${what}`);
}

async function compareAll(context: CaseContext, products: readonly ToeplitzOptions[], runtime?: Runtime): Promise<void> {
  await together(products, (options) => compare(context, options, runtime));
}

/** Compares products on a device of their own. */
async function onDevice(context: CaseContext, options: RuntimeOptions, products: readonly ToeplitzOptions[]): Promise<void> {
  const runtime = await context.open(options);
  try {
    await compareAll(context, products, runtime);
  } finally {
    runtime.dispose();
  }
}

/** A device whose workgroups are small, so that products go in passes. */
function onSmallDevice(context: CaseContext, bytes: number, products: readonly ToeplitzOptions[]): Promise<void> {
  return onDevice(context, { limits: { maxComputeWorkgroupStorageSize: bytes } }, products);
}

const SYMMETRIC = { biasForm: "symmetric" } as const;
const SEPARABLE = { biasForm: "separable" } as const;

const ATTENTION = { heads: 2, batch: 2, headDim: 5, valueDim: 6, bias: "fastrpb" } as const;
const ATTENTIONS: readonly (readonly [name: string, options: AttentionOptions])[] = [
  ["symmetric and causal", { ...ATTENTION, ...SYMMETRIC, length: 19, featureMap: "sikf", causal: true }],
  ["symmetric on a grid", { ...ATTENTION, ...SYMMETRIC, grid: [4, 5], kind: "softmax" }],
  ["symmetric with lengths", { ...ATTENTION, ...SYMMETRIC, length: 18, kind: "softmax", variableLengths: true }],
  ["separable", { ...ATTENTION, ...SEPARABLE, grid: [4, 5], featureMap: "sikf" }],
  ["separable and shared", { ...ATTENTION, ...SEPARABLE, grid: [5, 5], kind: "softmax", biasShared: true }],
  [
    "separable, symmetric, of a longer maximum",
    { ...ATTENTION, biasForm: "separable-symmetric", grid: [3, 5], featureMap: "elu+1", biasLength: [4, 5] },
  ],
  ["with tokens outside", { ...ATTENTION, length: 17, outside: { first: 1, last: 2 }, kind: "softmax" }],
  [
    "with tokens outside, causal, with lengths",
    { ...ATTENTION, length: 17, outside: { first: 1, last: 1 }, featureMap: "sikf", causal: true, variableLengths: true },
  ],
  [
    "with tokens outside, on a grid with channels",
    { ...ATTENTION, grid: [3, 4], gridChannels: 3, valueDim: 5, outside: { first: 1, last: 1 }, featureMap: "elu+1" },
  ],
  ["of a longer maximum with lengths", { ...ATTENTION, length: 17, biasLength: 30, featureMap: "sikf", variableLengths: true }],
];

export const biasFormSuite: Suite = {
  name: "bias forms",
  cases: [
    {
      name: "symmetric weights of sequences, causal or not",
      run: (context) =>
        compareAll(context, [
          { ...SYMMETRIC, heads: 1, length: 1, channels: 1 },
          { ...SYMMETRIC, heads: 3, batch: 2, length: 37, channels: 5 },
          { ...SYMMETRIC, heads: 2, length: 100, channels: 4, causal: true },
          { ...SYMMETRIC, heads: 2, length: 1000, channels: 3 },
          { ...SYMMETRIC, heads: 1, length: 10000, channels: 2, causal: true },
        ]),
    },
    {
      name: "symmetric weights on grids",
      sample: true,
      run: (context) =>
        compareAll(context, [
          { ...SYMMETRIC, heads: 2, grid: [1, 1], channels: 2 },
          { ...SYMMETRIC, heads: 2, batch: 2, grid: [1, 7], channels: 3 },
          { ...SYMMETRIC, heads: 1, grid: [7, 1], channels: 1 },
          { ...SYMMETRIC, heads: 3, batch: 2, grid: [5, 6], channels: 3 },
        ]),
    },
    {
      name: "symmetric weights in passes",
      run: (context) =>
        onSmallDevice(context, 256, [
          { ...SYMMETRIC, heads: 2, length: 251, channels: 2, causal: true },
          { ...SYMMETRIC, heads: 2, grid: [11, 23], channels: 3 },
        ]),
    },
    {
      name: "separable weights",
      sample: true,
      run: (context) =>
        compareAll(context, [
          { ...SEPARABLE, heads: 1, grid: [1, 1], channels: 1 },
          { ...SEPARABLE, heads: 2, batch: 2, grid: [1, 9], channels: 3 },
          { ...SEPARABLE, heads: 2, grid: [9, 1], channels: 4 },
          { ...SEPARABLE, heads: 3, batch: 2, grid: [5, 6], channels: 7 },
          { ...SEPARABLE, heads: 2, batch: 2, grid: [28, 28], channels: 12, biasForm: "separable-symmetric" },
        ]),
    },
    {
      name: "separable weights on grids of several tiles, and long axes",
      run: (context) =>
        compareAll(context, [
          { ...SEPARABLE, heads: 2, grid: [33, 65], channels: 64 },
          { ...SEPARABLE, heads: 1, batch: 2, grid: [70, 45], channels: 130 },
          { ...SEPARABLE, heads: 1, grid: [300, 2], channels: 6 },
          { ...SEPARABLE, heads: 1, grid: [3, 1000], channels: 1 },
          { ...SEPARABLE, heads: 1, grid: [3, 4096], channels: 4 },
          { ...SEPARABLE, heads: 2, grid: [256, 256], channels: 8, biasShared: true },
        ]),
    },
    {
      name: "weights that rows and columns share",
      run: (context) =>
        compareAll(context, [
          { ...SEPARABLE, heads: 3, batch: 2, grid: [6, 6], channels: 3, biasShared: true },
          { heads: 2, grid: [7, 7], channels: 4, biasForm: "separable-symmetric", biasShared: true },
          { heads: 1, grid: [1, 1], channels: 2, biasForm: "separable-symmetric", biasShared: true },
        ]),
    },
    {
      name: "weights of a longer maximum",
      run: (context) =>
        compareAll(context, [
          { heads: 2, batch: 2, length: 23, channels: 3, biasLength: 40 },
          { heads: 2, length: 23, channels: 2, biasLength: 24, causal: true },
          { ...SYMMETRIC, heads: 2, length: 23, channels: 2, biasLength: 90 },
          { heads: 2, grid: [5, 4], channels: 3, biasLength: [5, 9] },
          { heads: 2, grid: [1, 4], channels: 3, biasLength: [3, 5] },
          { ...SYMMETRIC, heads: 2, grid: [4, 1], channels: 3, biasLength: [7, 2] },
          { ...SEPARABLE, heads: 2, batch: 2, grid: [4, 3], channels: 3, biasLength: [7, 3] },
          { heads: 2, grid: [3, 3], channels: 1, biasForm: "separable-symmetric", biasShared: true, biasLength: [6, 6] },
        ]),
    },
    {
      name: "tokens outside",
      sample: true,
      run: (context) =>
        compareAll(context, [
          { heads: 1, length: 1, channels: 1, outside: { first: 1, last: 1 } },
          { heads: 3, batch: 2, length: 37, channels: 5, outside: { first: 1 } },
          { heads: 2, batch: 2, length: 300, channels: 4, outside: { last: 3 }, causal: true },
          { heads: 2, batch: 2, grid: [5, 6], channels: 6, outside: { first: 1, last: 2 } },
          { ...SEPARABLE, heads: 2, batch: 2, grid: [5, 6], channels: 8, outside: { first: 1, last: 1 } },
          { ...SEPARABLE, heads: 2, grid: [7, 3], channels: 3, outside: { first: 2 } },
        ]),
    },
    {
      name: "grids with channels, with and without tokens outside",
      run: (context) =>
        compareAll(context, [
          { heads: 2, batch: 2, grid: [4, 5], channels: 3, gridChannels: 3 },
          { heads: 2, batch: 2, grid: [4, 5], channels: 3, gridChannels: 2, outside: { first: 1, last: 2 } },
          { ...SEPARABLE, heads: 2, grid: [6, 5], channels: 2, gridChannels: 2, outside: { first: 1 } },
          { ...SYMMETRIC, heads: 2, grid: [1, 1], channels: 1, gridChannels: 3, outside: { last: 1 } },
        ]),
    },
    {
      name: "tokens outside in passes, and with small bindings",
      run: async (context) => {
        const products: ToeplitzOptions[] = [
          { heads: 3, batch: 2, length: 251, channels: 4, outside: { first: 1, last: 1 } },
          { heads: 2, batch: 2, grid: [11, 23], channels: 3, gridChannels: 3, outside: { first: 2, last: 1 } },
        ];
        await onSmallDevice(context, 256, products);
        await onDevice(context, { limits: { maxStorageBufferBindingSize: 2 ** 15 }, workspaceBytes: 2 ** 18 }, products);
      },
    },
    {
      name: "separable products on small devices, with small bindings",
      run: async (context) => {
        const products: ToeplitzOptions[] = [
          { ...SEPARABLE, heads: 3, batch: 2, grid: [20, 30], channels: 37 },
          { ...SEPARABLE, heads: 5, batch: 2, grid: [17, 19], channels: 5, biasForm: "separable-symmetric" },
        ];
        await onSmallDevice(context, 1024, products);
        await onDevice(context, { limits: { maxStorageBufferBindingSize: 2 ** 18 }, workspaceBytes: 2 ** 18 }, products);
      },
    },
    {
      name: "numbers of weights that do not count have no influence, and gradient zero",
      run: async (context) => {
        const plan = { heads: 2, length: 10, channels: 2, biasLength: 14 } as const;
        const v = normals(1, 40);
        const counts = (i: number) => i % 27 >= 4 && i % 27 < 23;
        const weights = normals(2, 54);
        const holes = weights.map((weight, i) => (counts(i) ? weight : NaN));
        const runtime = await context.runtime;
        const [clean, spoiled] = [
          await multiply(runtime, plan, { v, dOut: v, weights }),
          await multiply(runtime, plan, { v, dOut: v, weights: holes }),
        ];
        for (const name of ["out", "dv", "dWeights"] as const) {
          check(
            spoiled[name].every((value, i) => value === clean[name][i]),
            `${name}: weights of larger offsets take part`,
          );
        }
        check(
          clean.dWeights.every((value, i) => counts(i) || value === 0),
          "weights of larger offsets have a gradient",
        );
      },
    },
    ...ATTENTIONS.map(([name, options], i) => ({
      name: `attention, ${name}, and its gradients`,
      run: (context: CaseContext) => compareToDefinition(context, options, 70 + i),
    })),
    {
      name: "attention of many tokens with separable weights, against the CPU",
      run: async (context) => {
        const options = { ...SEPARABLE, heads: 2, grid: [40, 33], headDim: 5, featureMap: "sikf", bias: "fastrpb" } as const;
        await compareForward(context, options, 80);
        await compareBackward(context, options, 81);
      },
    },
    {
      name: "weights of another form are refused",
      run: async (context) => {
        const runtime = await context.runtime;
        await scoped(runtime, async (scope) => {
          const plan = scope.keep(await runtime.toeplitz({ ...SEPARABLE, heads: 2, grid: [3, 4], channels: 2 }));
          const full = scope.keep(await runtime.toeplitz({ heads: 2, grid: [3, 4], channels: 2 }));
          const v = scope.tensor(normals(1, 48), [1, 2, 12, 2]);
          const weights = scope.tensor(normals(2, 70), [2, 5, 7]);
          await checkRefused(() => plan.run(v, weights), "shape", "weights", "[2, 12]");
          await checkRefused(() => plan.run(v, scope.keep(full.prepare(weights))), "shape", "weights", '"separable" for 3 × 4 positions');
          await checkRefused(() => plan.backward({ v, weights, dOut: v }), "shape", "inputs.weights", "[2, 12]");
          await checkRefused(() => runtime.toeplitz({ ...SEPARABLE, heads: 1, length: 4, channels: 1 }), "value", "options.biasForm");
        });
      },
    },
  ],
};
