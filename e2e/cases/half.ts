/** Tensors of float16, where the device has `shader-f16`; where it has not, that they are refused by name. */
import { STORAGE_USAGE } from "../../src/gpu/usage.ts";
import type { FftOptions, Runtime, RuntimeOptions } from "../../src/index.ts";
import { decodeHalf } from "../../src/core/half.ts";
import { random } from "../../src/testing/random.ts";
import { type Case, type CaseContext, check, checkClose, checkRefused, scoped, type Scope, type Suite, together } from "./case.ts";

/**
 * The result is rounded once, to the nearest float16: off by 2⁻¹¹ of a value at most, and by √(Σ_b p_b 4^b / 3)·2⁻¹¹ = 0.425·2⁻¹¹ in the norm, p_b
 * being the share of normally distributed values in [2^b, 2^(b+1)). WGSL allows the other neighbour too: towards zero that is twice as far.
 * The transform in f32 adds 3e-7.
 */
const BOUND = 2 ** -11;

function count(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Bits of float16 numbers with either sign and sizes from 2⁻³ to 2. */
function halves(seed: number, length: number): Uint16Array {
  const draw = random(seed);
  return Uint16Array.from({ length }, () => (Math.floor(2 * draw()) << 15) | ((12 + Math.floor(4 * draw())) << 10) | Math.floor(1024 * draw()));
}

function decoded(bits: Uint16Array): Float32Array {
  const numbers = new Float32Array(bits.length);
  decodeHalf(bits, numbers);
  return numbers;
}

async function hasHalf(context: CaseContext): Promise<boolean> {
  return (await context.runtime).device!.features.has("shader-f16");
}

function upload(scope: Scope, bits: Uint16Array, shape: readonly number[]) {
  return scope.keep(scope.runtime.tensor(bits, shape, "f16"));
}

/** The transform of the same numbers in float64. */
async function oracle(context: CaseContext, options: FftOptions, numbers: Float32Array): Promise<Float32Array> {
  return scoped(await context.cpu, async (scope) => {
    const plan = scope.keep(await scope.runtime.fft(options));
    const x = scope.tensor(numbers, plan.inputShape, options.kind === "r2c" ? "f32" : "complex64");
    return scope.keep(plan.run(x)).data();
  });
}

async function compare(context: CaseContext, runtime: Runtime, options: FftOptions, seed: number): Promise<void> {
  const what = `${JSON.stringify(options)}, seed ${seed}`;
  await scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.fft({ ...options, storage: "f16" }));
    const bits = halves(seed, count(plan.inputShape));
    const expected = await oracle(context, options, decoded(bits));
    const x = upload(scope, bits, plan.inputShape);
    const out = scope.unwritten(plan.outputShape, "f16");
    checkClose(await plan.run(x, { out }).data(), expected, BOUND, what);
    check(
      (await x.data(new Uint16Array(bits.length))).every((word, i) => word === bits[i]),
      `${what}: the input was changed`,
    );
    if ((options.kind ?? "c2c") === "c2c") checkClose(await plan.run(x, { out: x }).data(), expected, BOUND, `${what}, in place`);
  });
}

const KINDS = ["c2c", "r2c", "c2r"] as const;

/** A case with numbers; without the feature, the plans are refused. */
function accuracyCase(name: string, list: readonly FftOptions[]): Case {
  return {
    name,
    run: async (context) => {
      const runtime = await context.runtime;
      const all = list.flatMap((options) => KINDS.map((kind): FftOptions => ({ norm: "ortho", ...options, kind })));
      if (await hasHalf(context)) return together(all, (options, i) => compare(context, runtime, options, i + 1));
      for (const options of all) await checkUnavailable(() => runtime.fft({ ...options, storage: "f16" }), "runtime.fft", "options.storage");
    },
  };
}

async function checkUnavailable(action: () => unknown, ...mentions: string[]): Promise<void> {
  await checkRefused(action, "unavailable", ...mentions, "f16", "Use float32");
}

