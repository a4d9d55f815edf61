/** FFTs against their definition in float64, against scipy, and the properties that define them. */
import scipy from "../../src/testing/fixtures/fftn.json" with { type: "json" };
import type { Runtime } from "../../src/index.ts";
import { fftSpec } from "../../src/testing/specs.ts";
import { isSmooth } from "../../src/math/smooth.ts";
import { random } from "../../src/testing/random.ts";
import { type Case, type CaseContext, check, checkClose, normals, relativeL2, scoped, type Suite, together } from "./case.ts";
import { checkTransform, inputFloats, type Transform, transformed } from "./transform.ts";

/** Points per check, so that the norm is an average also for short transforms. */
const POINTS = 65536;
const DIRECTIONS = ["forward", "inverse"] as const;
const NORMS = ["backward", "ortho", "forward"] as const;

/** 7-smooth lengths up to 2^20: all radices alone and together, and some drawn at random. */
function smoothLengths(): number[] {
  const fixed = [3, 5, 6, 7, 9, 10, 12, 14, 15, 21, 25, 27, 35, 49, 60, 100, 105, 125, 210, 243, 343, 784, 1000, 2187, 2401, 3125, 3600, 4000];
  const long = [5000, 6561, 10000, 59049, 78125, 117649, 823543, 1000000];
  const draw = random(20);
  const drawn: number[] = [];
  while (drawn.length < 3) {
    let candidate = Math.floor(4096 + draw() * (2 ** 20 - 4096));
    while (!isSmooth(candidate)) candidate++;
    if (candidate <= 2 ** 20) drawn.push(candidate);
  }
  return [...fixed, ...long, ...drawn];
}

/** `count` lengths from `low` to `high`, short ones as likely as long ones. */
function drawnLengths(seed: number, count: number, low: number, high: number): number[] {
  const draw = random(seed);
  return Array.from({ length: count }, () => Math.floor(low * (high / low) ** draw()));
}

/** A batch of transforms of a length, direction and norm by turns. */
function rows(length: number): Transform {
  return { shape: [Math.max(1, Math.floor(POINTS / length)), length], direction: DIRECTIONS[length % 2]!, norm: NORMS[length % 3]! };
}

function transformCase(name: string, transforms: readonly Transform[], slow = false): Case {
  return {
    name,
    slow,
    run: async (context) => {
      const runtime = await context.runtime;
      await together(transforms, async (transform, i) => {
        await checkTransform(runtime, transform, 100 + i);
      });
    },
  };
}

const powers = Array.from({ length: 21 }, (_, i) => 2 ** i);
const smooth = smoothLengths();

/** There and back is the identity, to twice the error of a transform. */
async function checkRoundTrip(runtime: Runtime, shape: readonly number[], axes: readonly number[]): Promise<void> {
  const x = normals(9, inputFloats(fftSpec({ shape, axes, kind: "r2c" })));
  const half = await transformed(runtime, { shape, axes, kind: "r2c" }, x);
  checkClose(await transformed(runtime, { shape, axes, kind: "c2r" }, half), x, 6e-7, `c2r(r2c(x)) of ${JSON.stringify({ shape, axes })}, seed 9`);
}

async function forward(context: CaseContext, x: Float32Array): Promise<Float32Array> {
  return transformed(await context.runtime, { shape: [x.length / 2] }, x);
}

function norm(values: ArrayLike<number>): number {
  return Math.sqrt(Array.from(values).reduce((sum, value) => sum + value * value, 0));
}

