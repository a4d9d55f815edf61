/** Calls by mistake: refused before anything is recorded, with a code and a message that names what is wrong; nothing is changed. */
import type { AttentionInputs, Runtime, RuntimeOptions, Tensor } from "../../src/index.ts";
import { createRuntime } from "../../src/index.ts";
import { STORAGE_USAGE } from "../../src/gpu/usage.ts";
import { type Case, type CaseContext, check, checkRefused, type Scope, scoped, type Suite } from "./case.ts";

/** What JavaScript callers can pass although the types forbid it. */
// oxlint-disable-next-line no-explicit-any
const any = (value: unknown): any => value;

const BAD_SIZES = [0, -1, 1.5, NaN, Infinity, 2 ** 53, 2 ** 60, 2 ** 32, "8", null, {}, 4n];

async function onBoth(context: CaseContext, body: (runtime: Runtime) => Promise<void>): Promise<void> {
  await body(await context.runtime);
  await body(await context.cpu);
}

async function attentionInputs(
  scope: Scope,
): Promise<{ run: (inputs: AttentionInputs, out?: Tensor) => Tensor; good: AttentionInputs & { bias: Tensor } }> {
  const plan = scope.keep(await scope.runtime.attention({ heads: 2, length: 8, headDim: 4, valueDim: 3, featureMap: "sikf", bias: "fastrpb" }));
  const tensor = (...shape: number[]) => scope.tensor(new Float32Array(shape.reduce((a, b) => a * b)), shape);
  const good = { q: tensor(1, 2, 8, 4), k: tensor(1, 2, 8, 4), v: tensor(1, 2, 8, 3), bias: tensor(2, 15) };
  return { run: (inputs, out) => plan.run(inputs, out && { out }), good };
}

const sizes: Case = {
  name: "sizes that are NaN, fractional, zero, negative, above 2^32 or 2^53, or no number",
  run: (context) =>
    onBoth(context, async (runtime) => {
      for (const bad of BAD_SIZES) {
        const size = any(bad);
        await checkRefused(() => runtime.fft({ shape: [size] }), "value", "runtime.fft", "options.shape[0]");
        await checkRefused(() => runtime.convolve({ shape: [4], kernel: [size] }), "value", "runtime.convolve", "options.kernel[0]");
        await checkRefused(() => runtime.toeplitz({ heads: 1, grid: [4, size], channels: 2 }), "value", "runtime.toeplitz", "options.grid[1]");
        await checkRefused(() => runtime.complexMultiply({ shape: [2, size] }), "value", "runtime.complexMultiply", "options.shape[1]");
        await checkRefused(() => runtime.tensor(new Float32Array(4), [size]), "value", "runtime.tensor", "shape[0]");
        for (const name of ["batch", "heads", "length", "channels"]) {
          if (bad === null && name === "batch") continue; // null and undefined leave an optional one out
          await checkRefused(
            () => runtime.toeplitz({ heads: 1, length: 8, channels: 2, [name]: size }),
            "value",
            "runtime.toeplitz",
            `options.${name}`,
          );
        }
        for (const name of ["batch", "heads", "length", "headDim", "valueDim"]) {
          if (bad === null && (name === "batch" || name === "valueDim")) continue;
          await checkRefused(
            () => runtime.attention({ heads: 1, length: 8, headDim: 2, featureMap: "sikf", [name]: size }),
            "value",
            "runtime.attention",
            `options.${name}`,
          );
        }
      }
      // Each size is fine, their product is not.
      await checkRefused(() => runtime.fft({ shape: [2 ** 20, 2 ** 20] }), "value", "options.shape");
      await checkRefused(() => runtime.attention({ heads: 2 ** 12, length: 2 ** 20, headDim: 4, featureMap: "sikf" }), "value", "elements");
    }),
};