const tensors: Case = {
  name: "tensors: bits and numbers, odd counts, buffers of the caller's",
  sample: true,
  run: async (context) => {
    const runtime = await context.runtime;
    if (!(await hasHalf(context))) {
      await checkUnavailable(() => runtime.tensor(new Uint16Array(3), [3], "f16"), "runtime.tensor", "dtype", "shader-f16");
      const buffer = runtime.device!.createBuffer({ size: 16, usage: STORAGE_USAGE });
      await checkUnavailable(() => runtime.wrap(buffer, [3], { dtype: "f16" }), "runtime.wrap", "dtype", "shader-f16");
      buffer.destroy();
      return;
    }
    for (const length of [1, 2, 3, 127, 1001]) {
      await scoped(runtime, async (scope) => {
        const bits = halves(length, length);
        const tensor = upload(scope, bits, [length]);
        check(tensor.dtype === "f16" && tensor.byteLength === 2 * length && tensor.size === length, `${length} numbers`);
        const read = await tensor.data(new Uint16Array(length));
        check(
          read.every((word, i) => word === bits[i]),
          `${length}: other bits came back`,
        );
        for (const numbers of [await tensor.data(), await tensor.data(new Float32Array(length))]) {
          check(numbers instanceof Float32Array && numbers.every((value, i) => value === decoded(bits)[i]), `${length}: other numbers came back`);
        }
        await checkRefused(() => tensor.data(new Uint16Array(length + 1)), "shape", "tensor.data", `${length}`, "Uint16Array", `${length + 1}`);
        await checkRefused(() => tensor.data(new Float32Array(length + 1)), "shape", "tensor.data", `${length}`);
      });
    }
    await checkRefused(() => runtime.tensor(new Float32Array(3) as unknown as Uint16Array, [3], "f16"), "value", "Uint16Array", "Float16Array");
    await checkRefused(() => runtime.tensor(new Uint16Array(4), [3], "f16"), "shape", "3", "4");
    await checkRefused(() => runtime.tensor(new Uint16Array(3) as unknown as Float32Array, [3]), "value", "Float32Array");
    await scoped(runtime, async (scope) => {
      const single = scope.tensor(new Float32Array(3), [3]);
      await checkRefused(() => single.data(new Uint16Array(6)), "shape", "Float32Array", "Uint16Array");
      const plan = scope.keep(await runtime.fft({ shape: [4], storage: "f16" }));
      check(`${plan.inputShape} ${plan.outputShape}` === "4,2 4,2", "an axis of (re, im)");
      await checkRefused(() => plan.run(scope.tensor(new Float32Array(8), [4], "complex64")), "shape", "x", "f16");
      await checkRefused(() => plan.run(upload(scope, new Uint16Array(4), [4])), "shape", "x", "[4, 2]");
      await checkRefused(() => plan.backward(upload(scope, new Uint16Array(8), [4, 2])), "unavailable", "FftPlan.backward", "f16", "f32");
      await checkRefused(() => plan.compileBackward(), "unavailable", "FftPlan.compileBackward", "f16", "f32");
    });
    // A wrapped buffer of 3 numbers: the padding and what follows it stay.
    const { device } = runtime;
    const bits = Uint16Array.of(0x3c00, 0x4000, 0x4200, 0x1234, 0x5678, 0x4321);
    const [source, target] = [8, 12].map((size) => device!.createBuffer({ size, usage: STORAGE_USAGE }));
    device!.queue.writeBuffer(source!, 0, bits.slice(0, 4));
    device!.queue.writeBuffer(target!, 0, bits);
    await checkRefused(() => runtime.wrap(source!, [5], { dtype: "f16" }), "shape", "runtime.wrap", "12 bytes", "8 bytes");
    await scoped(runtime, async (scope) => {
      const x = scope.keep(runtime.wrap(source!, [2, 2], { dtype: "f16" }));
      const out = scope.keep(runtime.wrap(target!, [3], { dtype: "f16" }));
      const plan = scope.keep(await runtime.fft({ shape: [3], kind: "c2r", storage: "f16" }));
      // X = (1 + 2i, 3 + …): the imaginary part of X_0 does not count, and 0x1234 is 0.00076.
      const result = await plan.run(x, { out }).data();
      checkClose(result, await oracle(context, { shape: [3], kind: "c2r" }, decoded(bits.slice(0, 4))), BOUND, "wrapped");
      const whole = await scope.keep(runtime.wrap(target!, [6], { dtype: "f16" })).data(new Uint16Array(6));
      check(`${whole.slice(3)}` === `${bits.slice(3)}`, "a store went beyond the tensor");
    });
    source!.destroy();
    target!.destroy();
  },
};

