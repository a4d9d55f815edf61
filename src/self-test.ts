/** Compares every kernel with the float64 CPU backend, on the device of the user. */
import type { Tensor } from "./spec/tensor.ts";
import type { Runtime } from "./runtime.ts";

export interface SelfTestCheck {
  readonly name: string;
  /** ‖actual − expected‖ / ‖expected‖ against float64; NaN where the result holds one. */
  readonly error: number;
  readonly bound: number;
  readonly ok: boolean;
}

export interface SelfTestReport {
  readonly ok: boolean;
  readonly backend: "webgpu" | "cpu";
  readonly checks: readonly SelfTestCheck[];
}

/** 2⁻²⁴, half a unit in the last place of 1. */
const ROUNDING = 2 ** -24;
const TOEPLITZ_BOUND = 3e-7;
const ATTENTION_BOUND = 1e-6;

/** A computation on either runtime: the same inputs, the result as floats. */
interface Case {
  readonly name: string;
  readonly bound: number;
  readonly run: (runtime: Runtime, input: (shape: readonly number[], dtype?: "f32" | "complex64") => Tensor) => Promise<Tensor>;
}

const CASES: readonly Case[] = [
  // Every radix; one workgroup, and two passes.
  ...[210, 4096, 32768].map((length): Case => ({
    name: `FFT of ${length} points`,
    bound: fftBound(length),
    run: (runtime, input) => using(runtime.fft({ shape: [2, length] }), (plan) => plan.run(input([2, length], "complex64"))),
  })),
  {
    name: "inverse FFT of 1000 points along the first axis",
    bound: fftBound(1000),
    run: (runtime, input) =>
      using(runtime.fft({ shape: [1000, 3], axes: [0], direction: "inverse" }), (plan) => plan.run(input([1000, 3], "complex64"))),
  },
  {
    name: "complex multiply by a conjugate",
    bound: 4 * ROUNDING,
    run: (runtime, input) =>
      using(runtime.complexMultiply({ shape: [3, 1001], conjugate: true, scale: 0.5 }), (plan) =>
        plan.run(input([3, 1001], "complex64"), input([1001], "complex64")),
      ),
  },
  // Fused with an odd number of channels, and in three passes.
  ...(
    [
      [300, 7],
      [16384, 4],
    ] as const
  ).map(([length, channels]): Case => ({
    name: `Toeplitz product of length ${length}`,
    bound: TOEPLITZ_BOUND,
    run: (runtime, input) =>
      using(runtime.toeplitz({ heads: 2, length, channels }), (plan) => plan.run(input([1, 2, length, channels]), input([2, 2 * length - 1]))),
  })),
  ...(["sikf", "elu+1"] as const).flatMap((featureMap) =>
    (["none", "fastrpb"] as const).map((bias): Case => ({
      name: `attention, ${featureMap}${bias === "none" ? "" : " + FastRPB"}`,
      bound: ATTENTION_BOUND,
      run: (runtime, input) => {
        const [heads, length, headDim, valueDim] = [2, 300, 36, 20]; // two chunks of keys, tiles that are not full
        return using(runtime.attention({ heads, length, headDim, valueDim, featureMap, bias }), (plan) =>
          plan.run({
            q: input([1, heads, length, headDim]),
            k: input([1, heads, length, headDim]),
            v: input([1, heads, length, valueDim]),
            ...(bias === "fastrpb" && { bias: input([heads, 2 * length - 1]) }),
          }),
        );
      },
    })),
  ),
];

function fftBound(length: number): number {
  return 0.7 * ROUNDING * Math.sqrt(Math.log2(length));
}

export async function selfTest(runtime: Runtime, reference: Runtime): Promise<SelfTestReport> {
  // All at once: pipelines compile side by side.
  const checks = await Promise.all(
    CASES.map(async (test, seed): Promise<SelfTestCheck> => {
      const actual = await evaluate(runtime, test, seed);
      const error = relativeError(actual, await evaluate(reference, test, seed));
      return Object.freeze({ name: test.name, error, bound: test.bound, ok: error <= test.bound });
    }),
  );
  return Object.freeze({ ok: checks.every((check) => check.ok), backend: runtime.backend, checks: Object.freeze(checks) });
}

async function evaluate(runtime: Runtime, test: Case, seed: number): Promise<Float32Array> {
  const random = generator(seed + 1);
  const tensors: Tensor[] = [];
  try {
    const output = await test.run(runtime, (shape, dtype = "f32") => {
      const floats = shape.reduce((product, size) => product * size, dtype === "f32" ? 1 : 2);
      const tensor = runtime.tensor(Float32Array.from({ length: floats }, random), shape, dtype);
      tensors.push(tensor);
      return tensor;
    });
    tensors.push(output);
    return await output.data();
  } finally {
    for (const tensor of tensors) tensor.dispose();
  }
}

/** Runs with a plan that is disposed of afterwards. */
async function using<P extends { dispose(): void }>(plan: Promise<P>, run: (plan: P) => Tensor): Promise<Tensor> {
  const made = await plan;
  try {
    return run(made);
  } finally {
    made.dispose();
  }
}

/** Uniform in [−1, 1): a linear congruential generator is random enough here (Numerical Recipes, "quick and dirty"). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

function relativeError(actual: Float32Array, expected: Float32Array): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}
