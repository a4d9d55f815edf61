import { describe, expect, test } from "vitest";
import type { Storage } from "../spec/backend.ts";
import { capLimits, DEFAULT_LIMITS } from "../spec/limits.ts";
import {
  attentionSpec,
  complexMultiplySpec,
  fftSpec,
  spectrumSpec,
  toeplitzSpec,
  type AttentionOptions,
  type OperationSpec,
} from "../spec/operations.ts";
import { normals, random, relativeL2 } from "../testing/random.ts";
import { createCpuBackend } from "./backend.ts";
import { attentionReference, dftReference, toeplitzReference } from "./reference.ts";

/** Half a unit of float32: all that a float64 result loses when it is stored. */
const ROUNDING = 2 ** -24;
const LENGTHS = [1, 2, 3, 16, 50, 64];

function createBackend() {
  return createCpuBackend(capLimits("test", DEFAULT_LIMITS, {}, 2 ** 28));
}

/** Runs one operation on a backend of its own; `out` (or `spectrum`) is what it allocates. */
async function compute(spec: OperationSpec, inputs: Readonly<Record<string, Float32Array>>): Promise<Float32Array> {
  const backend = createBackend();
  const executable = await backend.compile("test", spec);
  const bindings: Record<string, Storage> = {};
  for (const [name, data] of Object.entries(inputs)) bindings[name] = backend.upload(data, name);
  for (const [name, bytes] of Object.entries(executable.bytes)) bindings[name] ??= backend.allocate(bytes, name);
  if (spec.operation === "toeplitz" || (spec.operation === "attention" && spec.bias === "fastrpb")) {
    const { weights, ...rest } = bindings;
    const prepare = await backend.compile("test", spectrumSpec(spec));
    backend.run([
      { executable: prepare, bindings: { weights: weights!, spectrum: bindings["spectrum"]! } },
      { executable, bindings: rest },
    ]);
  } else {
    backend.run([{ executable, bindings }]);
  }
  const out = new Float32Array(executable.bytes["out"]! / 4);
  await bindings["out"]!.read(out);
  return out;
}

describe("fft", () => {
  test.each([
    { shape: [12], axes: [0] },
    { shape: [3, 10, 4], axes: [1] },
    { shape: [3, 10, 4], axes: [0] },
    { shape: [2, 3, 14], axes: [-1] },
    { shape: [5, 1, 3], axes: [1] },
  ])("$shape along $axes", async ({ shape, axes }) => {
    const spec = fftSpec({ shape, axes, direction: "inverse", norm: "ortho" });
    const { outer, length, inner } = spec;
    const x = normals(11, 2 * outer * length * inner);
    const expected = new Float64Array(x.length);
    for (let block = 0; block < outer; block++) {
      for (let column = 0; column < inner; column++) {
        const places = Array.from({ length }, (_, n) => (block * length + n) * inner + column);
        const line = dftReference(
          places.flatMap((place) => [x[2 * place]!, x[2 * place + 1]!]),
          "inverse",
        );
        places.forEach((place, n) => expected.set([spec.scale * line[2 * n]!, spec.scale * line[2 * n + 1]!], 2 * place));
      }
    }
    expect(relativeL2(await compute(spec, { x }), expected), "seed 11").toBeLessThan(ROUNDING);
  });
});

describe("complexMultiply", () => {
  test.each([
    { conjugate: false, scale: 1 },
    { conjugate: true, scale: -0.25 },
  ])("conjugate $conjugate, scale $scale; the second operand repeats", async ({ conjugate, scale }) => {
    const [a, b] = [normals(12, 2 * 24), normals(13, 2 * 6)];
    const expected = new Float64Array(a.length);
    for (let i = 0; i < 24; i++) {
      const [ar, ai] = [a[2 * i]!, a[2 * i + 1]!];
      const [br, bi] = [b[2 * (i % 6)]!, (conjugate ? -1 : 1) * b[2 * (i % 6) + 1]!];
      expected.set([scale * (ar * br - ai * bi), scale * (ar * bi + ai * br)], 2 * i);
    }
    const spec = complexMultiplySpec({ shape: [4, 2, 3], conjugate, scale });
    expect(relativeL2(await compute(spec, { a, b }), expected), "seeds 12, 13").toBeLessThan(ROUNDING);
    const repeated = Float32Array.from(a, (_, index) => b[index % b.length]!);
    expect(relativeL2(await compute(spec, { a, b: repeated }), expected), "full size").toBeLessThan(ROUNDING);
  });
});

