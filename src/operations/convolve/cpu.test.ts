import { describe, expect, test } from "vitest";
import { elementCount } from "../../core/check.ts";
import { convolveSpec, kernelSpectrumSpec, type ConvolveMode, type ConvolveOptions, type ConvolveSpec } from "../../testing/specs.ts";
import { normals, random, relativeL2 } from "../../testing/random.ts";
import { taskOf } from "../../testing/operations.ts";
import { compute, createTestBackend } from "../../testing/compute.ts";
import fixtures from "../../testing/fixtures/convolve.json" with { type: "json" };
import { convolveReference } from "../../testing/reference.ts";

/** Half a unit of float32: all that a float64 result loses when it is stored. */
const ROUNDING = 2 ** -24;
const MODES: readonly ConvolveMode[] = ["circular", "full", "same", "valid", "causal"];

function inputsOf(spec: ConvolveSpec, seed: number) {
  const floats = spec.dtype === "f32" ? 1 : 2;
  return { x: normals(seed, floats * elementCount(spec.shape)), kernel: normals(seed + 1, floats * elementCount(spec.kernelShape)) };
}

/** Up to two axes before and one after the one or two of the convolution; the kernel may have some of the axes before. */
function drawOptions(seed: number): ConvolveOptions {
  const uniform = random(seed);
  const integer = (below: number) => Math.floor(uniform() * below);
  const mode = MODES[integer(5)]!;
  const before = Array.from({ length: integer(3) }, () => 1 + integer(3));
  const lengths = Array.from({ length: 1 + integer(2) }, () => 1 + integer(9));
  const after = Array.from({ length: integer(2) }, () => 1 + integer(3));
  const kernel = lengths.map((length) => 1 + integer(mode === "circular" || mode === "valid" ? length : 12));
  return {
    shape: [...before, ...lengths, ...after],
    kernel: [...before.slice(integer(before.length + 1)), ...kernel],
    axes: lengths.map((_, i) => before.length + i),
    mode,
    dtype: (["f32", "complex64"] as const)[integer(2)]!,
  };
}

test.each(Array.from({ length: 80 }, (_, i) => 300 + i))("agrees with the definition, seed %i", async (seed) => {
  const options = drawOptions(seed);
  const spec = convolveSpec(options);
  const { x, kernel } = inputsOf(spec, seed);
  const message = JSON.stringify(options);
  // A single product may cancel against the noise of the transform, so the bound is a little above the rounding.
  expect(relativeL2(await compute(spec, { x, kernel }), convolveReference(spec, x, kernel)), message).toBeLessThan(1.01 * ROUNDING);
});

test.each(MODES)("%s with a long kernel, prime lengths", async (mode) => {
  const spec = convolveSpec({ shape: [2, 499], kernel: [211], mode });
  const { x, kernel } = inputsOf(spec, 31);
  expect(relativeL2(await compute(spec, { x, kernel }), convolveReference(spec, x, kernel)), "seed 31").toBeLessThan(ROUNDING);
});

describe("agrees with scipy", () => {
  test.each(fixtures)("$mode, $shape with $kernel along $axes, $dtype", async ({ x, h, out, outputShape, ...options }) => {
    const spec = convolveSpec(options as ConvolveOptions);
    expect(spec.outputShape).toEqual(outputShape);
    expect(relativeL2(await compute(spec, { x: Float32Array.from(x), kernel: Float32Array.from(h) }), out)).toBeLessThan(ROUNDING);
  });
});

test("an impulse as the kernel moves the data", async () => {
  const kernel = Float32Array.of(0, 0, 1, 0);
  const x = Float32Array.of(1, 2, 3, 4, 5);
  const run = async (mode: ConvolveMode) =>
    [...(await compute(convolveSpec({ shape: [5], kernel: [4], mode }), { x, kernel }))].map((y) => Math.round(1e5 * y) / 1e5 + 0);
  expect(await run("circular")).toEqual([4, 5, 1, 2, 3]);
  expect(await run("causal")).toEqual([0, 0, 1, 2, 3]);
  expect(await run("full")).toEqual([0, 0, 1, 2, 3, 4, 5, 0]);
  expect(await run("same")).toEqual([0, 1, 2, 3, 4]);
  expect(await run("valid")).toEqual([2, 3]);
});

test("a spectrum serves several convolutions and does not depend on what its memory held", async () => {
  const backend = createTestBackend();
  const spec = convolveSpec({ shape: [6, 8], kernel: [3, 3], axes: [0, 1], mode: "same" });
  const prepare = await backend.compile("test", taskOf(kernelSpectrumSpec(spec)));
  const executable = await backend.compile("test", taskOf(spec));
  const kernel = backend.upload(normals(32, 9), "kernel");
  const spectrum = backend.upload(new Float32Array(prepare.bytes["spectrum"]! / 4).fill(NaN), "spectrum");
  expect(executable.bytes["spectrum"]).toBe(prepare.bytes["spectrum"]);
  backend.run([{ executable: prepare, bindings: { kernel, spectrum } }]);
  for (const seed of [33, 34]) {
    const data = normals(seed, 48);
    const out = backend.allocate(executable.bytes["out"]!, "out");
    backend.run([{ executable, bindings: { x: backend.upload(data, "x"), spectrum, out } }]);
    const result = new Float32Array(48);
    await out.read(result);
    expect(relativeL2(result, convolveReference(spec, data, normals(32, 9))), `seeds 32, ${seed}`).toBeLessThan(ROUNDING);
  }
});
