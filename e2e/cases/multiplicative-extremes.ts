/**
 * Linear attention with a multiplicative bias where sums by FFT leave only rounding: masks, weights and keys that are far above others, rows that see
 * nothing. Held to the definition in float64, over all pairs of tokens.
 */
import type { AttentionOptions, Runtime } from "../../src/index.ts";
import { attentionGradientReference, attentionReference } from "../../src/testing/attention-reference.ts";
import { attentionSpec, weightsShape } from "../../src/testing/specs.ts";
import {
  attend,
  attendBackward,
  ATTENTION_BOUND,
  type AttentionData,
  drawAttention,
  GRADIENT_BOUND,
  type GradientName,
  norm,
} from "./attention-harness.ts";
import { check, checkClose, type Suite, together } from "./case.ts";

/** Of any one row, relative to the largest value. */
const ROW_BOUND = 1e-5;

type Spec = ReturnType<typeof attentionSpec>;
/** Changes drawn data. */
type Hardship = (data: AttentionData, spec: Spec) => AttentionData;

/** Weights by offset, [dy, dx] on a grid; of a sequence dy = 0. */
function weightsBy(spec: Spec, weight: (dx: number, dy: number, head: number) => number): Float32Array {
  const [height, width] = spec.grid ?? [1, spec.length];
  const [tall, wide] = [2 * height - 1, 2 * width - 1];
  return Float32Array.from({ length: spec.heads * tall * wide }, (_, at) =>
    weight((at % wide) - width + 1, (Math.floor(at / wide) % tall) - height + 1, Math.floor(at / wide / tall)),
  );
}

const HARDSHIPS: Readonly<Record<string, Hardship>> = {
  "a sliding window": (data, spec) => ({
    ...data,
    weights: weightsBy(spec, (dx, dy, head) => (Math.abs(dx) + Math.abs(dy) <= 1 + head ? Math.sin(dx + dy) : -Infinity)),
  }),
  "a causal mask": (data, spec) => ({ ...data, weights: weightsBy(spec, (dx, dy) => (dx > 0 || dy > 0 ? -Infinity : Math.cos(dx))) }),
  "only tokens before": (data, spec) => ({ ...data, weights: weightsBy(spec, (dx, dy) => (dx >= 0 || dy > 0 ? -Infinity : 0)) }),
  "no token at all": (data) => ({ ...data, weights: data.weights.map(() => -Infinity) }),
  "+30 at one offset": (data, spec) => ({ ...data, weights: weightsBy(spec, (dx, dy) => (dx === 2 && dy === 0 ? 30 : Math.sin(3 * dx + dy))) }),
  "+500 and −500": (data, spec) => ({ ...data, weights: weightsBy(spec, (dx) => (dx === -3 ? 500 : dx === 1 ? -500 : 0)) }),
  "ALiBi with one key of +12": (data, spec) => ({
    ...data,
    k: data.k.map((x, at) => (Math.floor(at / spec.headDim) % spec.length === Math.floor(spec.length / 3) ? 12 : x)),
    weights: weightsBy(spec, (dx, dy, head) => -(Math.abs(dx) + Math.abs(dy)) * 2 ** -head),
  }),
  "masks of −3e38": (data, spec) => ({ ...data, weights: weightsBy(spec, (dx, dy) => (dx >= 0 || dy > 0 ? -3.4028234663852886e38 : 0)) }),
};

/** What harms exponentials of keys themselves; those of random features are of squares. */
const EXPONENTIAL_HARDSHIPS: Readonly<Record<string, Hardship>> = {
  "keys that grow by 100": (data, spec) => ({ ...data, k: growing(data, spec, 100) }),
  "keys that grow by 3000, seen through a window": (data, spec) => ({
    ...data,
    k: growing(data, spec, 3000),
    weights: weightsBy(spec, (dx, dy) => (Math.abs(dx) + Math.abs(dy) <= 2 ? 0 : -Infinity)),
  }),
  "masks of −1e10 over keys of 50": (data, spec) => ({
    ...data,
    k: data.k.map((x) => 50 * x),
    weights: weightsBy(spec, (dx, dy) => (dx >= 0 || dy > 0 ? -1e10 : 0)),
  }),
};

/** Features, or their products, that are no numbers of float32. */
const RANGE_HARDSHIPS: Readonly<Record<string, Hardship>> = {
  "queries of −95": (data) => ({ ...data, q: data.q.map((x) => x - 95) }),
  "queries and keys of −50": (data) => ({ ...data, q: data.q.map((x) => x - 50), k: data.k.map((x) => x - 50) }),
  "keys of −95": (data) => ({ ...data, k: data.k.map((x) => x - 95) }),
  "features far above those beside them": (data, { headDim }) => ({
    ...data,
    q: data.q.map((x, at) => x + ((at % headDim) % 2 === 0 ? 20 : -20)),
    k: data.k.map((x, at) => x - ((at % headDim) % 2 === 0 ? 20 : 0)),
  }),
};
const RELU_HARDSHIPS: Readonly<Record<string, Hardship>> = {
  "a feature that no key has": (data, { headDim }) => ({ ...data, k: data.k.map((x, at) => (at % headDim === 1 ? -1 : x)) }),
  "queries and keys of 1e−22": (data) => ({ ...data, q: data.q.map((x) => 1e-22 * x), k: data.k.map((x) => 1e-22 * x) }),
  "queries and keys of 1e22": (data) => ({ ...data, q: data.q.map((x) => 1e22 * x), k: data.k.map((x) => 1e22 * x) }),
};

function growing({ k }: AttentionData, { headDim, length }: Spec, by: number): Float32Array {
  return k.map((x, at) => x + (by * (Math.floor(at / headDim) % length)) / length);
}

