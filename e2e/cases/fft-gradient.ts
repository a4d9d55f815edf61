/** Gradients of FFTs, against the definition of the transform itself. */
import { fftReference } from "../../src/testing/reference.ts";
import type { FftOptions, Runtime } from "../../src/index.ts";
import { planProgram } from "../../src/testing/operations.ts";
import { elementCount } from "../../src/core/check.ts";
import { fftGradientSpec, type FftSpec, fftSpec } from "../../src/testing/specs.ts";
import { limitsWith } from "../../src/testing/planning.ts";
import { type CaseContext, check, checkClose, checkRefused, normals, scoped, type Suite, together } from "./case.ts";
import { runProgram } from "./run-program.ts";
import { BOUNDS, classOf, inputFloats, pointsOf, U, unitOf } from "./transform.ts";

/** Elements up to which the definition takes a moment; the CPU backend, held to it there, stands in for it beyond. */
const MOST_DEFINED = 600;

async function backward(runtime: Runtime, options: FftOptions, dOut: Float32Array): Promise<Float32Array> {
  return scoped(runtime, async (scope) => {
    const plan = scope.keep(await runtime.fft(options));
    await plan.compileBackward();
    const real = { input: options.kind === "r2c", output: options.kind === "c2r" };
    const given = scope.tensor(dOut, plan.outputShape, real.output ? "f32" : "complex64");
    const out = scope.unwritten(plan.inputShape, real.input ? "f32" : "complex64");
    check(plan.backward(given, { out }) === out, "the gradient is in options.out");
    return out.data();
  });
}

/** Σ_j dOut_j ∂out_j/∂x_i over real numbers: the transform is linear, so that ∂out/∂x_i is that of a unit vector. */
function definition(spec: FftSpec, dOut: Float32Array): Float64Array {
  const count = inputFloats(spec);
  return Float64Array.from({ length: count }, (_, i) => {
    const unit = new Float64Array(count);
    unit[i] = 1;
    return fftReference(spec, unit).reduce((sum, value, j) => sum + value * dOut[j]!, 0);
  });
}

async function checkGradient(
  context: CaseContext,
  options: FftOptions,
  seed: number,
  run: (dOut: Float32Array) => Promise<Float32Array>,
): Promise<void> {
  const spec = fftSpec(options);
  const dOut = normals(seed, inputFloats(fftGradientSpec(spec)));
  const defined = elementCount(spec.shape) <= MOST_DEFINED;
  const expected = defined ? definition(spec, dOut) : await backward(await context.cpu, options, dOut);
  const points = pointsOf(spec);
  // Of a few numbers the norm is no average.
  const bound = (defined ? 1.5 : 1) * Math.hypot(BOUNDS[classOf(points)] * unitOf(points), U);
  checkClose(await run(dOut), expected, bound, `gradient of fft ${JSON.stringify(options)}, seed ${seed}`);
}

const SHORT: readonly FftOptions[] = [
  { shape: [1] },
  { shape: [3, 20], norm: "ortho" },
  { shape: [5, 12, 2], axes: [1], direction: "inverse" },
  ...(["r2c", "c2r"] as const).flatMap((kind): FftOptions[] => [
    { shape: [1], kind },
    { shape: [2], kind },
    { shape: [3, 15], kind, norm: "forward" },
    { shape: [2, 16], kind },
    { shape: [12, 3], axes: [0], kind, norm: "ortho" },
    { shape: [6, 10], axes: [0, 1], kind },
    { shape: [8, 2, 5], axes: [0, 2], kind },
  ]),
];

const small = limitsWith({
  maxStorageBufferBindingSize: 2 ** 16,
  maxComputeWorkgroupStorageSize: 4096,
  maxComputeInvocationsPerWorkgroup: 64,
  workspaceBytes: 2 ** 17,
});

export const fftGradientSuite: Suite = {
  name: "fft gradient",
  cases: [
    {
      name: "the CPU against the definition",
      run: async (context) => {
        const cpu = await context.cpu;
        await together(SHORT, (options, i) => checkGradient(context, options, 300 + i, (dOut) => backward(cpu, options, dOut)));
      },
    },
    {
      name: "against the definition: kinds, axes, norms, odd and even, lengths of 1 and 2",
      sample: true,
      run: async (context) => {
        const runtime = await context.runtime;
        await together(SHORT, (options, i) => checkGradient(context, options, 300 + i, (dOut) => backward(runtime, options, dOut)));
      },
    },
    {
      name: "small workgroups: several passes, primes, in parts of 64 KiB",
      run: async (context) => {
        const transforms: readonly FftOptions[] = [
          { shape: [5, 4096], kind: "c2r" },
          { shape: [3, 3125], kind: "r2c" },
          { shape: [2, 23], kind: "c2r" },
          { shape: [1031], kind: "r2c" },
          { shape: [9, 30, 44], axes: [2, 1], kind: "c2r" },
        ];
        const { device } = await context.runtime;
        await together(transforms, (options, i) =>
          // Without the plan for the way there, which would have to compile too.
          checkGradient(context, options, 330 + i, async (dOut) => {
            const program = planProgram("test", fftGradientSpec(fftSpec(options)), small);
            return new Float32Array((await runProgram(device!, program, { x: dOut }))["out"]!);
          }),
        );
      },
    },
    {
      name: "what is refused",
      run: async (context) => {
        for (const runtime of [await context.runtime, await context.cpu]) {
          await scoped(runtime, async (scope) => {
            const plan = scope.keep(await runtime.fft({ shape: [3, 8], kind: "r2c" }));
            const dOut = scope.tensor(normals(1, 30), [3, 5], "complex64");
            const x = scope.tensor(normals(2, 24), [3, 8]);
            await checkRefused(() => plan.backward(x), "shape", "FftPlan.backward", "dOut", "complex64");
            const short = scope.tensor(normals(4, 24), [3, 4], "complex64");
            await checkRefused(() => plan.backward(short), "shape", "FftPlan.backward", "dOut", "[3, 5]", "[3, 4]");
            await checkRefused(() => plan.backward(dOut, { out: dOut }), "shape", "FftPlan.backward", "options.out must", "f32");
            await checkRefused(() => plan.backward(dOut, { into: x } as object), "value", "FftPlan.backward", "options", "into");
            const square = scope.keep(await runtime.fft({ shape: [4] }));
            const own = scope.tensor(normals(3, 8), [4], "complex64");
            await checkRefused(() => square.backward(own, { out: own }), "value", "FftPlan.backward", "options.out");
            // A gradient of the caller's own: new each time.
            const first = scope.keep(square.backward(own));
            check(scope.keep(square.backward(own)) !== first, "a new tensor");
            const gone = await runtime.fft({ shape: [4] });
            gone.dispose();
            await checkRefused(() => gone.backward(own), "disposed", "FftPlan.backward");
            await checkRefused(() => gone.compileBackward(), "disposed", "FftPlan.compileBackward");
          });
        }
      },
    },
  ],
};