export const fftSuite: Suite = {
  name: "fft",
  cases: [
    transformCase("accuracy, 2^0 to 2^13", powers.slice(0, 14).map(rows)),
    transformCase("accuracy, 2^14 to 2^20", powers.slice(14).map(rows)),
    transformCase("accuracy, 7-smooth lengths in one pass", smooth.filter((n) => n <= 4096).map(rows)),
    transformCase("accuracy, 7-smooth lengths in two passes", smooth.filter((n) => n > 4096).map(rows)),
    transformCase("accuracy, 11 and 13 among the radices", [11, 13, 22, 26, 121, 143, 169, 1001, 1331, 2197].map(rows)),
    transformCase("accuracy, primes as a convolution in one pass or in three", [17, 19, 23, 97, 1009, 2039, 2053, 4093].map(rows)),
    transformCase("accuracy, any length to 4096 (seed 21)", drawnLengths(21, 12, 2, 4096).map(rows)),
    transformCase("accuracy, any length to 2^20 (seed 22)", drawnLengths(22, 3, 4097, 2 ** 17).map(rows)),
    transformCase("accuracy, longer ones, primes among them (seed 23)", [65537, 1048573, ...drawnLengths(23, 4, 2 ** 17, 2 ** 20)].map(rows), true),
    transformCase(
      "direction and norm, in one pass and in two",
      [1, 12, 1000, 15000].flatMap((length) =>
        DIRECTIONS.flatMap((direction) => NORMS.map((norm): Transform => ({ shape: [Math.ceil(POINTS / 2 / length), length], direction, norm }))),
      ),
    ),
    transformCase("any axis, any number of axes", [
      ...(
        [
          [[1], 0],
          [[3600], 0],
          [[7, 30, 50], 0],
          [[30, 8, 50], 1],
          [[20, 3, 40, 5], 2],
          [[16384, 3], 0],
          [[2, 10000, 5], 1],
        ] as const
      ).flatMap(([shape, axis]) => DIRECTIONS.map((direction): Transform => ({ shape, axes: [axis], direction }))),
      { shape: [3, 1600], axes: [-2] },
      { shape: [3, 34, 40], axes: [1], direction: "inverse" },
    ]),
    transformCase("several axes in one dispatch", [
      { shape: [5, 64, 64], axes: [1, 2] },
      { shape: [64, 3, 16], axes: [0, 2], direction: "inverse" },
      { shape: [3, 8, 5, 6, 7, 4], axes: [5, 1, 3], direction: "inverse", norm: "forward" },
      { shape: [11, 1, 13], axes: [0, 1, 2] },
      { shape: [8, 8, 16, 3], axes: [0, 1, 2], direction: "inverse" },
    ]),
    transformCase("several axes in several dispatches", [
      { shape: [100, 90], axes: [0, 1] },
      { shape: [3, 5000, 4], axes: [1, 0], direction: "inverse" },
      { shape: [17, 19, 23], axes: [2, 1, 0] },
      { shape: [64, 64, 64], axes: [0, 1, 2], norm: "ortho" },
    ]),
    transformCase(
      "in place",
      [
        { shape: [4, 1000], direction: "inverse" },
        { shape: [3, 34], norm: "ortho" },
        { shape: [20000, 2], axes: [0] },
        { shape: [4099] },
        { shape: [7, 16, 8], axes: [1, 2] },
        { shape: [100, 90], axes: [1, 0], direction: "inverse" },
      ].map((transform) => ({ ...transform, inPlace: true }) as Transform),
    ),
    ...(["r2c", "c2r"] as const).map((kind) =>
      transformCase(
        kind === "r2c" ? "real to complex" : "complex to real",
        (
          [
            ...[2, 15, 34].map((length): Transform => ({ shape: [Math.ceil(20_000 / length), length] })),
            { shape: [9, 4096], norm: "ortho" },
            { shape: [7, 100, 30], axes: [1], norm: "forward" },
            { shape: [3, 32768] },
            { shape: [15625, 2], axes: [0] },
            { shape: [10007] },
            { shape: [50, 60], axes: [1, 0], norm: "ortho" },
            { shape: [30, 7, 9], axes: [2, 0, 1] },
          ] as const
        ).map((transform) => ({ ...transform, kind })),
      ),
    ),
    {
      name: "c2r(r2c(x)) = x",
      run: async (context) => {
        const runtime = await context.runtime;
        const shapes = [
          [[5, 24], [1]],
          [[2, 15], [1]],
          [
            [50, 60],
            [0, 1],
          ],
        ] as const;
        await together(shapes, ([shape, axes]) => checkRoundTrip(runtime, shape, axes));
      },
    },
    {
      name: "as scipy has it: kinds, axes, norms",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        await together(scipy, async ({ x, out, ...options }) => {
          checkClose(await transformed(runtime, options as Transform, Float32Array.from(x)), out, 4e-7, JSON.stringify(options));
        });
      },
    },
    {
      name: "in parts: bindings of 256 KiB, a workspace of 512 KiB",
      run: async (context) => {
        const small = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 18 }, workspaceBytes: 2 ** 19 });
        try {
          await together<Transform>(
            [
              { shape: [9, 10007], inPlace: true },
              { shape: [9, 100, 90], axes: [2, 1], norm: "ortho" },
              { shape: [5, 15000], kind: "r2c" },
              { shape: [5, 15625], kind: "c2r" },
              { shape: [11, 100, 90], axes: [1, 2], kind: "c2r" },
            ],
            async (transform) => {
              await checkTransform(small, transform, 5);
            },
          );
        } finally {
          small.dispose();
        }
      },
    },
    {
      name: "small workgroups, and the other choices of a tuner",
      run: async (context) => {
        const small = await context.open({ limits: { maxComputeWorkgroupStorageSize: 4096, maxComputeInvocationsPerWorkgroup: 64 } });
        try {
          await together<Transform>(
            [
              { shape: [3, 2048] },
              { shape: [3, 509] },
              { shape: [2 * 509 * 61], direction: "inverse" }, // two passes that are convolutions, or one between
              { shape: [2, 40, 40], axes: [1, 2], kind: "r2c" },
            ],
            async (transform) => {
              await checkTransform(small, transform, 6);
            },
          );
        } finally {
          small.dispose();
        }
      },
    },
    {
      name: "an impulse becomes a wave, a constant an impulse",
      sample: true,
      run: async (context) => {
        for (const length of [784, 787]) {
          const impulse = new Float32Array(2 * length);
          impulse[2] = 1;
          const wave = Float64Array.from({ length: 2 * length }, (_, i) => {
            const angle = (-2 * Math.PI * Math.floor(i / 2)) / length;
            return i % 2 === 0 ? Math.cos(angle) : Math.sin(angle);
          });
          const bound = isSmooth(length) ? 1e-7 : 3e-7;
          checkClose(await forward(context, impulse), wave, bound, `impulse at 1 of ${length}`);
          const constant = new Float32Array(2 * length).map((_, i) => (i % 2 === 0 ? 1 : 0));
          const expected = new Float32Array(2 * length);
          expected[0] = length;
          checkClose(await forward(context, constant), expected, bound, `constant of ${length}`);
        }
      },
    },
    {
      name: "linearity, shift, Parseval, round trip",
      run: async (context) => {
        const length = 3000;
        const seed = 31;
        const [a, b] = [normals(seed, 2 * length), normals(seed + 1, 2 * length)];
        const [fa, fb] = [await forward(context, a), await forward(context, b)];
        checkClose(
          await forward(
            context,
            a.map((value, i) => 2 * value - 3 * b[i]!),
          ),
          fa.map((value, i) => 2 * value - 3 * fb[i]!),
          5e-7,
          `linearity, seed ${seed}`,
        );
        check(Math.abs(norm(fa) / norm(a) / Math.sqrt(length) - 1) < 1e-6, `Parseval, seed ${seed}`);
        const shift = 7;
        const shifted = new Float32Array(2 * length).map((_, i) => a[(i + 2 * length - 2 * shift) % (2 * length)]!);
        const turned = Float64Array.from({ length: 2 * length }, (_, i) => {
          const k = Math.floor(i / 2);
          const [c, s] = [Math.cos((2 * Math.PI * k * shift) / length), -Math.sin((2 * Math.PI * k * shift) / length)];
          return i % 2 === 0 ? c * fa[2 * k]! - s * fa[2 * k + 1]! : s * fa[2 * k]! + c * fa[2 * k + 1]!;
        });
        checkClose(await forward(context, shifted), turned, 5e-7, `shift, seed ${seed}`);
        const back = await transformed(await context.runtime, { shape: [length], direction: "inverse" }, fa);
        check(relativeL2(back, a) < 5e-7, `round trip, seed ${seed}: ${relativeL2(back, a)}`);
      },
    },
    {
      name: "plans of several runs: in place and not, by turns",
      run: async (context) => {
        const runtime = await context.runtime;
        await scoped(runtime, async (scope) => {
          const shape = [3, 64, 5];
          const plan = scope.keep(await runtime.fft({ shape, axes: [1], norm: "ortho" }));
          const x = scope.tensor(normals(4, 1920), shape, "complex64");
          const expected = await scope.keep(plan.run(x)).data();
          const encoder = runtime.device!.createCommandEncoder();
          check(plan.encode(encoder, x, { out: x }) === x, "the result is the input");
          runtime.device!.queue.submit([encoder.finish()]);
          checkClose(await x.data(), expected, 0, "in place, encoded");
          for (let i = 0; i < 3; i++) plan.run(x, { out: x });
          // Four unitary transforms are the identity.
          checkClose(await x.data(), normals(4, 1920), 1e-6, "four times in place, seed 4");
        });
      },
    },
  ],
};
