/** Compares every kernel with the float64 CPU backend, on the device of the user. */
import { checkOptions } from "../core/check.ts";
import { checkAborted } from "../core/errors.ts";
import { decodeHalf } from "../core/half.ts";
import type { FftOptions, FftStorage } from "../operations/fft/spec.ts";
import type { AttentionOptions } from "../operations/attention/spec.ts";
import type { ComplexMultiplyOptions } from "../operations/complex-multiply/spec.ts";
import type { ConvolveOptions } from "../operations/convolve/spec.ts";
import type { ToeplitzOptions } from "../operations/toeplitz/spec.ts";
import type { DecoderOptions } from "../operations/attention/decode/spec.ts";
import type { AttentionPlan } from "./attention-plan.ts";
import type { ComplexMultiplyPlan } from "./complex-multiply-plan.ts";
import type { ConvolvePlan } from "./convolve-plan.ts";
import type { Decoder } from "./decoder.ts";
import type { FftPlan } from "./fft-plan.ts";
import type { ToeplitzPlan } from "./toeplitz-plan.ts";
import type { DType, Tensor } from "../core/tensor.ts";

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

export interface SelfTestOptions {
  /** Stops between two checks. */
  readonly signal?: AbortSignal;
  /** After each check. They end in another order than that of the report. */
  readonly onProgress?: (progress: SelfTestProgress) => void;
}

export interface SelfTestProgress {
  readonly done: number;
  readonly total: number;
  readonly check: SelfTestCheck;
}

/** 2⁻²⁴, half a unit in the last place of 1. */
const ROUNDING = 2 ** -24;
const TOEPLITZ_BOUND = 3e-7;
/** With a token outside: 481 in all. */
const SEPARABLE = { grid: [12, 40], biasForm: "separable", outside: { first: 1 } } as const;
const CONVOLVE_BOUND = 4e-7;
const ATTENTION_BOUND = 1e-6;
const GRADIENT_BOUND = 3e-6;
/** WGSL lets a device round to either neighbour. */
const HALF_BOUND = 2 ** -10;

/** What is tested, and what it is compared with: a runtime. */
export interface TestedRuntime {
  readonly backend: "webgpu" | "cpu";
  readonly device: GPUDevice | undefined;
  tensor(data: Float32Array, shape: readonly number[], dtype?: Exclude<DType, "f16">): Tensor;
  tensor(data: Uint16Array, shape: readonly number[], dtype: "f16"): Tensor;
  fft(options: FftOptions): Promise<FftPlan>;
  convolve(options: ConvolveOptions): Promise<ConvolvePlan>;
  complexMultiply(options: ComplexMultiplyOptions): Promise<ComplexMultiplyPlan>;
  toeplitz(options: ToeplitzOptions): Promise<ToeplitzPlan>;
  attention(options: AttentionOptions): Promise<AttentionPlan>;
  decoder(options: DecoderOptions): Promise<Decoder>;
}

/** A computation on either runtime: the same inputs, the result as floats. */
export interface SelfTestCase {
  readonly name: string;
  readonly bound: number;
  /** Stored in float16 on the device, if it can; the reference computes with the same numbers. */
  readonly half?: boolean;
  readonly run: (runtime: TestedRuntime, input: (shape: readonly number[], dtype?: DType) => Tensor, storage: FftStorage) => Promise<Tensor>;
}

const CAUSAL = { heads: 2, length: 150, headDim: 36, valueDim: 20, causal: true } as const;
const SOFTMAX = { ...CAUSAL, kind: "softmax" } as const;
/** Too few rows to fill any GPU: the keys are split, and the queries on the way back. */
const SPLIT = { heads: 1, length: 1100, headDim: 4, valueDim: 4, kind: "softmax" } as const;

const WINDOW = { heads: 2, length: 150, headDim: 4, valueDim: 4, kind: "softmax", window: 40, bias: "logits" } as const;

/** Queries, keys and values, of {@link CAUSAL} where nothing is said. */
function attentionInputs(input: (shape: readonly number[]) => Tensor, { heads, length, headDim, valueDim }: Sizes = CAUSAL) {
  return { q: input([1, heads, length, headDim]), k: input([1, heads, length, headDim]), v: input([1, heads, length, valueDim]) };
}

type Sizes = Readonly<Record<"heads" | "length" | "headDim" | "valueDim", number>>;

