import type { Executable } from "../core/backend.ts";
import { checkOptions } from "../core/check.ts";
import { FastRpbError } from "../core/errors.ts";
import { fftGradientSpec, type FftOptions, fftSpec, type FftSpec, fftTensor, inPlaceSpec } from "../operations/specs.ts";
import { checkTensor, type Tensor, type TensorRequirement } from "../core/tensor.ts";
import { GradientPart } from "./gradient.ts";
import {
  type AsyncRunOptions,
  type CheckedRunOptions,
  Plan,
  type PlanContext,
  type PlanInputs,
  type PlanMaker,
  type Preparation,
  type Profile,
  type RunOptions,
} from "./plan.ts";

/** {@link Runtime.fft} */
export async function makeFft(maker: PlanMaker, options: FftOptions): Promise<FftPlan> {
  const caller = "runtime.fft";
  const spec = fftSpec(options);
  if (spec.storage === "f16") maker.checkHalf(caller, "options.storage", '"f32"');
  const [executable] = await maker.compile(caller, { specs: [spec] });
  // Of the same planner, as the gradient is: what they take is there.
  const inPlace = spec.kind === "c2c" ? () => maker.compileNow(caller, inPlaceSpec(spec), spec) : undefined;
  return new FftPlan(maker.context, spec, executable!, inPlace);
}

/** An FFT of a fixed shape; see {@link Runtime.fft}. */
export class FftPlan extends Plan<[x: Tensor]> {
  readonly #input: TensorRequirement;
  readonly #output: ReturnType<typeof fftTensor>;
  readonly #gradient: GradientPart | undefined;
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
    // Gradients are often too small for float16.
    this.#gradient = spec.storage === "f32" ? new GradientPart(context, fftGradientSpec(spec)) : undefined;
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
  run(x: Tensor, options?: CheckedRunOptions): Tensor {
    return this.execute([x], options);
  }

  /**
   * The same for long runs: by submits of a fraction of a second each, so that the page stays responsive, with progress, and with an end by
   * `options.signal`. The result is there when the promise resolves.
   *
   * @throws FastRpbError as {@link run}, and `"aborted"`: `options.out` is then half written
   */
  runAsync(x: Tensor, options?: AsyncRunOptions): Promise<Tensor> {
    return this.executeSliced([x], options);
  }

  /** Records the same into the caller's encoder. The inputs, the result and the plan must live until it is submitted. */
  encode(encoder: GPUCommandEncoder, x: Tensor, options?: RunOptions): Tensor {
    return this.record(encoder, [x], options);
  }

  /** Runs once, waits, and tells how long each dispatch took. */
  profile(x: Tensor, options?: RunOptions): Promise<Profile> {
    return this.measure([x], options);
  }

  /**
   * The gradient of a real loss with respect to `x`, from `dOut`, that with respect to the result. That of a complex number is ∂/∂re + i·∂/∂im.
   * `dOut` is of `outputShape`, the result a new tensor of `inputShape`, or `options.out`, which shares no buffer with `dOut`.
   *
   * With s the factor of `norm`: `"c2c"` gives the transform of opposite direction times s; `"r2c"` dx_n = s·Re Σ_k dOut_k exp(+2πi kn/N) over
   * the points that are there; `"c2r"` dx_k = s·m_k Σ_n dOut_n exp(−2πi kn/N), with m_k = 2 for points that stand for two, else 1.
   * It does not depend on `x`. The first call compiles the kernels; {@link compileBackward} does so ahead.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"unavailable"` (with `storage: "f16"`), `"limit"`, `"disposed"`, `"lost"`
   */
  backward(dOut: Tensor, options: RunOptions = {}): Tensor {
    const caller = "FftPlan.backward";
    const gradient = this.#differentiable(caller);
    checkOptions(caller, "options", options, ["out"]);
    const x = checkTensor(caller, "dOut", dOut, { owner: this.context.owner, ...this.#output });
    const { shape, dtype } = this.#input;
    const results = gradient.run(caller, {
      inputs: { x },
      outputs: { out: { shape, dtype, argument: "options.out" } },
      out: { out: options.out },
    });
    return results["out"]!;
  }

  /** Compiles the kernels of {@link backward} ahead, without blocking, and tells what it costs. */
  async compileBackward(): Promise<Preparation> {
    const caller = "FftPlan.compileBackward";
    return this.#differentiable(caller).compile(caller);
  }

  #differentiable(caller: string): GradientPart {
    this.checkAlive(caller);
    if (this.#gradient) return this.#gradient;
    throw new FastRpbError("unavailable", `${caller}: there is no gradient with storage: "f16"; use a plan with storage: "f32".`);
  }

  protected override tensors([x]: [Tensor]): Readonly<Record<string, unknown>> {
    return { x };
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
    this.#gradient?.dispose();
  }
}
