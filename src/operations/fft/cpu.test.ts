import { describe, expect, test } from "vitest";
import { createFft } from "../../math/fft.ts";
import { elementCount } from "../../core/check.ts";
import { fftGradientSpec, fftSpec, inPlaceSpec, type FftOptions, type FftSpec } from "../../testing/specs.ts";
import { normals, random, relativeL2 } from "../../testing/random.ts";
import { compute } from "../../testing/compute.ts";
import fixtures from "../../testing/fixtures/fftn.json" with { type: "json" };
import { fftReference } from "../../testing/reference.ts";
import { createTransform } from "./cpu.ts";

/** Half a unit of float32: all that a float64 result loses when it is stored. */
const ROUNDING = 2 ** -24;
const KINDS = ["c2c", "r2c", "c2r"] as const;

function inputOf(spec: FftSpec, seed: number): Float32Array {
  return normals(seed, (spec.kind === "r2c" ? 1 : 2) * elementCount(spec.inputShape));
}

/** One to four axes of up to seven points, of which one to three are transformed. */
function drawOptions(seed: number): FftOptions {
  const uniform = random(seed);
  const integer = (below: number) => Math.floor(uniform() * below);
  const shape = Array.from({ length: 1 + integer(4) }, () => 1 + integer(7));
  const axes = shape.map((_, axis) => axis);
  for (let i = axes.length - 1; i > 0; i--) {
    const j = integer(i + 1);
    [axes[i], axes[j]] = [axes[j]!, axes[i]!];
  }
  const kind = KINDS[integer(3)]!;
  const direction = kind === "c2c" ? ({ direction: (["forward", "inverse"] as const)[integer(2)]! } as const) : {};
  return {
    shape,
    axes: axes.slice(0, 1 + integer(Math.min(3, axes.length))),
    kind,
    norm: (["backward", "ortho", "forward"] as const)[integer(3)]!,
    ...direction,
  };
}

test.each(Array.from({ length: 60 }, (_, i) => 100 + i))("agrees with the definition, seed %i", async (seed) => {
  const options = drawOptions(seed);
  const spec = fftSpec(options);
  const x = inputOf(spec, seed);
  expect(relativeL2(await compute(spec, { x }), fftReference(spec, x)), JSON.stringify(options)).toBeLessThan(ROUNDING);
});

test.each([
  { shape: [3, 40, 17], axes: [1] },
  { shape: [40, 3], axes: [0] },
  { shape: [12, 90], axes: [0, 1] },
])("many columns: $shape along $axes", async (options) => {
  for (const kind of KINDS) {
    const spec = fftSpec({ ...options, kind });
    const x = inputOf(spec, 11);
    expect(relativeL2(await compute(spec, { x }), fftReference(spec, x)), `${kind}, seed 11`).toBeLessThan(ROUNDING);
  }
});

describe("agrees with scipy", () => {
  test.each(fixtures)("$kind of $shape along $axes, $direction, $norm", async ({ x, out, ...options }) => {
    const spec = fftSpec(options as FftOptions);
    expect(relativeL2(await compute(spec, { x: Float32Array.from(x) }), out)).toBeLessThan(ROUNDING);
  });
});

test.each(KINDS)("%s in float64, not rounded", (kind) => {
  const spec = fftSpec({ shape: [2, 9, 22], axes: [2, 1], kind, norm: "ortho" });
  const x = inputOf(spec, 19);
  const out = new Float64Array((kind === "c2r" ? 1 : 2) * elementCount(spec.outputShape));
  createTransform(spec, createFft)(x, out);
  expect(relativeL2(out, fftReference(spec, x)), "seed 19").toBeLessThan(2e-15);
});

test.each([64, 100, 4096, 8192])("lines of %i points, each written as a whole, and in place", (length) => {
  for (const direction of ["forward", "inverse"] as const) {
    const spec = fftSpec({ shape: [3, length], direction, norm: "ortho" });
    const x = inputOf(spec, 20);
    const run = createTransform(spec, createFft);
    const expected = new Float64Array(x.length);
    run(Float64Array.from(x), expected);
    const out = new Float32Array(x.length).fill(NaN);
    run(x, out);
    expect(relativeL2(out, expected), `${direction}, seed 20`).toBeLessThan(ROUNDING);
    run(x, x);
    expect(relativeL2(x, out), `${direction}, in place, seed 20`).toBe(0);
  }
});

test("in place gives the same", async () => {
  const spec = fftSpec({ shape: [3, 5, 8], axes: [0, 2], norm: "ortho" });
  const x = inputOf(spec, 12);
  const expected = await compute(spec, { x });
  expect(await compute(inPlaceSpec(spec), { out: x }), "seed 12").toEqual(expected);
});

test.each([
  { shape: [9, 14], axes: [0, 1] },
  { shape: [9, 14], axes: [1, 0] },
  { shape: [4, 5, 6], axes: [2, 0, 1] },
  { shape: [2, 31], axes: [1] },
])("c2r undoes r2c of $shape along $axes", async (options) => {
  const x = inputOf(fftSpec({ ...options, kind: "r2c" }), 13);
  const spectrum = await compute(fftSpec({ ...options, kind: "r2c" }), { x });
  expect(relativeL2(await compute(fftSpec({ ...options, kind: "c2r" }), { x: spectrum }), x), "seed 13").toBeLessThan(2 * ROUNDING);
});