const CASES: readonly SelfTestCase[] = [
  // Every radix; one workgroup, and two passes.
  ...[210, 4096, 32768].map((length): SelfTestCase => ({
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
    name: "FFT of 1009 points, a prime",
    bound: fftBound(1009, 1.35),
    run: (runtime, input) => using(runtime.fft({ shape: [2, 1009] }), (plan) => plan.run(input([2, 1009], "complex64"))),
  },
  {
    name: "FFT of 24 × 26 points in one dispatch",
    bound: fftBound(24 * 26, 1.35),
    run: (runtime, input) => using(runtime.fft({ shape: [3, 24, 26], axes: [1, 2] }), (plan) => plan.run(input([3, 24, 26], "complex64"))),
  },
  {
    name: "FFT of 600 real points and back",
    // The error of both transforms.
    bound: Math.SQRT2 * fftBound(600),
    run: async (runtime, input) => {
      const spectrum = await using(runtime.fft({ shape: [3, 600], kind: "r2c" }), (plan) => plan.run(input([3, 600])));
      try {
        return await using(runtime.fft({ shape: [3, 600], kind: "c2r" }), (plan) => plan.run(spectrum));
      } finally {
        spectrum.dispose();
      }
    },
  },
  {
    name: "convolution of 500 points with 60",
    bound: CONVOLVE_BOUND,
    run: (runtime, input) =>
      using(runtime.convolve({ shape: [2, 3, 500], kernel: [3, 60], mode: "same" }), (plan) => plan.run(input([2, 3, 500]), input([3, 60]))),
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
  ).map(([length, channels]): SelfTestCase => ({
    name: `Toeplitz product of length ${length}`,
    bound: TOEPLITZ_BOUND,
    run: (runtime, input) =>
      using(runtime.toeplitz({ heads: 2, length, channels }), (plan) => plan.run(input([1, 2, length, channels]), input([2, 2 * length - 1]))),
  })),
  {
    name: "causal Toeplitz product of length 300",
    bound: TOEPLITZ_BOUND,
    run: (runtime, input) =>
      using(runtime.toeplitz({ heads: 2, length: 300, channels: 3, causal: true }), (plan) => plan.run(input([1, 2, 300, 3]), input([2, 599]))),
  },
  {
    name: "Toeplitz product on a grid of 12 × 20",
    bound: TOEPLITZ_BOUND,
    run: (runtime, input) =>
      using(runtime.toeplitz({ heads: 2, grid: [12, 20], channels: 3 }), (plan) => plan.run(input([1, 2, 240, 3]), input([2, 23, 39]))),
  },
  {
    name: "separable Toeplitz product on a grid of 12 × 40 and a token outside",
    bound: TOEPLITZ_BOUND,
    run: (runtime, input) =>
      using(runtime.toeplitz({ ...SEPARABLE, heads: 2, channels: 3 }), (plan) => plan.run(input([1, 2, 481, 3]), input([2, 102]))),
  },
  ...(["dv", "dWeights"] as const).flatMap((name) =>
    [{ length: 100 }, SEPARABLE].map((positions): SelfTestCase => ({
      name: `gradient of a ${"grid" in positions ? "separable " : ""}Toeplitz product, ${name}`,
      bound: GRADIENT_BOUND,
      run: async (runtime, input) => {
        const plan = await runtime.toeplitz({ ...positions, heads: 2, channels: 3 });
        try {
          await plan.compileBackward();
          const [rows, weights] =
            "grid" in positions
              ? [
                  [1, 2, 481, 3],
                  [2, 102],
                ]
              : [
                  [1, 2, 100, 3],
                  [2, 199],
                ];
          const gradients = plan.backward({ v: input(rows), weights: input(weights), dOut: input(rows) });
          gradients[name === "dv" ? "dWeights" : "dv"].dispose();
          return gradients[name];
        } finally {
          plan.dispose();
        }
      },
    })),
  ),
  ...(["sikf", "elu+1"] as const).flatMap((featureMap) =>
    (["none", "fastrpb"] as const).map((bias): SelfTestCase => ({
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
  // Several tiles of queries and keys, in some of which not all see each other.
  {
    name: "causal softmax attention",
    bound: ATTENTION_BOUND,
    run: (runtime, input) => using(runtime.attention(SOFTMAX), (plan) => plan.run(attentionInputs(input))),
  },
  {
    name: "softmax attention, keys in splits",
    bound: ATTENTION_BOUND,
    run: (runtime, input) => using(runtime.attention(SPLIT), (plan) => plan.run(attentionInputs(input, SPLIT))),
  },
  {
    name: "causal attention, sikf",
    bound: ATTENTION_BOUND,
    run: (runtime, input) => using(runtime.attention({ ...CAUSAL, featureMap: "sikf" }), (plan) => plan.run(attentionInputs(input))),
  },
  {
    name: "causal attention token by token, sikf + FastRPB",
    bound: ATTENTION_BOUND,
    // Over two block products.
    run: (runtime, input) =>
      using(runtime.decoder({ heads: 2, length: 150, headDim: 36, valueDim: 20, featureMap: "sikf", bias: "fastrpb" }), (decoder) => {
        decoder.start({ bias: input([2, 299]) });
        return decoder.step(attentionInputs(input));
      }),
  },
  // Efficient Attention has all kernels of causal linear attention.
  ...[
    { what: "causal softmax attention", options: SOFTMAX, names: ["dq", "dk", "dv"] as const },
    { what: "softmax attention in splits", options: SPLIT, names: ["dq", "dv"] as const },
    { what: "softmax attention in a window, with a bias in its logits", options: WINDOW, names: ["dq", "dBias"] as const },
    { what: "causal Efficient Attention", options: { ...CAUSAL, featureMap: "softmax" } as const, names: ["dq", "dk", "dv"] as const },
  ].flatMap(({ what, options, names }) =>
    names.map((name): SelfTestCase => ({
      name: `gradient of ${what}, ${name}`,
      bound: GRADIENT_BOUND,
      run: async (runtime, input) => {
        const plan = await runtime.attention(options);
        try {
          await plan.compileBackward();
          const { [name]: wanted, ...others } = plan.backward({
            ...attentionInputs(input, options),
            ...("bias" in options && { bias: input([options.heads, 2 * options.length - 1]) }),
            dOut: input([1, options.heads, options.length, options.valueDim]),
          });
          for (const gradient of Object.values<Tensor>(others)) gradient.dispose();
          return wanted!;
        } finally {
          plan.dispose();
        }
      },
    })),
  ),
  halfFft("FFT of 1000 points", { shape: [3, 1000] }),
  halfFft("FFT of 600 real points", { shape: [3, 600], kind: "r2c" }),
  halfFft("inverse FFT to 21 × 35 real points", { shape: [3, 21, 35], axes: [1, 2], kind: "c2r" }),
];

/** @param c 0.7 for products of 2, 3, 5 and 7, 1.35 for other lengths */
function halfFft(name: string, options: FftOptions): SelfTestCase {
  return {
    name: `${name} in float16`,
    bound: HALF_BOUND,
    half: true,
    run: (runtime, input, storage) =>
      using(runtime.fft({ ...options, norm: "ortho", storage }), (plan) =>
        plan.run(input(plan.inputShape, storage === "f16" ? "f16" : options.kind === "r2c" ? "f32" : "complex64")),
      ),
  };
}

function fftBound(points: number, c = 0.7): number {
  return c * ROUNDING * Math.sqrt(Math.log2(points));
}

/** @throws FastRpbError code `"aborted"`, or of what goes wrong */
/** @param more cases besides those of this module */
export async function selfTest(
  caller: string,
  runtime: TestedRuntime,
  reference: TestedRuntime,
  options: SelfTestOptions,
  more: readonly SelfTestCase[] = [],
): Promise<SelfTestReport> {
  checkOptions(caller, "options", options, ["signal", "onProgress"]);
  const { signal, onProgress } = options;
  const cases = [...CASES, ...more].filter((test) => !test.half || runtime.device?.features.has("shader-f16"));
  let done = 0;
  // All at once: pipelines compile side by side.
  const checks = await Promise.all(
    cases.map(async (test, seed): Promise<SelfTestCheck> => {
      checkAborted(caller, signal);
      const actual = await evaluate(runtime, test, seed);
      checkAborted(caller, signal);
      const error = relativeError(actual, await evaluate(reference, test, seed));
      const check = Object.freeze({ name: test.name, error, bound: test.bound, ok: error <= test.bound });
      onProgress?.(Object.freeze({ done: ++done, total: cases.length, check }));
      return check;
    }),
  );
  return Object.freeze({ ok: checks.every((check) => check.ok), backend: runtime.backend, checks: Object.freeze(checks) });
}

async function evaluate(runtime: TestedRuntime, test: SelfTestCase, seed: number): Promise<Float32Array> {
  const random = generator(seed + 1);
  const tensors: Tensor[] = [];
  try {
    const input = (shape: readonly number[], dtype: DType = "f32") => {
      const length = shape.reduce((product, size) => product * size, dtype === "complex64" ? 2 : 1);
      const bits = test.half ? Uint16Array.from({ length }, () => halfWord(random())) : undefined;
      const numbers = bits ? new Float32Array(length) : Float32Array.from({ length }, random);
      if (bits) decodeHalf(bits, numbers);
      const tensor = dtype === "f16" ? runtime.tensor(bits!, shape, dtype) : runtime.tensor(numbers, shape, dtype);
      tensors.push(tensor);
      return tensor;
    };
    const output = await test.run(runtime, input, test.half && runtime.backend === "webgpu" ? "f16" : "f32");
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

/** Bits of a float16 from ±2⁻³ to ±2, of a number in [−1, 1). */
function halfWord(value: number): number {
  return (value < 0 ? 0x8000 : 0) + 0x3000 + Math.floor(Math.abs(value) * 0xfff);
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
