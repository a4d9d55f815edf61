/** Convolutions against their definition, and what their spectra and modes promise. */
import scipy from "../../src/testing/fixtures/convolve.json" with { type: "json" };
import type { ConvolveOptions, ConvolvePlan, Runtime } from "../../src/index.ts";
import { type ConvolveAxis, type ConvolveSpec, convolveSpec } from "../../src/testing/specs.ts";
import { type CaseContext, check, checkClose, checkRefused, normals, scoped, type Suite, together } from "./case.ts";

/** relL2: of a product of spectra of some 10⁵ points. */
const BOUND = 4e-7;
const MODES = ["circular", "full", "same", "valid", "causal"] as const;

const ONE_POINT: ConvolveAxis = { length: 1, kernel: 1, offset: 0, output: 1, period: 1 };

/** y_n = Σ_k h_k x_{n−k} as the sum that it is, in float64. */
function definition(spec: ConvolveSpec, x: Float32Array, h: Float32Array): Float64Array {
  const parts = spec.dtype === "complex64" ? 2 : 1;
  const [rowAxis, axis] = spec.axes.length === 2 ? [spec.axes[0]!, spec.axes[1]!] : [ONE_POINT, spec.axes[0]!];
  const { inner, kernels, repeats, mode } = spec;
  const circular = mode === "circular";
  const result = new Float64Array(parts * repeats * kernels * rowAxis.output * axis.output * inner);
  /** Index of x that kernel point k meets for the wanted value n, or −1. */
  const meets = ({ length, offset }: ConvolveAxis, n: number, k: number) => {
    const index = n + offset - k;
    return circular ? (index + length) % length : index < length ? index : -1;
  };
  for (let outer = 0; outer < repeats * kernels; outer++) {
    for (let y = 0; y < rowAxis.output; y++) {
      for (let ky = 0; ky < rowAxis.kernel; ky++) {
        const row = meets(rowAxis, y, ky);
        if (row < 0) continue;
        for (let n = 0; n < axis.output; n++) {
          const at = parts * ((outer * rowAxis.output + y) * axis.output + n) * inner;
          for (let k = 0; k < axis.kernel; k++) {
            const column = meets(axis, n, k);
            if (column < 0) continue;
            const from = parts * ((outer * rowAxis.length + row) * axis.length + column) * inner;
            const of = parts * (((outer % kernels) * rowAxis.kernel + ky) * axis.kernel + k);
            for (let i = 0; i < inner; i++) {
              if (parts === 1) result[at + i]! += h[of]! * x[from + i]!;
              else {
                const [hr, hi, xr, xi] = [h[of]!, h[of + 1]!, x[from + 2 * i]!, x[from + 2 * i + 1]!];
                result[at + 2 * i]! += hr * xr - hi * xi;
                result[at + 2 * i + 1]! += hr * xi + hi * xr;
              }
            }
          }
        }
      }
    }
  }
  return result;
}

function floats({ dtype }: ConvolveOptions, shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, dtype === "complex64" ? 2 : 1);
}

/** Runs with the kernel and with its spectrum: the same bits, close to the definition. */
async function compare(runtime: Runtime, options: ConvolveOptions, checkPlan?: (plan: ConvolvePlan, what: string) => void): Promise<void> {
  const seed = options.shape.length + options.kernel.at(-1)!;
  const what = `${JSON.stringify(options)}, seed ${seed}`;
  const spec = convolveSpec(options);
  const { dtype = "f32" } = options;
  const x = normals(seed, floats(options, options.shape));
  const h = normals(seed + 1, floats(options, options.kernel));
  const actual = await scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.convolve(options));
    checkPlan?.(plan, what);
    check(plan.outputShape.join() === spec.outputShape.join(), `${what}: shape ${plan.outputShape}`);
    const [input, kernel] = [scope.tensor(x, options.shape, dtype), scope.tensor(h, options.kernel, dtype)];
    const direct = await plan.run(input, kernel, { out: scope.unwritten(plan.outputShape, dtype) }).data();
    const spectrum = scope.keep(plan.prepare(kernel));
    const prepared = await plan.run(input, spectrum, { out: scope.unwritten(plan.outputShape, dtype) }).data();
    check(
      direct.every((value, i) => Object.is(value, prepared[i])),
      `${what}: a kernel and its spectrum give different results`,
    );
    return direct;
  });
  checkClose(actual, definition(spec, x, h), BOUND, what);
}

/** The same with the limits that every device has, for which it is known how many dispatches there are. */
async function comparePlanned(context: CaseContext, options: ConvolveOptions, dispatches: number): Promise<void> {
  await compare(await context.guaranteed, options, (plan, what) => context.checkDispatches(plan, dispatches, what));
}