const options: Case = {
  name: "options: unknown keys and values, what this version lacks",
  run: (context) =>
    onBoth(context, async (runtime) => {
      const attention = { heads: 1, length: 8, headDim: 2, featureMap: "sikf" as const };
      await checkRefused(() => runtime.attention(any(undefined)), "value", "runtime.attention", "options");
      await checkRefused(() => runtime.attention(any({ ...attention, head: 3 })), "value", "head");
      await checkRefused(() => runtime.attention({ ...attention, featureMap: any("relu6") }), "value", "options.featureMap", "sikf", "relu6");
      await checkRefused(() => runtime.attention({ ...attention, featureMap: any("sikf; discard") }), "value", "options.featureMap");
      await checkRefused(() => runtime.attention({ ...attention, bias: any("yes") }), "value", "options.bias");
      await checkRefused(() => runtime.toeplitz({ heads: 1, length: 8, channels: 2, causal: any("no") }), "value", "options.causal");
      await checkRefused(() => runtime.fft({ shape: [] }), "value", "options.shape");
      await checkRefused(() => runtime.fft({ shape: [8], axes: [1] }), "value", "options.axes");
      await checkRefused(() => runtime.fft({ shape: [8], axes: [] }), "value", "options.axes");
      await checkRefused(() => runtime.fft({ shape: [8, 8], axes: [0, -2] }), "value", "options.axes", "different");
      await checkRefused(() => runtime.fft({ shape: [2, 2, 2, 2], axes: [0, 1, 2, 3] }), "value", "options.axes", "1 to 3");
      await checkRefused(() => runtime.fft({ shape: [8], kind: "c2r", direction: "forward" }), "value", "options.direction", "inverse", "c2r");
      await checkRefused(() => runtime.fft({ shape: [8], kind: "r2c", direction: "inverse" }), "value", "options.direction", "forward", "r2c");
      await checkRefused(() => runtime.fft({ shape: [8], kind: any("dct") }), "value", "options.kind");
      await checkRefused(() => runtime.fft({ shape: [8], direction: any("backward") }), "value", "options.direction");
      await checkRefused(() => runtime.fft({ shape: [8], norm: any("unitary") }), "value", "options.norm");
      await checkRefused(() => runtime.convolve(any({ shape: [8], kernel: [3], stride: 2 })), "value", "runtime.convolve", "stride");
      await checkRefused(() => runtime.convolve({ shape: [2, 8], kernel: [3, 3] }), "value", "options.kernel", "[3, 3]", "[K]");
      await checkRefused(() => runtime.convolve({ shape: [8], kernel: [9], mode: "valid" }), "value", "options.kernel", "valid");
      await checkRefused(() => runtime.convolve({ shape: [8], kernel: [3], mode: any("reflect") }), "value", "options.mode", "reflect");
      await checkRefused(() => runtime.convolve({ shape: [4, 4, 4], kernel: [2, 2], axes: [0, 2] }), "value", "options.axes", "neighbours");
      await checkRefused(() => runtime.toeplitz({ heads: 1, grid: [2, 4], channels: 2, causal: true }), "value", "options.causal", "grid");
      await checkRefused(() => runtime.toeplitz(any({ heads: 1, grid: [2, 4], length: 8, channels: 2 })), "value", "options.length");
      await checkRefused(() => runtime.toeplitz(any({ heads: 1, grid: [2], channels: 2 })), "value", "options.grid", "[H, W]");
      await checkRefused(() => runtime.complexMultiply({ shape: [8], scale: NaN }), "value", "options.scale");
      await checkRefused(() => runtime.complexMultiply({ shape: [8], conjugate: any(1) }), "value", "options.conjugate");
    }),
};

