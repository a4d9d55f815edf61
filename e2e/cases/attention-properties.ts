/** What holds for every attention: PyTorch's values and gradients, and properties. */
import type { AttentionOptions } from "../../src/index.ts";
import { type AttentionFixture, attentionFixtures, layerFixtures } from "../../src/testing/attention-fixtures.ts";
import { attentionSpec } from "../../src/testing/specs.ts";
import {
  attend,
  ATTENTION_BOUND,
  attendBackward,
  type AttentionData,
  checkGradients,
  drawAttention,
  GRADIENT_BOUND,
  type GradientName,
  norm,
} from "./attention-harness.ts";
import { type CaseContext, check, checkClose, relativeL2, type Suite, together } from "./case.ts";

function dataOf({ q, k, v, dOut, weights, lengths, keyMask }: AttentionFixture): AttentionData {
  return { q, k, v, dOut, weights: weights ?? new Float32Array(), ...(lengths && { lengths }), ...(keyMask && { keyMask }) };
}

async function compareValues(context: CaseContext, fixture: AttentionFixture): Promise<void> {
  const { options, out } = fixture;
  checkClose(await attend(await context.runtime, options, dataOf(fixture)), out, ATTENTION_BOUND, JSON.stringify(options));
}

async function compareGradients(context: CaseContext, fixture: AttentionFixture): Promise<void> {
  const { options, dq, dk, dv, dBias } = fixture;
  const actual = await attendBackward(await context.runtime, options, dataOf(fixture));
  const expected = Object.fromEntries(
    Object.entries({ dq, dk, dv, ...(dBias && { dBias }) }).map(([name, values]) => [name, Float32Array.from(values)]),
  );
  checkGradients(actual, expected, norm(fixture.dOut), GRADIENT_BOUND, JSON.stringify(options));
}

/** Rows of a tensor [1, heads, N, dim] in another order. */
function permuted(rows: Float32Array, heads: number, length: number, order: readonly number[]): Float32Array {
  const dim = rows.length / heads / length;
  return rows.map((_, at) => {
    const [row, d] = [Math.floor(at / dim), at % dim];
    return rows[(Math.floor(row / length) * length + order[row % length]!) * dim + d]!;
  });
}

const BASE = { heads: 2, length: 30, headDim: 6, valueDim: 5 } as const;
const KINDS: readonly AttentionOptions[] = [
  { ...BASE, featureMap: "sikf" },
  { ...BASE, featureMap: "favor+" },
  { ...BASE, kind: "softmax" },
];

/** Of each kind, and of each kind of bias, one that reads lengths. */
const WITH_LENGTHS: readonly AttentionOptions[] = [
  { ...BASE, featureMap: "sikf", bias: "fastrpb", outside: { first: 1, last: 2 } },
  { ...BASE, featureMap: "elu+1", bias: "fastrpb", causal: true },
  { ...BASE, featureMap: "relu", bias: "multiplicative" },
  { ...BASE, kind: "softmax", bias: "logits" },
];