describe("toeplitz", () => {
  test.each(LENGTHS)("length %i agrees with the double loop", async (length) => {
    for (const [batch, heads, channels] of [
      [1, 1, 1],
      [2, 3, 5],
      [1, 2, 4],
    ] as const) {
      const spec = toeplitzSpec({ batch, heads, length, channels });
      const v = normals(length, batch * heads * length * channels);
      const weights = normals(length + 1, heads * (2 * length - 1));
      const message = `seeds ${length}, ${length + 1}, ${batch} × ${heads} × ${channels}`;
      expect(relativeL2(await compute(spec, { v, weights }), toeplitzReference(spec, v, weights)), message).toBeLessThan(ROUNDING);
    }
  });

  test("a weight at offset j − i moves the values by it", async () => {
    const length = 10;
    const weights = new Float32Array(2 * length - 1);
    weights[3 + length - 1] = 1;
    const v = Float32Array.from({ length }, (_, n) => n + 1);
    const out = await compute(toeplitzSpec({ heads: 1, length, channels: 1 }), { v, weights });
    out.forEach((value, i) => expect(value).toBeCloseTo(i + 3 < length ? i + 4 : 0, 6));
  });
});

describe("spectrum", () => {
  test("does not depend on what its memory held before", async () => {
    const backend = createBackend();
    const executable = await backend.compile("test", spectrumSpec({ heads: 2, length: 10 }));
    const weights = backend.upload(normals(14, 2 * 19), "weights");
    const [fresh, used] = [1, 2].map(() => backend.allocate(executable.bytes["spectrum"]!, "spectrum")) as [Storage, Storage];
    backend.run([fresh, used, used].map((spectrum) => ({ executable, bindings: { weights, spectrum } })));
    const [expected, actual] = [fresh, used].map(({ byteLength }) => new Float32Array(byteLength / 4)) as [Float32Array, Float32Array];
    await Promise.all([fresh.read(expected), used.read(actual)]);
    expect(new Uint32Array(actual.buffer), "seed 14").toEqual(new Uint32Array(expected.buffer));
  });
});

type AttentionTensors = Readonly<Record<"q" | "k" | "v", Float32Array>> & Readonly<Record<string, Float32Array>>;

/** Draws from the seeds `seed` to `seed + 3`. */
function attentionTensors(seed: number, options: AttentionOptions): AttentionTensors {
  const spec = attentionSpec(options);
  const rows = spec.batch * spec.heads * spec.length;
  const tensors = {
    q: normals(seed, rows * spec.headDim),
    k: normals(seed + 1, rows * spec.headDim),
    v: normals(seed + 2, rows * spec.valueDim),
  };
  return spec.bias === "none" ? tensors : { ...tensors, weights: normals(seed + 3, spec.heads * (2 * spec.length - 1)) };
}

