/** Numbers that are not finite: how far they reach, and how they are found. */
import type { AttentionOptions, Runtime, Tensor } from "../../src/index.ts";
import { type CaseContext, check, checkRefused, normals, type Scope, scoped, type Suite } from "./case.ts";

/** Values that a broken input may hold. */
const BROKEN: readonly number[] = [NaN, Infinity, -Infinity];

/** A computation on rows of `[2, 3, …]`, each of which is to depend on itself alone. */
interface Rows {
  readonly name: string;
  /** Numbers of a row of the input. */
  readonly size: number;
  readonly run: (scope: Scope, input: (data: Float32Array) => Float32Array) => Promise<Tensor>;
}

const ROWS = 6;
const LENGTH = 20;
const DIM = 4;

function attentionRows(options: Partial<AttentionOptions>): Rows {
  return {
    name: `attention ${JSON.stringify(options)}`,
    size: LENGTH * DIM,
    run: async (scope, input) => {
      const { runtime } = scope;
      const spec = { batch: 2, heads: 3, length: LENGTH, headDim: DIM, ...options } as AttentionOptions;
      const plan = scope.keep(await runtime.attention(spec));
      const shape = [2, 3, LENGTH, DIM];
      const [q, k, v] = [1, 2, 3].map((seed) => scope.tensor(input(normals(seed, ROWS * LENGTH * DIM)), shape)) as [Tensor, Tensor, Tensor];
      const bias = spec.bias ? { bias: scope.tensor(normals(4, 3 * (2 * LENGTH - 1)), [3, 2 * LENGTH - 1]) } : {};
      return scope.keep(plan.run({ q, k, v, ...bias }));
    },
  };
}

const COMPUTATIONS: readonly Rows[] = [
  {
    name: "fft c2c",
    size: 48,
    run: async (scope, input) =>
      scope.keep(scope.keep(await scope.runtime.fft({ shape: [2, 3, 24] })).run(scope.tensor(input(normals(1, ROWS * 48)), [2, 3, 24], "complex64"))),
  },
  {
    name: "fft r2c of an odd length",
    size: 15,
    run: async (scope, input) =>
      scope.keep(scope.keep(await scope.runtime.fft({ shape: [2, 3, 15], kind: "r2c" })).run(scope.tensor(input(normals(1, ROWS * 15)), [2, 3, 15]))),
  },
  {
    name: "fft r2c",
    size: 16,
    run: async (scope, input) =>
      scope.keep(scope.keep(await scope.runtime.fft({ shape: [2, 3, 16], kind: "r2c" })).run(scope.tensor(input(normals(1, ROWS * 16)), [2, 3, 16]))),
  },
  {
    name: "fft c2r",
    size: 18,
    run: async (scope, input) =>
      scope.keep(
        scope
          .keep(await scope.runtime.fft({ shape: [2, 3, 16], kind: "c2r" }))
          .run(scope.tensor(input(normals(1, ROWS * 18)), [2, 3, 9], "complex64")),
      ),
  },
  {
    name: "convolve",
    size: 16,
    run: async (scope, input) =>
      scope.keep(
        scope
          .keep(await scope.runtime.convolve({ shape: [2, 3, 16], kernel: [3, 5] }))
          .run(scope.tensor(input(normals(1, ROWS * 16)), [2, 3, 16]), scope.tensor(normals(2, 15), [3, 5])),
      ),
  },
  {
    name: "toeplitz",
    size: LENGTH * 3,
    run: async (scope, input) =>
      scope.keep(
        scope
          .keep(await scope.runtime.toeplitz({ batch: 2, heads: 3, length: LENGTH, channels: 3 }))
          .run(
            scope.tensor(input(normals(1, ROWS * LENGTH * 3)), [2, 3, LENGTH, 3]),
            scope.tensor(normals(2, 3 * (2 * LENGTH - 1)), [3, 2 * LENGTH - 1]),
          ),
      ),
  },
  attentionRows({ featureMap: "sikf", bias: "fastrpb" }),
  attentionRows({ featureMap: "elu+1", causal: true }),
  attentionRows({ kind: "softmax", bias: "fastrpb" }),
  attentionRows({ featureMap: "elu+1", bias: "multiplicative" }),
  attentionRows({ featureMap: "favor+", randomFeatures: { count: 8, seed: 1 } }),
];

/** Checks that a row without a broken number in it has the very bits that it has where no row has one. */
async function checkRows(runtime: Runtime, { name, size, run }: Rows): Promise<void> {
  await scoped(runtime, async (scope) => {
    const whole = await (await run(scope, (data) => data)).data();
    check(whole.every(Number.isFinite), `${name}: not finite by itself`);
    for (const [i, value] of BROKEN.entries()) {
      const broken = [1, 4, 5][i]!;
      const actual = await (
        await run(scope, (data) => {
          data[broken * size + 7] = value;
          return data;
        })
      ).data();
      const outSize = whole.length / ROWS;
      for (let at = 0; at < whole.length; at++) {
        if (Math.floor(at / outSize) === broken) continue;
        check(actual[at] === whole[at], `${name} on ${runtime.backend}: ${value} in row ${broken} reaches row ${Math.floor(at / outSize)}`);
      }
      const reached = actual.slice(broken * outSize, (broken + 1) * outSize);
      check(!reached.every((x, j) => x === whole[broken * outSize + j]), `${name} on ${runtime.backend}: ${value} has no effect`);
    }
  });
}

