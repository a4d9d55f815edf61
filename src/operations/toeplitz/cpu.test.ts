import { describe, expect, test } from "vitest";
import type { Storage } from "../../core/backend.ts";
import { elementCount } from "../../core/check.ts";
import { spectrumSpec, toeplitzSpec, weightsShape, type ToeplitzOptions } from "../../testing/specs.ts";
import { normals, relativeL2 } from "../../testing/random.ts";
import { taskOf } from "../../testing/operations.ts";
import { compute, createTestBackend } from "../../testing/compute.ts";
import fixtures from "../../testing/fixtures/toeplitz.json" with { type: "json" };
import { toeplitzReference } from "../../testing/reference.ts";

/** Half a unit of float32: all that a float64 result loses when it is stored. */
const ROUNDING = 2 ** -24;

async function compare(options: ToeplitzOptions, seed: number): Promise<void> {
  const spec = toeplitzSpec(options);
  const v = normals(seed, spec.batch * spec.heads * spec.length * spec.channels);
  const weights = normals(seed + 1, elementCount(weightsShape(spec)));
  const message = `${JSON.stringify(options)}, seeds ${seed}, ${seed + 1}`;
  expect(relativeL2(await compute(spec, { v, weights }), toeplitzReference(spec, v, weights)), message).toBeLessThan(ROUNDING);
}

const SIZES = [
  { batch: 1, heads: 1, channels: 1 },
  { batch: 2, heads: 3, channels: 5 },
  { batch: 1, heads: 2, channels: 4 },
];

test.each([1, 2, 3, 16, 50, 64, 97])("length %i agrees with the double loop, causal or not", async (length) => {
  for (const sizes of SIZES) {
    await compare({ ...sizes, length }, length);
    await compare({ ...sizes, length, causal: true }, length);
  }
});

test.each([
  [1, 1],
  [1, 7],
  [7, 1],
  [4, 4],
  [3, 10],
  [11, 6],
] as const)("a grid of %i × %i agrees with the double loop", async (height, width) => {
  for (const sizes of SIZES) await compare({ ...sizes, grid: [height, width] }, height + 10 * width);
});

describe("agrees with scipy", () => {
  test.each(fixtures)("$options", async ({ options, v, weights, out }) => {
    const spec = toeplitzSpec(options as unknown as ToeplitzOptions);
    const result = await compute(spec, { v: Float32Array.from(v), weights: Float32Array.from(weights) });
    expect(relativeL2(result, out)).toBeLessThan(ROUNDING);
  });
});

test("a weight at offset j − i moves the values by it", async () => {
  const length = 10;
  const weights = new Float32Array(2 * length - 1);
  weights[3 + length - 1] = 1;
  const v = Float32Array.from({ length }, (_, n) => n + 1);
  const out = await compute(toeplitzSpec({ heads: 1, length, channels: 1 }), { v, weights });
  out.forEach((value, i) => expect(value).toBeCloseTo(i + 3 < length ? i + 4 : 0, 6));
  const causal = await compute(toeplitzSpec({ heads: 1, length, channels: 1, causal: true }), { v, weights });
  causal.forEach((value) => expect(value).toBeCloseTo(0, 6));
});

test("a weight at offset (1, −2) takes the values from there", async () => {
  const [height, width] = [3, 4];
  const weights = new Float32Array((2 * height - 1) * (2 * width - 1));
  weights[(1 + height - 1) * (2 * width - 1) - 2 + width - 1] = 1;
  const v = Float32Array.from({ length: height * width }, (_, n) => n + 1);
  const out = await compute(toeplitzSpec({ heads: 1, grid: [height, width], channels: 1 }), { v, weights });
  out.forEach((value, i) => {
    const [y, x] = [Math.floor(i / width) + 1, (i % width) - 2];
    expect(value).toBeCloseTo(y < height && x >= 0 ? v[y * width + x]! : 0, 6);
  });
});

test.each([{ length: 10 }, { length: 10, causal: true }, { grid: [3, 4] as const }])(
  "the spectrum of $length $grid does not depend on what its memory held",
  async (positions) => {
    const backend = createTestBackend();
    const spec = spectrumSpec(toeplitzSpec({ heads: 2, channels: 1, ...positions }));
    const executable = await backend.compile("test", taskOf(spec));
    const weights = backend.upload(normals(14, executable.bytes["weights"]! / 4), "weights");
    const [fresh, used] = [1, 2].map(() => backend.allocate(executable.bytes["spectrum"]!, "spectrum")) as [Storage, Storage];
    backend.run([fresh, used, used].map((spectrum) => ({ executable, bindings: { weights, spectrum } })));
    const [expected, actual] = [fresh, used].map(({ byteLength }) => new Float32Array(byteLength / 4)) as [Float32Array, Float32Array];
    await Promise.all([fresh.read(expected), used.read(actual)]);
    expect(new Uint32Array(actual.buffer), "seed 14").toEqual(new Uint32Array(expected.buffer));
  },
);