const refusals: Case = {
  name: "refused on the CPU, and on a borrowed device without the feature",
  run: async (context) => {
    const cpu = await context.cpu;
    await checkUnavailable(() => cpu.tensor(new Uint16Array(3), [3], "f16"), "runtime.tensor", "dtype", "CPU");
    await checkUnavailable(() => cpu.fft({ shape: [8], storage: "f16" }), "runtime.fft", "options.storage", "CPU");
    await checkUnavailable(
      () => cpu.tune([{ operation: "fft", options: { shape: [8], storage: "f16" } }]),
      "runtime.tune",
      "requests[0].options.storage",
    );
    await checkRefused(() => cpu.fft({ shape: [8], storage: "bf16" as "f16" }), "value", "options.storage", "bf16");
    const device = await (await context.gpu.requestAdapter())!.requestDevice();
    const borrowed = await context.open({ device });
    try {
      await checkUnavailable(() => borrowed.tensor(new Uint16Array(3), [3], "f16"), "runtime.tensor", "dtype", "shader-f16");
      await checkUnavailable(() => borrowed.fft({ shape: [8], storage: "f16" }), "runtime.fft", "options.storage", "shader-f16");
    } finally {
      borrowed.dispose();
      device.destroy();
    }
  },
};

/** Numbers again, on a device that is made smaller. */
function limitedCase(name: string, settings: RuntimeOptions, list: readonly FftOptions[]): Case {
  return {
    name,
    run: async (context) => {
      if (!(await hasHalf(context))) return;
      const small = await context.open(settings);
      try {
        const all = list.flatMap((options) => KINDS.map((kind): FftOptions => ({ norm: "ortho", ...options, kind })));
        await together(all, (options, i) => compare(context, small, options, i + 1));
      } finally {
        small.dispose();
      }
    },
  };
}

const range: Case = {
  name: "range: too large for float16 without a factor, not with one; nothing overflows between axes",
  run: async (context) => {
    if (!(await hasHalf(context))) return;
    const runtime = await context.runtime;
    // N numbers of 512 are N·512 in one point, on the way too.
    for (const [options, points] of [
      [{ shape: [256] }, 256],
      [{ shape: [3, 128, 64], axes: [1, 2] }, 8192],
    ] as const) {
      await scoped(runtime, async (scope) => {
        const real = new Uint16Array(2 * count(options.shape)).map((_, i) => (i % 2 === 0 ? 0x6000 : 0));
        const x = upload(scope, real, [...options.shape, 2]);
        for (const [norm, first] of [
          ["forward", 512],
          ["ortho", 512 * Math.sqrt(points)],
          ["backward", Infinity],
        ] as const) {
          const plan = scope.keep(await runtime.fft({ ...options, norm, storage: "f16" }));
          const [value] = await scope.keep(plan.run(x)).data();
          // WGSL leaves open what becomes of a number beyond the range.
          const right = first === Infinity ? value! >= 65504 || Number.isNaN(value) : Math.abs(value! - first) <= 2 ** -10 * first;
          check(right, `${JSON.stringify(options)}, ${norm}: ${value} instead of ${first}`);
        }
      });
    }
  },
};

export const halfSuite: Suite = {
  name: "half precision",
  cases: [
    tensors,
    refusals,
    accuracyCase("one axis, one pass", [
      { shape: [513] },
      { shape: [300, 2] },
      { shape: [33, 7] },
      { shape: [7, 1000] },
      { shape: [9, 1001] },
      { shape: [3, 4096], norm: "forward" },
      { shape: [6, 30, 5], axes: [1] },
      { shape: [15, 9, 5], axes: [0] },
      { shape: [9, 101] },
    ]),
    accuracyCase("one axis, two passes", [{ shape: [3, 16384] }, { shape: [16384, 2], axes: [0], norm: "forward" }]),
    accuracyCase("several axes, fused and not", [
      { shape: [3, 16, 16], axes: [1, 2] },
      { shape: [3, 50, 99], axes: [1, 2] },
      { shape: [33, 15, 21], axes: [0, 1, 2] },
    ]),
    limitedCase(
      "several passes, where workgroups are small",
      { limits: { maxComputeWorkgroupStorageSize: 512, maxComputeInvocationsPerWorkgroup: 32 } },
      [{ shape: [5, 1024] }, { shape: [450, 3], axes: [0] }, { shape: [3, 211] }, { shape: [2, 300, 127], axes: [2, 1] }],
    ),
    limitedCase(
      "in parts: small bindings, and a small workspace between axes",
      {
        limits: { maxStorageBufferBindingSize: 20_002, minStorageBufferOffsetAlignment: 256, maxComputeWorkgroupStorageSize: 512 },
        workspaceBytes: 2 ** 16,
      },
      [{ shape: [233, 105] }, { shape: [211, 9, 5], axes: [1] }, { shape: [129, 15, 9], axes: [1, 2] }],
    ),
    range,
  ],
};
