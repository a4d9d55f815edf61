/** Attention of a head in float64: against its definition, and its gradients against differences of that definition. */
import { describe, expect, test } from "vitest";
import { createFft } from "../../math/fft.ts";
import { type AttentionOptions, attentionSpec, type AttentionSpec, weightsShape } from "../../testing/specs.ts";
import { normals, relativeL2 } from "../../testing/random.ts";
import { attentionGradientReference, attentionReference } from "../../testing/attention-reference.ts";
import { createToeplitz } from "../toeplitz/cpu-product.ts";
import { exponentialsOf } from "../toeplitz/cpu-spectrum.ts";
import { linearHead } from "./linear/cpu-kind.ts";
import { multiplicativeHead } from "./multiplicative/cpu-kind.ts";
import { softmaxHead } from "./softmax/cpu-kind.ts";

const VARIANTS: readonly Partial<AttentionOptions>[] = [
  ...(["sikf", "elu+1", "relu", "softmax"] as const).flatMap((featureMap) => [false, true].map((causal) => ({ featureMap, causal }))),
  { featureMap: "favor+" },
  { featureMap: "favor+", causal: true, randomFeatures: { count: 5, seed: 9 }, scale: 0.3 },
  { featureMap: "dpfp" },
  { featureMap: "dpfp", nu: 5, causal: true },
  { kind: "softmax" },
  { kind: "softmax", causal: true, scale: 0.7 },
  ...(["sikf", "elu+1", "relu", "favor+", "dpfp"] as const).flatMap((featureMap) =>
    [false, true].map((causal) => ({ featureMap, causal, bias: "multiplicative" as const })),
  ),
];

const headOf = ({ kind, bias }: AttentionSpec) => (bias === "multiplicative" ? multiplicativeHead : kind === "softmax" ? softmaxHead : linearHead);

function run(variant: Partial<AttentionOptions>, length: number, seed: number, weightOf?: (at: number) => number) {
  const spec = attentionSpec({ heads: 1, length, headDim: 3, valueDim: 2, ...variant } as AttentionOptions);
  const numbers = (offset: number, n: number) => Float64Array.from(normals(seed + offset, n));
  const head = { tokens: length, index: 0, q: numbers(0, 3 * length), k: numbers(1, 3 * length), v: numbers(2, 2 * length) };
  const drawn = numbers(3, weightsShape(spec)[1]!);
  const weights = weightOf ? drawn.map((_, at) => weightOf(at)) : drawn;
  const toeplitz = createToeplitz(spec, createFft);
  const spectrum = new Float64Array(toeplitz.floats);
  toeplitz.prepare(exponentialsOf(weights, spec), spectrum);
  const attention = headOf(spec).create(spec, { toeplitz, spectrumOf: () => spectrum, weightsOf: () => weights });
  return { spec, head, weights, toeplitz, attention, g: numbers(4, 2 * length) };
}

/** Central differences of Σ g·out, extrapolated once: an error of the fourth order. */
function differences(spec: AttentionSpec, inputs: { q: Float64Array; k: Float64Array; v: Float64Array; weights: Float64Array }, g: Float64Array) {
  const loss = () =>
    attentionReference(spec, { ...inputs, weights: spec.bias === "none" ? undefined : inputs.weights }).reduce((sum, x, i) => sum + x * g[i]!, 0);
  const slope = (array: Float64Array, at: number, step: number) => {
    const before = array[at]!;
    array[at] = before + step;
    const high = loss();
    array[at] = before - step;
    const low = loss();
    array[at] = before;
    return (high - low) / (2 * step);
  };
  const gradient = (array: Float64Array) => Float64Array.from(array, (_, at) => (4 * slope(array, at, 5e-4) - slope(array, at, 1e-3)) / 3);
  return { dq: gradient(inputs.q), dk: gradient(inputs.k), dv: gradient(inputs.v), dWeights: gradient(inputs.weights) };
}

