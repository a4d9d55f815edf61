/** The FastRPB product alone, and the spectrum of its weights: small enough to run again whenever the curve is touched. */
import type { FftPlan, ToeplitzPlan } from "../../src/index.ts";
import { PlanCache, Scope, type Task } from "./task.ts";

export interface ProductInput {
  /** `[length]`, or `[height, width]` of a grid whose tokens come row by row. */
  readonly shape: readonly [number] | readonly [height: number, width: number];
  /** `[2N − 1]`, or `[2H − 1, 2W − 1]`. */
  readonly weights: Float32Array;
  /** `[N, channels]`. */
  readonly values: Float32Array;
  readonly channels: number;
  /** What to transform: the weights around offset 0, which lies at index 0; circular. A power of two a side. */
  readonly window: Float32Array;
  readonly windowShape: readonly number[];
}

export interface ProductOutput {
  /** `[N, channels]`. */
  readonly output: Float32Array;
  /** Magnitudes, `[…, last / 2 + 1]`. */
  readonly spectrum: Float32Array;
  /** From the upload of the weights to the result on the page. */
  readonly milliseconds: number;
}

const products = new PlanCache<ToeplitzPlan>();
const transforms = new PlanCache<FftPlan>();

export const product: Task<ProductInput, never, ProductOutput> = async (runtime, { shape, weights, values, channels, window, windowShape }) => {
  const [length, grid] = shape.length === 1 ? [shape[0], undefined] : [shape[0] * shape[1], shape];
  const options = { heads: 1, channels, ...(grid ? { grid } : { length }) };
  const plan = await products.get(runtime, options, () => runtime.toeplitz(options as Parameters<typeof runtime.toeplitz>[0]));
  const fftOptions = { shape: windowShape, axes: windowShape.map((_, axis) => axis), kind: "r2c" } as const;
  const fft = await transforms.get(runtime, fftOptions, () => runtime.fft(fftOptions));

  const scope = new Scope();
  try {
    const start = performance.now();
    const v = scope.hold(runtime.tensor(values, [1, 1, length, channels]));
    const w = scope.hold(runtime.tensor(weights, grid ? [1, 2 * grid[0] - 1, 2 * grid[1] - 1] : [1, 2 * length - 1]));
    const result = scope.hold(plan.run(v, w));
    const transformed = scope.hold(fft.run(scope.hold(runtime.tensor(window, windowShape))));
    const [output, numbers] = await Promise.all([result.data(), transformed.data()]);
    const milliseconds = performance.now() - start;
    const spectrum = Float32Array.from({ length: numbers.length / 2 }, (_, i) => Math.hypot(numbers[2 * i]!, numbers[2 * i + 1]!));
    return { output, spectrum, milliseconds };
  } finally {
    scope.dispose();
  }
};