export const convolveSuite: Suite = {
  name: "convolve",
  cases: [
    {
      name: "every mode in one dispatch: a kernel for each channel, real",
      run: async (context) => {
        await together(MODES, (mode) => comparePlanned(context, { shape: [3, 4, 50], kernel: [4, 13], mode }, 1));
      },
    },
    {
      name: "one dispatch: one kernel, inner axes, a prime length, complex",
      run: async (context) => {
        await together(["circular", "same"] as const, (mode) =>
          comparePlanned(context, { shape: [3, 101, 5], kernel: [100], axes: [1], mode, dtype: "complex64" }, 1),
        );
      },
    },
    {
      name: "kernels as long as x, longer than x, of one point",
      run: async (context) => {
        await together<ConvolveOptions>(
          [
            { shape: [2, 17], kernel: [17], mode: "circular" },
            { shape: [2, 22], kernel: [2, 22], mode: "circular", dtype: "complex64" },
            { shape: [2, 17], kernel: [17], mode: "valid" },
            { shape: [2, 17], kernel: [30], mode: "full" },
            { shape: [2, 17], kernel: [30], mode: "same" },
            { shape: [2, 17], kernel: [30], mode: "causal" },
            { shape: [3, 2, 40], kernel: [3, 2, 1], mode: "same" },
            { shape: [1], kernel: [1] },
            { shape: [1, 1, 7], kernel: [1, 1], axes: [0, 1], mode: "circular" },
          ],
          (options) => comparePlanned(context, options, 1),
        );
      },
    },
    {
      name: "real neighbours in pairs, and what is left alone where they are odd",
      run: async (context) => {
        await together<ConvolveOptions>(
          [
            { shape: [3, 101, 2], kernel: [100], axes: [1], mode: "circular" },
            { shape: [2, 3, 50, 2, 3], kernel: [3, 13], axes: [2], mode: "valid" },
            { shape: [3, 50, 5], kernel: [3, 13], axes: [1], mode: "same" },
            { shape: [2, 11, 20, 4], kernel: [11, 3], axes: [1, 2], mode: "full" },
          ],
          (options) => comparePlanned(context, options, 1),
        );
        await comparePlanned(context, { shape: [9100, 2], kernel: [100], axes: [0], mode: "causal" }, 3);
        await comparePlanned(context, { shape: [2, 120, 118, 2], kernel: [5, 7], axes: [1, 2], mode: "same" }, 3);
      },
    },
    {
      name: "every mode in three dispatches",
      run: async (context) => {
        await together(MODES, (mode) => comparePlanned(context, { shape: [2, 3, 9100], kernel: [3, 100], mode }, 3)); // one period for all
        await together<ConvolveOptions>(
          [
            { shape: [2, 10007], kernel: [999], mode: "circular" },
            { shape: [9000, 2], kernel: [77], axes: [0], mode: "same", dtype: "complex64" },
            { shape: [2, 6000], kernel: [2, 5000], mode: "full" }, // more than a workgroup of 1024 lanes holds
          ],
          (options) => comparePlanned(context, options, 3),
        );
      },
    },
    {
      name: "two axes in one dispatch", // all modes of small shapes: "as scipy has it"
      run: async (context) => {
        await together(["circular", "valid"] as const, (mode) =>
          comparePlanned(context, { shape: [3, 4, 20, 30], kernel: [4, 5, 7], axes: [-2, -1], mode }, 1),
        );
        await together<ConvolveOptions>(
          [
            { shape: [3, 11, 20, 2], kernel: [11, 3], axes: [1, 2], mode: "same", dtype: "complex64" },
            { shape: [17, 19], kernel: [17, 19], axes: [0, 1], mode: "circular" },
            { shape: [2, 9, 30], kernel: [2, 9, 30], axes: [1, 2], mode: "full", dtype: "complex64" },
          ],
          (options) => comparePlanned(context, options, 1),
        );
      },
    },
    {
      name: "two axes, every mode, in three dispatches",
      run: async (context) => {
        await together(MODES, (mode) => comparePlanned(context, { shape: [2, 120, 118], kernel: [5, 7], axes: [1, 2], mode }, 3));
        await comparePlanned(context, { shape: [118, 60, 3], kernel: [9, 11], axes: [0, 1], mode: "circular", dtype: "complex64" }, 3);
      },
    },
    {
      name: "in parts: bindings of 256 KiB, a workspace of 512 KiB",
      run: async (context) => {
        const small = await context.open({ limits: { maxStorageBufferBindingSize: 2 ** 18 }, workspaceBytes: 2 ** 19 });
        try {
          await together<ConvolveOptions>(
            [
              { shape: [90, 3, 331], kernel: [3, 60], mode: "same" },
              { shape: [5, 3, 9001], kernel: [3, 60], mode: "valid" },
              { shape: [7, 100, 90], kernel: [5, 4], axes: [1, 2], mode: "full", dtype: "complex64" },
            ],
            (options) => compare(small, options),
          );
          await checkRefused(() => small.convolve({ shape: [200, 500], kernel: [200, 500] }), "limit", "runtime.convolve", "262144");
        } finally {
          small.dispose();
        }
      },
    },
    {
      name: "an impulse shifts, convolution commutes",
      run: async (context) => {
        const runtime = await context.runtime;
        await scoped(runtime, async (scope) => {
          const [n, k] = [500, 40];
          const run = async (shape: readonly number[], kernel: readonly number[], x: Float32Array, h: Float32Array) => {
            const plan = scope.keep(await runtime.convolve({ shape, kernel }));
            return plan.run(scope.tensor(x, shape), scope.tensor(h, kernel), { out: scope.unwritten(plan.outputShape) }).data();
          };
          const [x, h] = [normals(51, n), normals(52, k)];
          const impulse = new Float32Array(k).map((_, i) => (i === 7 ? 1 : 0));
          const shifted = new Float32Array(n + k - 1);
          shifted.set(x, 7);
          checkClose(await run([n], [k], x, impulse), shifted, BOUND, "impulse at 7, seed 51");
          checkClose(await run([n], [k], x, h), await run([k], [n], h, x), BOUND, "x * h = h * x, seeds 51 and 52");
        });
      },
    },
    {
      name: "a spectrum fits plans of the same kernel, and no others",
      run: async (context) => {
        for (const runtime of [await context.runtime, await context.cpu]) {
          await scoped(runtime, async (scope) => {
            const options: ConvolveOptions = { shape: [6, 4, 40], kernel: [4, 5], mode: "same" };
            const plan = scope.keep(await runtime.convolve(options));
            const [x, h] = [normals(53, 960), normals(54, 20)];
            const kernel = scope.tensor(h, [4, 5]);
            const spectrum = scope.keep(plan.prepare(kernel));
            const input = scope.tensor(x, [6, 4, 40]);
            const expected = await scope.keep(plan.run(input, kernel)).data();
            const fewer = scope.keep(await runtime.convolve({ ...options, shape: [4, 40] }));
            const part = await scope.keep(fewer.run(scope.tensor(x.slice(0, 160), [4, 40]), spectrum)).data();
            checkClose(part, expected.slice(0, 160), 1e-7, "a plan of fewer rows, seed 53");
            for (const other of [{ mode: "circular" as const }, { kernel: [4, 6] }, { kernel: [5] }, { shape: [6, 4, 60], kernel: [4, 5] }]) {
              const changed = { ...options, ...other };
              const strange = scope.keep(await runtime.convolve(changed));
              const y = scope.tensor(new Float32Array(changed.shape.reduce((a, b) => a * b)), changed.shape);
              await checkRefused(() => strange.run(y, spectrum), "shape", "ConvolvePlan.run", "kernel", "a spectrum of");
            }
            const toeplitz = scope.keep(await runtime.toeplitz({ heads: 4, length: 5, channels: 1 }));
            await checkRefused(() => toeplitz.run(scope.tensor(new Float32Array(20), [1, 4, 5, 1]), spectrum), "shape", "ToeplitzPlan.run");
            await checkRefused(() => plan.run(input, scope.tensor(new Float32Array(24), [4, 6])), "shape", "kernel", "[4, 5]");
            await checkRefused(() => plan.run(input, scope.tensor(new Float32Array(40), [4, 5], "complex64")), "shape", "kernel", "f32");
            await checkRefused(() => plan.run(kernel, kernel), "shape", "x", "[6, 4, 40]");
            await checkRefused(() => plan.run(input, kernel, { out: input }), "value", "options.out");
            await checkRefused(() => plan.prepare(input), "shape", "ConvolvePlan.prepare", "kernel");
            spectrum.dispose();
            await checkRefused(() => plan.run(input, spectrum), "disposed", "kernel");
          });
        }
      },
    },
    {
      name: "as scipy has it: modes, axes, dtypes",
      run: async (context) => {
        const runtime = await context.runtime;
        // Every other one: each mode and layout is among them.
        const chosen = scipy.filter((_, i) => i % 2 === 0);
        await together(chosen, async ({ x, h, out, outputShape, ...fixture }) => {
          const options = fixture as ConvolveOptions;
          const { shape, kernel, dtype = "f32" } = options;
          const actual = await scoped(runtime, async (scope) => {
            const plan = scope.keep(await runtime.convolve(options));
            const target = scope.unwritten(outputShape, dtype);
            return plan
              .run(scope.tensor(Float32Array.from(x), shape, dtype), scope.tensor(Float32Array.from(h), kernel, dtype), { out: target })
              .data();
          });
          checkClose(actual, out, BOUND, JSON.stringify(options));
        });
      },
    },
    {
      name: "as the CPU backend has it",
      sample: true,
      run: async (context) => {
        const options: ConvolveOptions = { shape: [2, 3, 24, 25], kernel: [3, 4, 5], axes: [2, 3], mode: "same", dtype: "complex64" };
        const [x, h] = [normals(55, 2 * 3600), normals(56, 2 * 60)];
        const run = async (runtime: Runtime) =>
          scoped(runtime, async (scope) => {
            const plan = scope.keep(await runtime.convolve(options));
            const out = plan.run(scope.tensor(x, options.shape, "complex64"), scope.tensor(h, options.kernel, "complex64"));
            return scope.keep(out).data();
          });
        checkClose(await run(await context.runtime), await run(await context.cpu), BOUND, "seeds 55 and 56");
      },
    },
  ],
};