const attentionOptions: Case = {
  name: "options of attention: kinds, features, scales, lengths and biases that do not go together",
  run: (context) =>
    onBoth(context, async (runtime) => {
      const before = runtime.memory();
      const refused = (changes: object, code: "value" | "unavailable", ...mentions: string[]) =>
        checkRefused(
          () => runtime.attention(any({ heads: 1, length: 8, headDim: 2, featureMap: "sikf", ...changes })),
          code,
          "runtime.attention",
          ...mentions,
        );
      await refused({ kind: "flash" }, "value", "options.kind", "softmax", "flash");
      await refused({ kind: "softmax" }, "value", "options.featureMap", "left out");
      await refused({ featureMap: undefined }, "value", "options.featureMap", "favor+");
      await refused({ randomFeatures: { count: 4 } }, "value", "options.randomFeatures", "favor+");
      await refused({ featureMap: "favor+", randomFeatures: { counts: 4 } }, "value", "options.randomFeatures", "counts");
      await refused({ featureMap: "favor+", randomFeatures: 4 }, "value", "options.randomFeatures");
      for (const count of [0, 1.5, NaN, "3", 2 ** 32]) {
        await refused({ featureMap: "favor+", randomFeatures: { count } }, "value", "options.randomFeatures.count");
      }
      for (const seed of [-1, 0.5, 2 ** 32, NaN, "0"]) {
        await refused({ featureMap: "favor+", randomFeatures: { seed } }, "value", "options.randomFeatures.seed");
      }
      await refused({ nu: 2 }, "value", "options.nu", "dpfp");
      for (const nu of [0, 1.5, 4, NaN, "1"]) await refused({ featureMap: "dpfp", nu }, "value", "options.nu", "from 1 to 3");
      await refused({ scale: 2 }, "value", "options.scale", "left out");
      for (const scale of [0, -1, NaN, Infinity, 1e39, 1e-50, "1"]) {
        await refused({ kind: "softmax", featureMap: undefined, scale }, "value", "options.scale", "positive");
        await refused({ featureMap: "favor+", scale }, "value", "options.scale", "positive");
      }
      await refused({ causal: 1 }, "value", "options.causal", "a boolean");
      await refused({ variableLengths: "yes" }, "value", "options.variableLengths", "a boolean");
      await refused({ grid: [2, 4] }, "value", "options.length", "left out");
      const grid = { length: undefined, grid: [2, 4] };
      await refused({ ...grid, causal: true }, "value", "options.causal", "grid");
      await refused({ ...grid, variableLengths: true }, "value", "options.variableLengths", "grid");
      await refused({ bias: "logits" }, "unavailable", "options.bias", "linear");
      const masked = { kind: "softmax", featureMap: undefined, bias: "logits", keyMask: true, variableLengths: true };
      await refused(masked, "unavailable", "options.bias", "keyMask and variableLengths");
      await refused({ window: 3 }, "value", "options.window", "softmax");
      await refused({ bias: "multiplicative", featureMap: "softmax" }, "unavailable", "options.bias", "featureMap");
      await refused({ bias: "multiplicative", kind: "softmax", featureMap: undefined }, "unavailable", "options.bias", "kind");
      check(runtime.memory().buffers === before.buffers, "a refused plan kept a buffer");
    }),
};