describe("attention", () => {
  const cases = (["sikf", "elu+1"] as const).flatMap((featureMap) =>
    (["none", "fastrpb"] as const).flatMap((bias) => LENGTHS.map((length) => ({ featureMap, bias, length }))),
  );
  test.each(cases)("$featureMap, bias $bias, length $length agrees with the double loop", async ({ featureMap, bias, length }) => {
    for (const shape of [
      { batch: 1, heads: 1, headDim: 1 },
      { batch: 2, heads: 3, headDim: 8 },
      { batch: 2, heads: 2, headDim: 4, valueDim: 7 },
      { batch: 1, heads: 2, headDim: 6, valueDim: 1 },
    ]) {
      const options = { ...shape, length, featureMap, bias };
      const tensors = attentionTensors(20, options);
      const expected = attentionReference(attentionSpec(options), tensors);
      expect(relativeL2(await compute(attentionSpec(options), tensors), expected), "seeds 20 to 23").toBeLessThan(ROUNDING);
    }
  });

  const SHIFTED = { heads: 2, length: 50, headDim: 8 };

  /** How much the result changes when queries and keys are shifted, both by a multiple of 1/4. */
  async function changeByShift(featureMap: "sikf" | "elu+1"): Promise<number> {
    const options = { ...SHIFTED, featureMap };
    const tensors = attentionTensors(30, options);
    // Multiples of 1/64 stay exact in float32 after the shift, so that only the formula is tested.
    const [q, k] = [tensors.q, tensors.k].map((x) => x.map((value) => Math.round(64 * value) / 64)) as [Float32Array, Float32Array];
    const before = await compute(attentionSpec(options), { ...tensors, q, k });
    const shifted = { ...tensors, q: q.map((value) => value + 3.25), k: k.map((value) => value - 1.5) };
    return relativeL2(await compute(attentionSpec(options), shifted), before);
  }

  test("sikf does not change when queries and keys are shifted, elu+1 does", async () => {
    expect(await changeByShift("sikf"), "seed 30").toBeLessThan(2 * ROUNDING);
    expect(await changeByShift("elu+1"), "seed 30").toBeGreaterThan(1e-2);
  });

  test("sikf does not change when one query alone is shifted", async () => {
    const spec = attentionSpec({ ...SHIFTED, featureMap: "sikf" });
    const tensors = attentionTensors(31, { ...SHIFTED, featureMap: "sikf" });
    const q = tensors.q.map((value) => Math.round(64 * value) / 64);
    const shifted = q.map((value, index) => (Math.floor(index / 8) === 7 ? value + 100 : value));
    const [before, after] = [await compute(spec, { ...tensors, q }), await compute(spec, { ...tensors, q: shifted })];
    expect(relativeL2(after, before), "seed 31").toBeLessThan(2 * ROUNDING);
  });

  test.each([-500, 500])("sikf stays exact for inputs × 1000 shifted by %i", async (shift) => {
    const options = { ...SHIFTED, featureMap: "sikf" as const };
    const tensors = attentionTensors(32, options);
    const [q, k] = [tensors.q.map((x) => 1000 * x + shift), tensors.k.map((x) => 1000 * x - shift)];
    const out = await compute(attentionSpec(options), { ...tensors, q, k });
    expect(out.every(Number.isFinite), "seed 32").toBe(true);
    const expected = attentionReference(attentionSpec(options), { ...tensors, q, k });
    expect(relativeL2(out, expected), "seed 32").toBeLessThan(ROUNDING);
  });

  test("sikf takes the largest float32 numbers", async () => {
    const uniform = random(33);
    const huge = Float32Array.from({ length: 2 * 50 * 8 }, () => (uniform() < 0.5 ? -3e38 : 3e38));
    const v = normals(34, huge.length);
    const out = await compute(attentionSpec({ ...SHIFTED, featureMap: "sikf" }), { q: huge, k: huge, v });
    expect(out.every(Number.isFinite), "seeds 33, 34").toBe(true);
  });

  test("elu+1 gives 0, not NaN, where every similarity underflows; the bias is still added", async () => {
    const options = { heads: 1, length: 16, headDim: 4, featureMap: "elu+1" as const };
    const low = new Float32Array(16 * 4).fill(-1000);
    const v = normals(35, 16 * 4);
    const out = await compute(attentionSpec(options), { q: low, k: low, v });
    expect([...out]).toEqual(Array.from(out, () => 0));
    const weights = normals(36, 31);
    const biased = await compute(attentionSpec({ ...options, bias: "fastrpb" }), { q: low, k: low, v, weights });
    const expected = toeplitzReference({ batch: 1, heads: 1, length: 16, channels: 4 }, v, weights);
    expect(relativeL2(biased, expected), "seeds 35, 36").toBeLessThan(ROUNDING);
  });

  test("equal keys give the mean of the values", async () => {
    const options = { heads: 1, length: 4, headDim: 2, valueDim: 1, featureMap: "sikf" as const };
    const v = new Float32Array([1, 2, 3, 6]);
    const out = await compute(attentionSpec(options), { q: normals(37, 8), k: new Float32Array(8).fill(0.5), v });
    out.forEach((value) => expect(value, "seed 37").toBeCloseTo(3, 6));
  });
});