test("c2r ignores the imaginary parts of the bins that are real", async () => {
  const spec = fftSpec({ shape: [2, 6], kind: "c2r" });
  const x = inputOf(spec, 14);
  const expected = await compute(spec, { x });
  for (const at of [1, 7, 9, 15]) x[at] = 1000;
  expect(await compute(spec, { x }), "seed 14").toEqual(expected);
});

test("rows do not disturb each other, however different they are", async () => {
  const spec = fftSpec({ shape: [2, 20], kind: "r2c" });
  const [large, small] = [normals(15, 20).map((value) => value * 1e30), normals(16, 20).map((value) => value * 1e-30)];
  const out = await compute(spec, { x: Float32Array.of(...large, ...small) });
  expect(relativeL2(out.subarray(22), await compute(fftSpec({ shape: [20], kind: "r2c" }), { x: small })), "seeds 15, 16").toBe(0);
});

test("is linear, keeps the energy, and turns a shift into a phase", async () => {
  const spec = fftSpec({ shape: [12, 10], axes: [0, 1], norm: "ortho" });
  const [a, b] = [inputOf(spec, 17), inputOf(spec, 18)];
  const sum = a.map((value, i) => value + 2 * b[i]!);
  const [fa, fb] = [await compute(spec, { x: a }), await compute(spec, { x: b })];
  const expected = fa.map((value, i) => value + 2 * fb[i]!);
  expect(relativeL2(await compute(spec, { x: sum }), expected), "linear, seeds 17, 18").toBeLessThan(4 * ROUNDING);
  const energy = (x: Float32Array) => x.reduce((total, value) => total + value * value, 0);
  expect(energy(fa) / energy(a), "seed 17").toBeCloseTo(1, 6);
  // One row later.
  const moved = Float32Array.of(...a.subarray(-20), ...a.subarray(0, -20));
  const turned = Float64Array.from(fa, (_, i) => {
    const angle = (-2 * Math.PI * Math.floor(i / 20)) / 12;
    const [re, im] = [fa[i - (i % 2)]!, fa[i - (i % 2) + 1]!];
    return i % 2 === 0 ? re * Math.cos(angle) - im * Math.sin(angle) : re * Math.sin(angle) + im * Math.cos(angle);
  });
  expect(relativeL2(await compute(spec, { x: moved }), turned), "shift, seed 17").toBeLessThan(3 * ROUNDING);
});

/** Σ_j dOut_j ∂out_j/∂x_i over real numbers, by the definition on every unit vector: the transform is linear. */
function gradientReference(spec: FftSpec, dOut: Float32Array): Float64Array {
  const count = inputOf(spec, 0).length;
  return Float64Array.from({ length: count }, (_, i) => {
    const unit = new Float64Array(count);
    unit[i] = 1;
    return fftReference(spec, unit).reduce((sum, value, j) => sum + value * dOut[j]!, 0);
  });
}

test.each(Array.from({ length: 40 }, (_, i) => 200 + i))("gradient: agrees with the definition, seed %i", async (seed) => {
  const options = drawOptions(seed);
  const spec = fftSpec({ ...options, shape: options.shape.map((size) => Math.min(size, options.shape.length > 2 ? 3 : 6)) });
  const gradient = fftGradientSpec(spec);
  const dOut = inputOf(gradient, seed);
  expect(relativeL2(await compute(gradient, { x: dOut }), gradientReference(spec, dOut)), JSON.stringify(options)).toBeLessThan(ROUNDING);
});

test.each(KINDS)("gradient of %s: ⟨dOut, F x⟩ = ⟨dx, x⟩", async (kind) => {
  for (const [shape, axes] of [
    [[1], [0]],
    [[2], [0]],
    [[3, 97], [1]],
    [
      [12, 9, 30],
      [2, 0],
    ],
    [
      [8, 6, 10],
      [0, 2, 1],
    ],
  ] as const) {
    for (const norm of ["backward", "ortho", "forward"] as const) {
      const spec = fftSpec({ shape, axes, kind, norm });
      const gradient = fftGradientSpec(spec);
      const [x, dOut] = [inputOf(spec, 21), inputOf(gradient, 22)];
      const [out, dx] = [await compute(spec, { x }), await compute(gradient, { x: dOut })];
      const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
      const norms = Math.sqrt(dot(out, out) * dot(dOut, dOut));
      expect(Math.abs(dot(dOut, out) - dot(dx, x)) / norms, `${shape.join("×")}, ${norm}, seeds 21, 22`).toBeLessThan(2 * ROUNDING);
    }
  }
});

test("the gradient of the gradient is the transform", () => {
  for (const kind of KINDS) {
    const spec = fftSpec({ shape: [3, 8], kind, norm: "forward" });
    const there = fftGradientSpec(spec);
    expect(there.scale).toBe(spec.scale);
    expect(fftGradientSpec(there), kind).toEqual(spec);
  }
});
