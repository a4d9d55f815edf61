import { describe, expect, test } from "vitest";
import {
  attentionSpec,
  complexMultiplySpec,
  convolveSpec,
  fftSpec,
  inPlaceSpec,
  kernelSpectrumSpec,
  spectrumSpec,
  toeplitzSpec,
  type AttentionOptions,
} from "../testing/specs.ts";
import { normals, random, relativeL2 } from "../testing/random.ts";
import { taskOf } from "../testing/operations.ts";
import { compute, createTestBackend } from "../testing/compute.ts";
import { attentionReference } from "../testing/attention-reference.ts";
import { toeplitzReference } from "../testing/reference.ts";

/** Half a unit of float32: all that a float64 result loses when it is stored. */
const ROUNDING = 2 ** -24;
const LENGTHS = [1, 2, 3, 16, 50, 64];

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
    const backend = createTestBackend();
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
    const storage = createTestBackend().upload(data.subarray(1), "tail");
    data.fill(9);
    const copy = new Float32Array(2);
    await storage.read(copy);
    expect([...copy]).toEqual([2, 3]);
    expect(storage).toMatchObject({ byteLength: 8, buffer: undefined, byteOffset: 0 });
  });

  test("has no GPU to offer", () => {
    const backend = createTestBackend();
    expect(backend).toMatchObject({ kind: "cpu", device: undefined, adapterInfo: undefined });
    expect(() => backend.wrap({} as GPUBuffer, 0, 4)).toThrow(expect.objectContaining({ code: "unavailable" }));
    expect(() => backend.encode({} as GPUCommandEncoder, [])).toThrow(expect.objectContaining({ code: "unavailable" }));
  });

  test("tells when memory does not suffice", () => {
    expect(() => createTestBackend().allocate(2 ** 60, "huge")).toThrow(expect.objectContaining({ code: "limit" }));
  });

  test("refuses a plan that was disposed", async () => {
    const backend = createTestBackend();
    const executable = await backend.compile("test", taskOf(fftSpec({ shape: [4] })));
    executable.dispose();
    expect(() => backend.run([{ executable, bindings: {} }])).toThrow(expect.objectContaining({ code: "disposed" }));
  });

  test("says when its code could not be loaded, and loads it with the next call", async () => {
    const backend = createTestBackend();
    const { operation, spec } = taskOf(fftSpec({ shape: [4] }));
    let failures = 1;
    const loadCpu = async () => {
      if (failures-- > 0) throw new TypeError("offline");
      await operation.loadCpu!(spec);
    };
    const compile = () => backend.compile("test", { spec, operation: { ...operation, loadCpu } });
    await expect(compile()).rejects.toMatchObject({ code: "unavailable", message: expect.stringContaining('"fft on the CPU"') });
    expect((await compile()).bytes).toEqual({ x: 32, out: 32 });
  });

  test("compiles at once what the plan or its gradient has loaded", async () => {
    const backend = createTestBackend();
    const plan = taskOf(attentionSpec({ heads: 1, length: 4, headDim: 2, kind: "softmax" }));
    await backend.compile("test", plan);
    expect(Object.keys(backend.compileNow("test", plan.operation.gradient!(plan.spec)!).bytes)).toContain("dq");
  });

  test("names bindings and prices operations", async () => {
    const backend = createTestBackend();
    const fft = await backend.compile("test", taskOf(fftSpec({ shape: [3, 16] })));
    expect(fft.dispatches).toEqual([]);
    expect(fft.bytes).toEqual({ x: 384, out: 384 });
    expect(fft.cost).toEqual({ dispatches: 0, bytesMoved: 768, bytesMinimum: 768, flops: 3 * 5 * 16 * 4, workspaceBytes: 0 });

    const inPlace = await backend.compile("test", taskOf(inPlaceSpec(fftSpec({ shape: [3, 16] }))));
    expect(inPlace.bytes).toEqual({ out: 384 });
    expect(inPlace.cost.bytesMinimum).toBe(768);
    const real = backend.compileNow("test", taskOf(fftSpec({ shape: [3, 16], axes: [0, 1], kind: "r2c" })));
    expect(real.bytes).toEqual({ x: 192, out: 216 });
    expect(real.cost.bytesMinimum).toBe(408);
    const back = await backend.compile("test", taskOf(fftSpec({ shape: [3, 16], axes: [0, 1], kind: "c2r" })));
    expect(back.bytes).toEqual({ x: 216, out: 192 });

    const multiply = await backend.compile("test", taskOf(complexMultiplySpec({ shape: [2, 8] })));
    expect(multiply.bytes).toEqual({ a: 128, b: 128, out: 128 });

    // A period of 12 with real numbers, of which 7 bins are kept.
    const convolution = convolveSpec({ shape: [4, 2, 10], kernel: [2, 3] });
    expect((await backend.compile("test", taskOf(kernelSpectrumSpec(convolution)))).bytes).toEqual({ kernel: 24, spectrum: 2 * 7 * 16 });
    const convolve = await backend.compile("test", taskOf(convolution));
    expect(convolve.bytes).toEqual({ x: 320, spectrum: 2 * 7 * 16, out: 384 });
    expect(convolve.cost.bytesMinimum).toBe(320 + 2 * 7 * 8 + 384);
    const circular = convolveSpec({ shape: [11], kernel: [3], mode: "circular", dtype: "complex64" });
    expect((await backend.compile("test", taskOf(circular))).bytes).toEqual({ x: 88, spectrum: 11 * 16, out: 88 });

    // In a circulant of period 16, of which 9 bins are kept.
    const product = toeplitzSpec({ heads: 2, length: 8, channels: 3 });
    const spectrum = await backend.compile("test", taskOf(spectrumSpec(product)));
    expect(spectrum.bytes).toEqual({ weights: 2 * 15 * 4, spectrum: 2 * 9 * 16 });
    const toeplitz = await backend.compile("test", taskOf(product));
    expect(toeplitz.bytes).toEqual({ v: 192, spectrum: 288, out: 192 });
    expect(toeplitz.cost.bytesMinimum).toBe(192 + 144 + 192);

    const plain = { heads: 2, length: 8, headDim: 4, valueDim: 3, featureMap: "sikf" } as const;
    const attention = await backend.compile("test", taskOf(attentionSpec(plain)));
    expect(attention.bytes).toEqual({ q: 256, k: 256, v: 192, out: 192 });
    const biased = await backend.compile("test", taskOf(attentionSpec({ ...plain, bias: "fastrpb" })));
    expect(biased.bytes).toEqual({ q: 256, k: 256, v: 192, spectrum: 288, out: 192 });
    expect(biased.cost.flops).toBe(attention.cost.flops + toeplitz.cost.flops);
  });

  test("profiles one entry a step", async () => {
    const backend = createTestBackend();
    const executable = await backend.compile("test", taskOf(fftSpec({ shape: [64] })));
    const bindings = { x: backend.upload(normals(40, 128), "x"), out: backend.allocate(512, "out") };
    const timings = await backend.profile([
      { executable, bindings },
      { executable, bindings },
    ]);
    expect(timings.dispatches.map(({ label }) => label)).toEqual(["fft", "fft"]);
    expect(timings.milliseconds).toBeGreaterThanOrEqual(timings.dispatches[0]!.milliseconds!);
  });
});