const attentionArguments: Case = {
  name: "arguments of attention: lengths, shapes, out that is shared; nothing of the caller's changes",
  run: (context) =>
    onBoth(context, async (runtime) => {
      await scoped(runtime, async (scope) => {
        const shapes = { heads: 2, batch: 2, length: 8, headDim: 4, valueDim: 3, featureMap: "sikf" } as const;
        const plan = scope.keep(await runtime.attention({ ...shapes, bias: "fastrpb", variableLengths: true }));
        const plain = scope.keep(await runtime.attention(shapes));
        const masked = scope.keep(await runtime.attention({ ...shapes, keyMask: true }));
        const tensor = (...shape: number[]) => scope.tensor(new Float32Array(shape.reduce((a, b) => a * b)).fill(1), shape);
        const keys = () => tensor(2, 2, 8, 4);
        const [q, k, v, dOut, bias] = [keys(), keys(), tensor(2, 2, 8, 3), tensor(2, 2, 8, 3), tensor(2, 15)];
        const good = { q, k, v, bias, lengths: [8, 3] };
        const owned = [q, k, v, dOut, bias, keys(), tensor(2, 2, 8, 3)];
        const spare = owned[5]!;
        const [three, column, complex] = [tensor(3), tensor(2, 1), scope.tensor(new Float32Array(4), [2], "complex64")];
        const before = runtime.memory();
        const both = async (changes: object, code: "value" | "shape", ...mentions: string[]) => {
          await checkRefused(() => plan.run(any({ ...good, ...changes })), code, "AttentionPlan.run", ...mentions);
          await checkRefused(() => plan.backward(any({ ...good, dOut, ...changes })), code, "AttentionPlan.backward", ...mentions);
        };
        await both({ lengths: undefined }, "value", "inputs.lengths", "2 lengths");
        await both({ lengths: [8] }, "value", "inputs.lengths", "2 lengths");
        await both({ lengths: 8 }, "value", "inputs.lengths");
        for (const bad of [9, -1, 1.5, NaN, "4", null]) await both({ lengths: [8, bad] }, "value", "inputs.lengths[1]", "from 0 to 8");
        await both({ lengths: BigInt64Array.of(8n, 3n) }, "value", "inputs.lengths[0]");
        await both({ lengths: Float32Array.of(8, 2.5) }, "value", "inputs.lengths[1]");
        await both({ lengths: new DataView(new ArrayBuffer(8)) }, "value", "inputs.lengths");
        for (const lengths of [three, column]) await both({ lengths }, "shape", "inputs.lengths", "[2]");
        await both({ lengths: complex }, "shape", "inputs.lengths", '"f32"');
        await both({ bias: v }, "shape", "inputs.bias", "[2, 15]");
        await both({ bias: undefined }, "value", "inputs.bias", "fastrpb");
        await both({ v: q }, "shape", "inputs.v", "[2, 2, 8, 3]");
        await both({ mask: q }, "value", "mask");
        await both({ keyMask: new Uint8Array(16) }, "value", "inputs.keyMask", "left out");
        for (const [keyMask, code] of [
          [undefined, "value"],
          [Array.from({ length: 16 }, () => 1), "value"],
          [new Uint8Array(15), "shape"],
          [q, "shape"],
        ] as const) {
          await checkRefused(() => masked.run(any({ q, k, v, keyMask })), code, "AttentionPlan.run", "inputs.keyMask");
          await checkRefused(() => masked.backward(any({ q, k, v, keyMask, dOut })), code, "AttentionPlan.backward", "inputs.keyMask");
        }
        const { bias: _, lengths: __, ...unbiased } = good;
        await checkRefused(() => plain.run({ ...unbiased, lengths: [8, 3] }), "value", "AttentionPlan.run", "inputs.lengths", "left out");
        await checkRefused(() => plain.backward({ ...unbiased, dOut, lengths: [8, 3] }), "value", "AttentionPlan.backward", "inputs.lengths");
        await checkRefused(() => plain.run({ ...unbiased, lengths: three }), "value", "AttentionPlan.run", "inputs.lengths", "left out");
        await checkRefused(() => plain.backward({ ...unbiased, dOut, bias }), "value", "AttentionPlan.backward", "inputs.bias");

        const back = (out: object, changes: object = {}) => plan.backward(any({ ...good, dOut, ...changes }), any({ out }));
        await checkRefused(() => back({}, { dOut: q }), "shape", "inputs.dOut", "[2, 2, 8, 3]");
        await checkRefused(() => back({}, { dOut: undefined }), "value", "inputs.dOut", "a tensor");
        await checkRefused(() => back({ dq: v }), "shape", "options.out.dq", "[2, 2, 8, 4]");
        await checkRefused(() => back({ dBias: v }), "shape", "options.out.dBias", "[2, 15]");
        await checkRefused(() => back({ dw: q }), "value", "options.out", "dw");
        await checkRefused(() => plain.backward({ ...unbiased, dOut }, { out: { dBias: bias } }), "value", "options.out", "dBias");
        await checkRefused(() => back({ dq: q }), "value", "options.out", "the same buffer as q");
        await checkRefused(() => back({ dv: dOut }), "value", "options.out", "the same buffer as dOut");
        await checkRefused(() => back({ dBias: bias }), "value", "options.out", "the same buffer as weights");
        await checkRefused(() => back({ dq: spare, dk: spare }), "value", "options.out", "the same buffer as dq");
        await checkRefused(() => plan.backward({ ...good, dOut }, any({ outs: {} })), "value", "outs");
        const after = runtime.memory();
        check(after.buffers === before.buffers && after.liveBytes === before.liveBytes, "a refused call kept a buffer");
        const outOf = (lengths: ArrayLike<number>) => scope.keep(plan.run({ ...good, lengths })).data();
        const expected = await outOf([8, 3]);
        for (const lengths of [Uint8Array.of(8, 3), Int32Array.of(8, 3), Uint32Array.of(8, 3), Float64Array.of(8, 3)]) {
          const out = await outOf(lengths);
          check(
            out.every((x, i) => x === expected[i]),
            `lengths in a ${lengths.constructor.name} are others`,
          );
        }
        plain.dispose();
        await checkRefused(() => plain.run(unbiased), "disposed", "AttentionPlan.run");
        await checkRefused(() => plain.backward({ ...unbiased, dOut }), "disposed", "AttentionPlan.backward");
        await checkRefused(() => plain.compileBackward(), "disposed", "AttentionPlan.compileBackward");
        for (const each of owned) {
          check(
            (await each.data()).every((value) => value === 1),
            "a refused call changed what it was given",
          );
        }
      });
    }),
};

