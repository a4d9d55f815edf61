import { expect, test } from "vitest";
import { elementCount } from "../../core/check.ts";
import { toeplitzGradientSpec, type ToeplitzOptions, toeplitzSpec, type ToeplitzSpec, weightsShape } from "../../testing/specs.ts";
import { normals, relativeL2 } from "../../testing/random.ts";
import { compute, computeAll } from "../../testing/compute.ts";
import { toeplitzGradientReference, toeplitzReference } from "../../testing/reference.ts";

/** Half a unit of float32: all that a float64 result loses when it is stored. */
const ROUNDING = 2 ** -24;

function draw(spec: ToeplitzSpec, seed: number) {
  const rows = spec.batch * spec.heads * spec.length * spec.channels;
  return { v: normals(seed, rows), weights: normals(seed + 1, elementCount(weightsShape(spec))), dOut: normals(seed + 2, rows) };
}

async function gradients(spec: ToeplitzSpec, inputs: Readonly<Record<string, Float32Array | Uint32Array>>) {
  return computeAll(toeplitzGradientSpec(spec), inputs, ["dv", "dWeights"]);
}

const OPTIONS: readonly ToeplitzOptions[] = [
  { heads: 1, length: 1, channels: 1 },
  { heads: 2, length: 2, channels: 1, causal: true },
  { heads: 3, batch: 2, length: 37, channels: 5 },
  { heads: 2, batch: 3, length: 64, channels: 4, causal: true },
  { heads: 2, grid: [1, 1], channels: 2 },
  { heads: 2, batch: 2, grid: [1, 7], channels: 3 },
  { heads: 1, grid: [7, 1], channels: 1 },
  { heads: 3, batch: 2, grid: [5, 6], channels: 3 },
];

test.each(OPTIONS)("agree with the double loop: %j", async (options) => {
  const spec = toeplitzSpec(options);
  const inputs = draw(spec, 30);
  const [actual, expected] = [await gradients(spec, inputs), toeplitzGradientReference(spec, inputs)];
  expect(relativeL2(actual.dv, expected.dv), "dv, seed 30").toBeLessThan(ROUNDING);
  expect(relativeL2(actual.dWeights, expected.dWeights), "dWeights, seed 30").toBeLessThan(ROUNDING);
});

test.each(OPTIONS)("⟨dOut, T(w) v⟩ = ⟨dw, w⟩ = ⟨dv, v⟩: %j", async (options) => {
  const spec = toeplitzSpec(options);
  const { v, weights, dOut } = draw(spec, 40);
  const out = await compute(spec, { v, weights });
  const { dv, dWeights } = await gradients(spec, { v, weights, dOut });
  const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  const bound = 4 * ROUNDING * Math.sqrt(dot(dOut, dOut) * dot(out, out));
  expect(Math.abs(dot(dOut, out) - dot(dv, v)), "dv, seed 40").toBeLessThanOrEqual(bound);
  expect(Math.abs(dot(dOut, out) - dot(dWeights, weights)), "dWeights, seed 40").toBeLessThanOrEqual(bound);
});

test("the derivative of a loss, by differences", async () => {
  const spec = toeplitzSpec({ heads: 1, length: 9, channels: 2, causal: true });
  const { v, weights, dOut } = draw(spec, 50);
  const { dWeights } = await gradients(spec, { v, weights, dOut });
  const loss = (w: ArrayLike<number>) => toeplitzReference(spec, v, w).reduce((sum, value, i) => sum + value * dOut[i]!, 0);
  for (const [i, weight] of weights.entries()) {
    const moved = (step: number) => loss(Float64Array.from(weights, (value, at) => (at === i ? weight + step : value)));
    expect((moved(1) - moved(-1)) / 2, `weight ${i}, seed 50`).toBeCloseTo(dWeights[i]!, 5);
    if (i > 8) expect(dWeights[i], `weight ${i}, of a later token`).toBe(0);
  }
});

test.each([false, true])("of variable lengths what lies beyond has no influence, NaN neither; causal %s", async (causal) => {
  const spec: ToeplitzSpec = { ...toeplitzSpec({ heads: 2, batch: 4, length: 11, channels: 3, causal }), variableLengths: true };
  const lengths = [11, 0, 1, 6];
  const inputs = draw(spec, 60);
  const expected = { out: toeplitzReference(spec, inputs.v, inputs.weights, lengths), ...toeplitzGradientReference(spec, inputs, lengths) };
  const beyond = (_: number, i: number) => Math.floor(i / 3) % 11 >= lengths[Math.floor(i / (2 * 11 * 3))]!;
  const holes = (data: Float32Array) => data.map((value, i) => (beyond(value, i) ? NaN : value));
  const given = { v: holes(inputs.v), dOut: holes(inputs.dOut), weights: inputs.weights, lengths: Uint32Array.from(lengths) };
  const { dv, dWeights } = await gradients(spec, given);
  const out = await compute(spec, given);
  for (const [name, actual] of Object.entries({ out, dv, dWeights })) {
    expect(relativeL2(actual, expected[name as "out" | "dv" | "dWeights"]), `${name}, seed 60`).toBeLessThan(ROUNDING);
  }
  for (const rows of [out, dv]) expect(rows.filter((value, i) => beyond(value, i)).every((value) => value === 0)).toBe(true);
});