function hardshipsOf({ featureMap }: AttentionOptions): readonly (readonly [string, Hardship])[] {
  const own = { sikf: EXPONENTIAL_HARDSHIPS, "elu+1": RANGE_HARDSHIPS, relu: RELU_HARDSHIPS, "favor+": {}, dpfp: {}, softmax: {} }[featureMap!];
  return Object.entries({ ...HARDSHIPS, ...own });
}

function referenceInputs({ q, k, v, weights, lengths }: AttentionData) {
  return { q, k, v, weights, ...(lengths && { lengths }) };
}

function checkRows(actual: Float32Array, expected: Float64Array, v: Float32Array, dim: number, what: string): void {
  const scale = v.reduce((most, x) => Math.max(most, Math.abs(x)), 0) * Math.sqrt(dim);
  for (let row = 0; row * dim < actual.length; row++) {
    let square = 0;
    for (let at = row * dim; at < (row + 1) * dim; at++) square += (actual[at]! - expected[at]!) ** 2;
    check(Math.sqrt(square) <= ROW_BOUND * scale, `${what}: row ${row} is off by ${Math.sqrt(square) / scale} of the values`);
  }
}

async function compare(runtime: Runtime, options: AttentionOptions, data: AttentionData, what: string, backward: boolean): Promise<void> {
  const spec = attentionSpec(options);
  const expected = attentionReference(spec, referenceInputs(data));
  const actual = await attend(runtime, options, data);
  checkRows(actual, expected, data.v, spec.valueDim, what);
  if (norm(Float32Array.from(expected)) > 0) checkClose(actual, expected, ATTENTION_BOUND, what);
  if (!backward) return;
  const gradients = attentionGradientReference(spec, referenceInputs(data), data.dOut);
  const wanted = Object.fromEntries(Object.entries(gradients).map(([name, values]) => [name, Float32Array.from(values as Float64Array)]));
  const actualGradients = await attendBackward(runtime, options, data);
  for (const [name, values] of Object.entries(wanted)) {
    const error = norm(values.map((x, at) => x - actualGradients[name as GradientName]![at]!));
    // Where one key has nearly all of a row, gradients of the others are what is left of g·v − g·o.
    const bound = GRADIENT_BOUND * Math.max(norm(values), norm(data.dOut));
    check(error <= bound, `${name} of ${what}: off by ${error}, more than ${bound}`);
  }
}

const bias = "multiplicative" as const;

const SHAPES: readonly AttentionOptions[] = [
  { heads: 3, length: 61, headDim: 3, valueDim: 5, featureMap: "sikf", bias },
  { heads: 2, batch: 2, length: 40, headDim: 3, valueDim: 2, featureMap: "elu+1", bias, variableLengths: true },
  { heads: 2, length: 33, headDim: 2, valueDim: 1, featureMap: "favor+", bias, causal: true },
  { heads: 2, grid: [5, 7], headDim: 3, valueDim: 4, featureMap: "relu", bias },
];

export const multiplicativeExtremesSuite: Suite = {
  name: "multiplicative attention, where transforms fail",
  cases: [
    {
      name: "a first row that sees nothing is 0, and one offset far above the others harms no row without it",
      sample: true,
      run: async (context) => {
        for (const runtime of [await context.runtime, await context.cpu]) {
          for (const length of [5, 8]) {
            const q = Float32Array.from({ length }, (_, i) => i / 10);
            const v = Float32Array.from({ length }, (_, i) => Math.sin(i + 1));
            const weights = Float32Array.from({ length: 2 * length - 1 }, (_, at) => (at < length - 1 ? 0 : -Infinity));
            const data = { q, k: q, v, weights, dOut: v };
            const options = { heads: 1, length, headDim: 1, featureMap: "elu+1", bias } as const;
            const out = await attend(runtime, options, data);
            check(out[0] === 0, `row 0 of ${length} is ${out[0]}`);
            await compare(runtime, options, data, `earlier tokens of ${length}`, true);
          }
          const zeros = new Float32Array(64);
          const v = zeros.map((_, i) => 1 + (i % 7));
          const weights = Float32Array.from({ length: 127 }, (_, at) => (at === 63 + 5 ? 20 : 0));
          await compare(
            runtime,
            { heads: 1, length: 64, headDim: 1, featureMap: "elu+1", bias },
            { q: zeros, k: zeros, v, weights, dOut: v },
            "exp(20) at one offset",
            true,
          );
        }
      },
    },
    ...SHAPES.map((options) => ({
      name: `masks, large weights and large keys: ${options.featureMap}, ${options.grid ? "a grid" : options.causal ? "causal" : "a sequence"}`,
      run: async (context: Parameters<Suite["cases"][number]["run"]>[0]) => {
        const spec = attentionSpec(options);
        for (const [name, hardship] of hardshipsOf(options)) {
          const data = hardship(drawAttention(options, 11), spec);
          for (const runtime of [await context.cpu, await context.runtime]) {
            await compare(runtime, options, data, `${name}, ${JSON.stringify(options)}, ${runtime.backend}`, true);
          }
        }
      },
    })),
    {
      name: "one token, that may see itself or not",
      run: async (context) => {
        await together(["sikf", "relu"] as const, async (featureMap) => {
          const options: AttentionOptions = { heads: 2, length: 1, headDim: 2, featureMap, bias };
          const data = drawAttention(options, 3);
          const weights = Float32Array.of(-Infinity, 700);
          await compare(await context.runtime, options, { ...data, weights }, JSON.stringify(options), featureMap === "sikf");
          check(weights.length === weightsShape(attentionSpec(options)).reduce((a, b) => a * b), "weights of another shape");
        });
      },
    },
  ],
};