describe("backend", () => {
  test("counts memory that is live", async () => {
    const backend = createBackend();
    const a = backend.allocate(12, "a");
    const b = backend.upload(new Float32Array([1, 2]), "b");
    expect(backend.memory()).toEqual({ liveBytes: 20, pooledBytes: 0, buffers: 2 });
    const copy = new Float32Array(2);
    await b.read(copy);
    expect([...copy]).toEqual([1, 2]);
    a.release();
    expect(backend.memory()).toEqual({ liveBytes: 8, pooledBytes: 0, buffers: 1 });
    await expect(a.read(new Float32Array(3))).rejects.toMatchObject({ code: "disposed" });
    backend.dispose();
    expect(backend.memory()).toEqual({ liveBytes: 0, pooledBytes: 0, buffers: 0 });
  });

  test("upload copies", async () => {
    const data = new Float32Array([1, 2, 3]);
    const storage = createBackend().upload(data.subarray(1), "tail");
    data.fill(9);
    const copy = new Float32Array(2);
    await storage.read(copy);
    expect([...copy]).toEqual([2, 3]);
    expect(storage).toMatchObject({ byteLength: 8, buffer: undefined, byteOffset: 0 });
  });

  test("has no GPU to offer", () => {
    const backend = createBackend();
    expect(backend).toMatchObject({ kind: "cpu", device: undefined, adapterInfo: undefined });
    expect(() => backend.wrap({} as GPUBuffer, 0, 4)).toThrow(expect.objectContaining({ code: "unavailable" }));
    expect(() => backend.encode({} as GPUCommandEncoder, [])).toThrow(expect.objectContaining({ code: "unavailable" }));
  });

  test("tells when memory does not suffice", () => {
    expect(() => createBackend().allocate(2 ** 60, "huge")).toThrow(expect.objectContaining({ code: "limit" }));
  });

  test("refuses a plan that was disposed", async () => {
    const backend = createBackend();
    const executable = await backend.compile("test", fftSpec({ shape: [4] }));
    executable.dispose();
    expect(() => backend.run([{ executable, bindings: {} }])).toThrow(expect.objectContaining({ code: "disposed" }));
  });

  test("names bindings and prices operations", async () => {
    const backend = createBackend();
    const fft = await backend.compile("test", fftSpec({ shape: [3, 16] }));
    expect(fft.dispatches).toEqual([]);
    expect(fft.bytes).toEqual({ x: 384, out: 384 });
    expect(fft.cost).toEqual({ dispatches: 0, bytesMoved: 768, bytesMinimum: 768, flops: 3 * 5 * 16 * 4, workspaceBytes: 0 });

    const multiply = await backend.compile("test", complexMultiplySpec({ shape: [2, 8] }));
    expect(multiply.bytes).toEqual({ a: 128, b: 128, out: 128 });

    const product = toeplitzSpec({ heads: 2, length: 8, channels: 3 });
    const spectrum = await backend.compile("test", spectrumSpec(product));
    expect(spectrum.bytes).toEqual({ weights: 2 * 15 * 4, spectrum: 2 * 15 * 16 });
    const toeplitz = await backend.compile("test", product);
    expect(toeplitz.bytes).toEqual({ v: 192, spectrum: 480, out: 192 });
    expect(toeplitz.cost.bytesMinimum).toBe(192 + 240 + 192);

    const plain = { heads: 2, length: 8, headDim: 4, valueDim: 3, featureMap: "sikf" } as const;
    const attention = await backend.compile("test", attentionSpec(plain));
    expect(attention.bytes).toEqual({ q: 256, k: 256, v: 192, out: 192 });
    const biased = await backend.compile("test", attentionSpec({ ...plain, bias: "fastrpb" }));
    expect(biased.bytes).toEqual({ q: 256, k: 256, v: 192, spectrum: 480, out: 192 });
    expect(biased.cost.flops).toBe(attention.cost.flops + toeplitz.cost.flops);
  });

  test("profiles one entry a step", async () => {
    const backend = createBackend();
    const executable = await backend.compile("test", fftSpec({ shape: [64] }));
    const bindings = { x: backend.upload(normals(40, 128), "x"), out: backend.allocate(512, "out") };
    const timings = await backend.profile([
      { executable, bindings },
      { executable, bindings },
    ]);
    expect(timings.dispatches.map(({ label }) => label)).toEqual(["fft", "fft"]);
    expect(timings.milliseconds).toBeGreaterThanOrEqual(timings.dispatches[0]!.milliseconds!);
  });
});