export const attentionPropertySuite: Suite = {
  name: "attention of every kind",
  cases: [
    {
      name: "values as PyTorch has them",
      run: (context) => together(attentionFixtures(), (fixture) => compareValues(context, fixture)),
    },
    {
      name: "gradients as PyTorch's autograd has them",
      run: (context) =>
        // Some, as kernels take long to compile: the others are held to the CPU, which is held to all of these.
        together(
          attentionFixtures().filter(({ options }) => options.bias === "fastrpb" && !options.variableLengths),
          (fixture) => compareGradients(context, fixture),
        ),
    },
    {
      name: "layers as the paper's author has them, in PyTorch: values",
      run: (context) => together(layerFixtures(), (fixture) => compareValues(context, fixture)),
    },
    ...["elu+1", "sikf", "dpfp"].map((featureMap) => ({
      name: `layers as the paper's author has them, in PyTorch: gradients, ${featureMap}`,
      run: (context: CaseContext) =>
        together(
          layerFixtures().filter(({ options }) => "featureMap" in options && options.featureMap === featureMap),
          (fixture) => compareGradients(context, fixture),
        ),
    })),
    {
      name: "tokens in another order: the same results in that order without a bias, others with one",
      run: (context: CaseContext) =>
        together(KINDS, async (options, seed) => {
          const runtime = await context.runtime;
          const { heads, length } = BASE;
          const order = Array.from({ length }, (_, i) => (7 * i + 3) % length);
          const data = drawAttention({ ...options, bias: "fastrpb" } as AttentionOptions, seed);
          const move = (rows: Float32Array) => permuted(rows, heads, length, order);
          const moved = { ...data, q: move(data.q), k: move(data.k), v: move(data.v) };
          const what = `${JSON.stringify(options)}, seed ${seed}`;
          const [plain, other] = [await attend(runtime, options, data), await attend(runtime, options, moved)];
          checkClose(other, move(plain), ATTENTION_BOUND, what);
          const biased = { ...options, bias: "fastrpb" } as AttentionOptions;
          const change = relativeL2(await attend(runtime, biased, moved), move(await attend(runtime, biased, data)));
          check(change > 1e-2, `${what}: with a bias the order made a difference of only ${change}`);
        }),
    },
    {
      name: "lengths in a tensor are those in an array, forward and backward; what is out of range is cut off",
      run: (context: CaseContext) =>
        together(WITH_LENGTHS, async (shape, seed) => {
          const options = { ...shape, batch: 5, variableLengths: true } as AttentionOptions;
          const data = { ...drawAttention(options, seed + 20), lengths: [0, 12, 30, attentionSpec(options).length, 0] };
          const tensor = { ...data, lengths: Float32Array.of(0, 12.7, 30, 1e20, -3) };
          for (const runtime of [await context.runtime, await context.cpu]) {
            const what = `${runtime.backend}, ${JSON.stringify(options)}, seed ${seed + 20}`;
            const [expected, gradients] = [await attend(runtime, options, data), await attendBackward(runtime, options, data)];
            const [out, others] = [await attend(runtime, options, tensor), await attendBackward(runtime, options, tensor)];
            for (const [name, values] of Object.entries({ out: expected, ...gradients })) {
              const actual = name === "out" ? out : others[name as GradientName]!;
              check(
                values.every((x, at) => x === actual[at]),
                `${what}: ${name} is another`,
              );
            }
          }
        }),
    },
    {
      name: "a grid of one row is a sequence; lengths are slices",
      sample: true,
      run: (context: CaseContext) =>
        together(KINDS, async (options, seed) => {
          const runtime = await context.runtime;
          const { heads, length, headDim, valueDim } = BASE;
          const biased = { ...options, bias: "fastrpb" } as AttentionOptions;
          const data = drawAttention(biased, seed + 10);
          const what = `${JSON.stringify(options)}, seed ${seed + 10}`;
          const { length: _, ...rest } = biased;
          const sequence = await attend(runtime, biased, data);
          checkClose(await attend(runtime, { ...rest, grid: [1, length] } as AttentionOptions, data), sequence, 2 * ATTENTION_BOUND, `grid, ${what}`);
          const kept = 13;
          const slice = (rows: Float32Array, dim: number) => rows.filter((__, at) => Math.floor(at / dim) % length < kept);
          const whole = await attend(runtime, { ...biased, variableLengths: true }, { ...data, lengths: [kept] });
          const middle = (at: number) => Math.abs((at % (2 * length - 1)) - (length - 1)) < kept;
          const part = await attend(runtime, { ...biased, length: kept } as AttentionOptions, {
            ...data,
            q: slice(data.q, headDim),
            k: slice(data.k, headDim),
            v: slice(data.v, valueDim),
            weights: data.weights.filter((__, at) => middle(at)),
          });
          checkClose(slice(whole, valueDim), part, 2 * ATTENTION_BOUND, `lengths, ${what}`);
          check(
            whole.every((x, at) => Math.floor(at / valueDim) % length < kept || x === 0),
            `${what}: something beyond the length`,
          );
          check(part.length === heads * kept * valueDim, what);
        }),
    },
  ],
};