export const nonFiniteSuite: Suite = {
  name: "non-finite",
  sample: true,
  cases: [
    {
      name: "a number that is not finite stays in its batch row and head",
      run: async (context: CaseContext) => {
        for (const runtime of [await context.cpu, await context.runtime]) {
          for (const computation of COMPUTATIONS) await checkRows(runtime, computation);
        }
      },
    },
    {
      name: "check: true tells which tensor holds the first one, and where",
      run: async (context) => {
        for (const runtime of [await context.cpu, await context.runtime]) {
          await scoped(runtime, async (scope) => {
            const shape = [1, 2, 12, 4];
            const plan = scope.keep(await runtime.attention({ heads: 2, length: 12, headDim: 4, featureMap: "sikf", bias: "fastrpb" }));
            const good = () => scope.tensor(normals(1, 96), shape);
            const bad = (...places: readonly (readonly [at: number, value: number])[]) => {
              const data = normals(1, 96);
              for (const [at, value] of places) data[at] = value;
              return scope.tensor(data, shape);
            };
            const bias = scope.tensor(normals(2, 46), [2, 23]);
            const held = runtime.memory().buffers;
            const fine = plan.run({ q: good(), k: good(), v: good(), bias, check: true });
            check((await fine.data()).every(Number.isFinite), "not finite");
            fine.dispose();
            check(runtime.memory().buffers === held + 3 + (runtime.backend === "cpu" ? 0 : 2), `${runtime.memory().buffers - held} buffers more`);
            // 61 = ((0 · 2 + 1) · 12 + 3) · 4 + 1
            for (const value of BROKEN) {
              const out = scope.keep(plan.run({ q: good(), k: bad([61, value], [90, NaN]), v: bad([3, NaN]), bias }, { check: true }));
              await checkRefused(() => out.data(), "value", "AttentionPlan.run", "k is not finite at [0, 1, 3, 1]");
            }
            const reused = scope.keep(plan.run({ q: good(), k: bad([61, NaN]), v: good(), bias }, { check: true }));
            await checkRefused(() => reused.data(), "value", "k is not finite at [0, 1, 3, 1]");
            plan.run({ q: good(), k: good(), v: good(), bias }, { out: reused });
            check((await reused.data()).every(Number.isFinite), "a later run replaces the result and its fault");
            const weights = normals(2, 46);
            weights[24] = Infinity;
            const out = scope.keep(plan.run({ q: good(), k: good(), v: good(), bias: scope.tensor(weights, [2, 23]), check: true }));
            await checkRefused(() => out.data(), "value", "bias is not finite at [1, 1]");
            const silent = scope.keep(plan.run({ q: good(), k: bad([61, NaN]), v: good(), bias }));
            check((await silent.data()).some(Number.isNaN), "without check, the result tells");
            const later = await plan.runAsync({ q: bad([0, NaN]), k: good(), v: good(), bias }, { check: true });
            await checkRefused(() => scope.keep(later).data(), "value", "q is not finite at [0, 0, 0, 0]");

            const multiply = scope.keep(await runtime.complexMultiply({ shape: [2, 3] }));
            const large = new Float32Array(12);
            large[8] = 3e38; // re of [1, 1]
            const x = scope.tensor(large, [2, 3], "complex64");
            const overflown = scope.keep(multiply.run(x, x, { check: true }));
            await checkRefused(() => overflown.data(), "value", "the result is not finite at [1, 1]", "although all inputs are");
            const fft = scope.keep(await runtime.fft({ shape: [3] }));
            const inPlace = scope.tensor(Float32Array.of(1, 0, 2, -Infinity, 0, 0), [3], "complex64");
            await checkRefused(() => fft.run(inPlace, { out: inPlace, check: true }).data(), "value", "x is not finite at [1]");
            await checkRefused(() => fft.run(inPlace, { check: 1 as never }), "value", "options.check");
            await checkRefused(() => fft.profile(inPlace, { check: true } as never), "value", "options");
          });
        }
      },
    },
    {
      name: "check: true of float16",
      run: async (context) => {
        const runtime = await context.runtime;
        if (!runtime.device!.features.has("shader-f16")) return;
        await scoped(runtime, async (scope) => {
          const plan = scope.keep(await runtime.fft({ shape: [1, 3], kind: "r2c", storage: "f16" }));
          for (const [at, bits] of [
            [0, 0x7c00],
            [1, 0xfc00],
            [2, 0x7e01],
          ] as const) {
            const data = new Uint16Array(3).fill(0x7bff); // the largest finite one
            data[at] = bits;
            const out = scope.keep(plan.run(scope.keep(runtime.tensor(data, [1, 3], "f16")), { check: true }));
            await checkRefused(() => out.data(new Uint16Array(out.size)), "value", `x is not finite at [0, ${at}]`);
          }
        });
      },
    },
  ],
};