const tensors: Case = {
  name: "tensors: wrong length, shape, dtype; of another runtime; disposed; out that is an input",
  run: async (context) => {
    for (const [runtime, other] of [
      [await context.runtime, await context.cpu],
      [await context.cpu, await context.runtime],
    ] as const) {
      await checkRefused(() => runtime.tensor(new Float32Array(5), [2, 3]), "shape", "runtime.tensor", "6", "5");
      await checkRefused(() => runtime.tensor(new Float32Array(6), [2, 3], "complex64"), "shape", "12");
      await checkRefused(() => runtime.tensor(any([1, 2]), [2]), "value", "Float32Array");
      await checkRefused(() => runtime.tensor(new Float32Array(2), [2], any("f64")), "value", "dtype");
      await scoped(runtime, async (scope) => {
        const { run, good } = await attentionInputs(scope);
        const before = runtime.memory();
        await checkRefused(() => run({ ...good, q: good.v }), "shape", "AttentionPlan.run", "inputs.q", "[1, 2, 8, 4]", "[1, 2, 8, 3]");
        await checkRefused(() => run({ ...good, k: any(new Float32Array(64)) }), "value", "inputs.k", "a tensor", "Float32Array");
        await checkRefused(() => run({ ...good, bias: good.v }), "shape", "inputs.bias", "[2, 15]");
        const { bias: _, ...plain } = good;
        await checkRefused(() => run(plain), "value", "inputs.bias");
        await checkRefused(() => run(any({ ...good, mask: good.q })), "value", "mask");
        const foreign = other.tensor(new Float32Array(64), [1, 2, 8, 4]);
        await checkRefused(() => run({ ...good, q: foreign }), "value", "inputs.q", "same runtime");
        foreign.dispose();
        await checkRefused(() => run(good, good.v), "value", "options.out", "v");
        const shared = scope.tensor(new Float32Array(64), [1, 2, 8, 4]);
        await checkRefused(() => run(good, shared), "shape", "options.out");
        check(runtime.memory().buffers === before.buffers + 1, "a refused call kept a buffer");
        const gone = runtime.tensor(new Float32Array(64), [1, 2, 8, 4]);
        gone.dispose();
        gone.dispose(); // twice is fine
        await checkRefused(() => run({ ...good, k: gone }), "disposed", "inputs.k");
        await checkRefused(() => gone.data(), "disposed", "tensor.data");
        await checkRefused(() => good.q.data(new Float32Array(3)), "shape", "tensor.data", "64");

        const fft = scope.keep(await runtime.fft({ shape: [2, 4] }));
        const real = scope.tensor(new Float32Array(8), [2, 4]);
        await checkRefused(() => fft.run(real), "shape", "FftPlan.run", "complex64");
        const x = scope.tensor(new Float32Array(16).fill(1), [2, 4], "complex64");
        await checkRefused(() => fft.run(x, any({ output: x })), "value", "output");
        const toComplex = scope.keep(await runtime.fft({ shape: [2, 4], kind: "r2c" }));
        await checkRefused(() => toComplex.run(x), "shape", "FftPlan.run", "x", "f32");
        await checkRefused(() => toComplex.run(real, { out: real }), "shape", "options.out", "complex64");
        const toReal = scope.keep(await runtime.fft({ shape: [2, 4], kind: "c2r" }));
        await checkRefused(() => toReal.run(x), "shape", "FftPlan.run", "x", "[2, 3]", "[2, 4]");
        check(
          (await x.data()).every((value) => value === 1),
          "a refused call changed its input",
        );
        const plan = scope.keep(await runtime.complexMultiply({ shape: [2, 4] }));
        const wide = scope.tensor(new Float32Array(16), [4, 2], "complex64");
        await checkRefused(() => plan.run(x, wide), "shape", "ComplexMultiplyPlan.run", "b");
        await checkRefused(() => plan.run(x, x, { out: x }), "value", "options.out");
        fft.dispose();
        await checkRefused(() => fft.run(x), "disposed", "FftPlan.run");

        const toeplitz = scope.keep(await runtime.toeplitz({ heads: 2, length: 8, channels: 3 }));
        const longer = scope.keep(await runtime.toeplitz({ heads: 2, length: 9, channels: 3 }));
        const spectrum = scope.keep(toeplitz.prepare(good.bias));
        const rows = scope.tensor(new Float32Array(54), [1, 2, 9, 3]);
        await checkRefused(() => longer.run(rows, spectrum), "shape", "length 9", "length 8");
        spectrum.dispose();
        await checkRefused(() => toeplitz.run(good.v, spectrum), "disposed", "weights");
        const plainAttention = scope.keep(await runtime.attention({ heads: 2, length: 8, headDim: 4, valueDim: 3, featureMap: "sikf" }));
        await checkRefused(() => plainAttention.run(good), "value", "inputs.bias");
        await checkRefused(() => plainAttention.prepare(good.bias), "value", "AttentionPlan.prepare");
      });
    }
  },
};

