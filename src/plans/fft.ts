import type { Executable } from "../spec/backend.ts";
import { type FftSpec, fftTensor } from "../spec/operations.ts";
import { checkTensor, type Tensor, type TensorRequirement } from "../spec/tensor.ts";
import { Plan, type PlanContext, type PlanInputs, type Profile, type RunOptions } from "./plan.ts";

/** An FFT of a fixed shape; see {@link Runtime.fft}. */
export class FftPlan extends Plan<[x: Tensor]> {
  readonly #input: TensorRequirement;
  readonly #output: ReturnType<typeof fftTensor>;
  readonly #inPlace: (() => Executable) | undefined;
  #inPlaceExecutable: Executable | undefined;

  /**
   * @internal
   * @param inPlace makes the plan for a result in the place of its input, when it is first asked for
   */
  constructor(context: PlanContext, spec: FftSpec, executable: Executable, inPlace: (() => Executable) | undefined) {
    super(context, "FftPlan", executable);
    this.#input = { owner: context.owner, ...fftTensor(spec, "input") };
    this.#output = fftTensor(spec, "output");
    this.#inPlace = inPlace;
  }

  /**
   * Shape of `x`: the plan's shape, or for `"c2r"` with ⌊n/2⌋ + 1 in the place of the last of its axes. With `storage: "f16"`, complex
   * numbers have an axis of 2 more, (re, im), at the end.
   */
  get inputShape(): readonly number[] {
    return this.#input.shape;
  }

  /**
   * Shape of the result: the plan's shape, or for `"r2c"` with ⌊n/2⌋ + 1 in the place of the last of its axes. With `storage: "f16"`,
   * complex numbers have an axis of 2 more, (re, im), at the end.
   */
  get outputShape(): readonly number[] {
    return this.#output.shape;
  }

  /**
   * Transforms `x` (`inputShape`; complex64, float32 for `"r2c"`, float16 if that is the plan's storage) into a new tensor of `outputShape`,
   * or into `options.out`. Submits at once and does not wait. A `"c2c"` transform takes `x` itself as `options.out`: the result then replaces the input.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  run(x: Tensor, options?: RunOptions): Tensor {
    return this.execute([x], options);
  }

  /** Records the same into the caller's encoder. The inputs, the result and the plan must live until it is submitted. */
  encode(encoder: GPUCommandEncoder, x: Tensor, options?: RunOptions): Tensor {
    return this.record(encoder, [x], options);
  }

  /** Runs once, waits, and tells how long each dispatch took. */
  profile(x: Tensor, options?: RunOptions): Promise<Profile> {
    return this.measure([x], options);
  }

  protected override inputs(caller: string, [x]: [Tensor], options: RunOptions | undefined): PlanInputs {
    const storage = checkTensor(caller, "x", x, this.#input);
    const { shape, dtype } = this.#output;
    if (!this.#inPlace || options?.out !== x) return { inputs: { x: storage }, shape, dtype };
    this.#inPlaceExecutable ??= this.#inPlace();
    return { inputs: {}, shape, dtype, executable: this.#inPlaceExecutable };
  }

  protected override disposeParts(): void {
    this.#inPlaceExecutable?.dispose();
  }
}