describe.each(VARIANTS)("%j", (variant) => {
  test.each([1, 2, 7])("of %i tokens", (length) => {
    const seed = 100 * length;
    const { spec, head, weights, toeplitz, attention, g } = run(variant, length, seed);
    const out = new Float64Array(2 * length);
    attention.forward(head, out);
    expect(relativeL2(out, attentionReference(spec, { ...head, weights: spec.bias === "none" ? undefined : weights })), `seed ${seed}`).toBeLessThan(
      1e-12,
    );

    const gradients = { dq: head.q.slice().fill(NaN), dk: head.k.slice().fill(NaN), dv: head.v.slice().fill(NaN) };
    const sums = { spectrum: new Float64Array(toeplitz.floats), direct: new Float64Array(weights.length) };
    attention.backward(head, g, gradients, sums);
    const expected = differences(spec, { q: head.q, k: head.k, v: head.v, weights }, g);
    const incoming = Math.hypot(...g);
    const close = (actual: Float64Array, wanted: Float64Array, what: string) => {
      const difference = Math.hypot(...actual.map((x, i) => x - wanted[i]!));
      expect(difference, `${what}, seed ${seed}`).toBeLessThan(1e-6 * Math.max(Math.hypot(...wanted), 1e-3 * incoming));
    };
    close(gradients.dq, expected.dq, "dq");
    close(gradients.dk, expected.dk, "dk");
    close(gradients.dv, expected.dv, "dv");
    if (spec.bias === "none") return;
    const dWeights = Float64Array.from(sums.direct);
    const exponentials = exponentialsOf(weights, spec);
    toeplitz.restore(sums.spectrum, (index, value) => {
      dWeights[index]! += value * exponentials[index]!;
    });
    close(dWeights, expected.dWeights, "dWeights");
  });
});

describe("extremes", () => {
  test.each([
    { featureMap: "sikf" },
    { featureMap: "softmax" },
    { featureMap: "sikf", causal: true },
    { featureMap: "softmax", causal: true },
    { featureMap: "dpfp" },
    { featureMap: "dpfp", nu: 5, causal: true },
    { kind: "softmax" },
  ] as const)("%j of ±1e4 is finite, and so are its gradients", (variant) => {
    const { head, attention, g } = run(variant, 12, 5);
    for (const array of [head.q, head.k]) array.forEach((x, i) => (array[i] = 1e4 * Math.sign(x)));
    const out = new Float64Array(24);
    attention.forward(head, out);
    const gradients = { dq: head.q.slice(), dk: head.k.slice(), dv: head.v.slice() };
    attention.backward(head, g, gradients);
    for (const array of [out, ...Object.values(gradients)]) expect(array.every(Number.isFinite)).toBe(true);
  });

  test.each([
    ["only earlier tokens", (offset: number) => (offset < 0 ? 0 : -Infinity)],
    ["one offset of 400", (offset: number) => (offset === 2 ? 400 : 0)],
    ["a slope of 90", (offset: number) => -90 * Math.abs(offset)],
    ["nothing", () => -Infinity],
  ] as const)("weights of a multiplicative bias: %s", (_, weightOf) => {
    const { spec, head, attention, g, toeplitz, weights } = run({ featureMap: "elu+1", bias: "multiplicative" }, 9, 7, (at) => weightOf(at - 8));
    const out = new Float64Array(18).fill(NaN);
    attention.forward(head, out);
    const close = (actual: Float64Array, expected: Float64Array) => actual.forEach((x, i) => expect(x).toBeCloseTo(expected[i]!, 11));
    close(out, attentionReference(spec, { ...head, weights }));
    const gradients = { dq: head.q.slice(), dk: head.k.slice(), dv: head.v.slice() };
    const sums = { spectrum: new Float64Array(toeplitz.floats), direct: new Float64Array(weights.length) };
    attention.backward(head, g, gradients, sums);
    const expected = attentionGradientReference(spec, { ...head, weights }, g);
    close(gradients.dq, expected.dq);
    close(gradients.dk, expected.dk);
    close(gradients.dv, expected.dv);
  });

  test.each([
    ["relu", -1],
    ["dpfp", 0],
  ] as const)("%s: a query without a feature in common with any key gets zero, and no gradient", (featureMap, key) => {
    const { head, attention, g } = run({ featureMap }, 4, 6);
    head.k.fill(key);
    const out = new Float64Array(8).fill(NaN);
    attention.forward(head, out);
    expect([...out]).toEqual(Array(8).fill(0));
    const gradients = { dq: head.q.slice(), dk: head.k.slice(), dv: head.v.slice() };
    attention.backward(head, g, gradients);
    for (const array of Object.values(gradients)) expect(array.every((x) => x === 0)).toBe(true);
  });
});