const runtimes: Case = {
  name: "runtimes: bad options, no WebGPU, aborted, disposed",
  run: async (context) => {
    const create = (settings: RuntimeOptions) => () => createRuntime(settings);
    await checkRefused(create({ backend: any("cuda") }), "value", "createRuntime", "options.backend");
    await checkRefused(create(any({ backends: "cpu" })), "value", "backends");
    await checkRefused(create({ backend: "cpu", limits: any({ maxStorage: 3 }) }), "value", "maxStorage");
    await checkRefused(create({ backend: "cpu", limits: { maxBufferSize: NaN } }), "value", "options.limits.maxBufferSize");
    for (const bytes of BAD_SIZES.filter((bad) => bad !== null && bad !== 2 ** 32)) {
      await checkRefused(create({ backend: "cpu", workspaceBytes: any(bytes) }), "value", "options.workspaceBytes");
    }
    const none = any({ requestAdapter: async () => null }) as GPU;
    await checkRefused(create({ backend: "webgpu", gpu: none }), "unavailable", "createRuntime", "WebGPU");
    const fallback = await createRuntime({ gpu: none });
    check(fallback.backend === "cpu", "auto falls back to the CPU");
    fallback.dispose();
    const refusing = any({
      requestAdapter: async () => ({ limits: {}, features: new Set(), requestDevice: () => Promise.reject(new Error("no")) }),
    }) as GPU;
    await checkRefused(create({ backend: "webgpu", gpu: refusing }), "unavailable", "refused a device");
    const second = await createRuntime({ gpu: refusing });
    check(second.backend === "cpu", "auto falls back where the adapter refuses a device");
    second.dispose();
    const controller = new AbortController();
    controller.abort();
    await checkRefused(create({ gpu: context.gpu, signal: controller.signal }), "aborted", "createRuntime");
    await checkRefused(create({ device: any({}) }), "value", "options.device");

    const runtime = await context.open();
    const tensor = runtime.tensor(new Float32Array(2), [1], "complex64");
    const plan = await runtime.fft({ shape: [1] });
    runtime.dispose();
    runtime.dispose();
    await checkRefused(() => runtime.tensor(new Float32Array(1), [1]), "disposed", "runtime.tensor");
    await checkRefused(() => runtime.fft({ shape: [8] }), "disposed", "runtime.fft");
    await checkRefused(() => plan.run(tensor), "disposed");
    await checkRefused(() => tensor.data(), "disposed");
    await checkRefused(() => runtime.selfTest(), "disposed");
    tensor.dispose(); // harmless
  },
};

const devices: Case = {
  name: "borrowed devices with too small limits: which one, and how much",
  run: async (context) => {
    const adapter = (await context.gpu.requestAdapter())!;
    const device = await adapter.requestDevice(); // default limits: 128 MiB bindings
    try {
      const runtime = await createRuntime({ device });
      const needed = 2 ** 21 * 32 * 4;
      await checkRefused(
        () => runtime.attention({ heads: 1, length: 2 ** 21, headDim: 32, featureMap: "sikf" }),
        "limit",
        "maxStorageBufferBindingSize",
        `${needed}`,
        "134217728",
      );
      await checkRefused(() => runtime.toeplitz({ heads: 4, length: 2 ** 20, channels: 32 }), "limit", "maxBufferSize", "536870912", "268435456");
      await checkRefused(() => runtime.tensor(new Float32Array(1), [2 ** 27]), "limit", "maxBufferSize");
      await checkRefused(
        () => runtime.attention({ heads: 1, length: 4, headDim: 100_000, valueDim: 1, featureMap: "sikf" }),
        "limit",
        "maxComputeWorkgroupStorageSize",
        "100000 features",
      );
      await checkRefused(() => runtime.toeplitz({ heads: 1, grid: [2, 2 ** 14], channels: 2 }), "limit", "runtime.toeplitz", "an axis of 16384");
      const rows = { shape: [2, 2 ** 14], kernel: [1, 3], axes: [0, 1] } as const;
      await checkRefused(() => runtime.convolve(rows), "limit", "runtime.convolve", "maxComputeWorkgroupStorageSize", "one axis");
      await checkRefused(() => runtime.fft({ shape: [12_582_917] }), "limit", "runtime.fft", "12582917"); // a prime beyond 2²³
      runtime.dispose();
      const cramped = await createRuntime({ device, workspaceBytes: 4096 });
      await checkRefused(() => cramped.toeplitz({ heads: 1, length: 65536, channels: 2 }), "limit", "workspaceBytes", "4096");
      cramped.dispose();
      const few = await createRuntime({ device, limits: { maxStorageBuffersPerShaderStage: 2 } });
      await checkRefused(() => few.fft({ shape: [8] }), "limit", "maxStorageBuffersPerShaderStage");
      few.dispose();

      const wrapper = await createRuntime({ device });
      const buffer = device.createBuffer({ size: 1024, usage: STORAGE_USAGE });
      await checkRefused(() => wrapper.wrap(any({}), [4]), "value", "runtime.wrap", "GPUBuffer");
      await checkRefused(() => wrapper.wrap(buffer, [257]), "shape", "1028", "1024");
      await checkRefused(() => wrapper.wrap(buffer, [4], { offset: 4 }), "value", "options.offset", "256");
      await checkRefused(() => wrapper.wrap(buffer, [4], { offset: -256 }), "value", "options.offset");
      await checkRefused(() => wrapper.wrap(device.createBuffer({ size: 16, usage: 8 }), [4]), "value", "STORAGE");
      const fft = await wrapper.fft({ shape: [16] });
      const x = wrapper.wrap(buffer, [16], { dtype: "complex64" });
      const out = wrapper.wrap(buffer, [16], { dtype: "complex64", offset: 256 });
      await checkRefused(() => fft.run(x, { out }), "value", "options.out", "the same buffer as x");
      const again = wrapper.wrap(buffer, [16], { dtype: "complex64" });
      await checkRefused(() => fft.run(x, { out: again }), "value", "options.out", "the same buffer as x"); // only x itself means in place
      await checkRefused(() => fft.encode(any({}), x), "value", "encoder");
      wrapper.dispose();
      // The buffer is still the caller's.
      device.queue.writeBuffer(buffer, 0, new Float32Array(4));
      await device.queue.onSubmittedWorkDone();
    } finally {
      device.destroy();
    }
    const cpu = await context.cpu;
    await checkRefused(() => cpu.wrap(any({}), [4]), "unavailable", "wrap");
  },
};

export const refusalSuite: Suite = {
  name: "refusals",
  sample: true,
  cases: [sizes, options, attentionOptions, attentionArguments, tensors, runtimes, devices],
};
