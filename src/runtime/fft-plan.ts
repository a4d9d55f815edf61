import type { Executable } from "../core/backend.ts";
import { FastRpbError } from "../core/errors.ts";
import { checkTensor, type Tensor, type TensorRequirement } from "../core/tensor.ts";
import { fft } from "../operations/fft/operation.ts";
import { type FftOptions, fftSpec, type FftSpec, fftTensor, inPlaceSpec } from "../operations/fft/spec.ts";
import { task } from "../operations/operation.ts";
import { GradientPlan } from "./gradient-plan.ts";
import { type CallRequest, type CheckedRunOptions, Plan, type PlanCall, type PlanContext, type Preparation, singleOutput } from "./plan.ts";

/** {@link Runtime.fft} */
export async function makeFft(context: PlanContext, options: FftOptions): Promise<FftPlan> {
  const caller = "runtime.fft";
  const spec = fftSpec(options);
  if (spec.storage === "f16") context.checkHalf(caller, "options.storage", '"f32"');
  const [executable] = await context.compile(caller, [task(fft, spec)]);
  return new FftPlan(context, spec, executable!);
}

/**
 * An FFT of a fixed shape; see {@link Runtime.fft}. `run(x)` transforms `x`, a tensor of {@link inputShape} (complex64, float32 for `"r2c"`, float16
 * if that is the plan's storage), into a tensor of {@link outputShape}. A `"c2c"` transform takes `x` itself as `options.out`: the result then
 * replaces the input.
 */
export class FftPlan extends Plan<[x: Tensor]> {
  protected override readonly arity = 1;
  readonly #spec: FftSpec;
  readonly #input: TensorRequirement;
  readonly #output: TensorRequirement;
  readonly #gradient: GradientPlan<[dOut: Tensor], Tensor> | undefined;
  #inPlace: Executable | undefined;

  /** @internal */
  constructor(context: PlanContext, spec: FftSpec, executable: Executable) {
    super(context, "FftPlan", task(fft, spec), executable);
    this.#spec = spec;
    this.#input = { owner: context.owner, ...fftTensor(spec, "input") };
    this.#output = { owner: context.owner, ...fftTensor(spec, "output") };
    // Gradients are often too small for float16.
    if (spec.storage === "f16") return;
    this.#gradient = new GradientPlan({
      context,
      name: "FftPlan",
      task: fft.gradient!(spec)!,
      call: ({ caller, args: [dOut], options }) => ({
        inputs: { x: checkTensor(caller, "dOut", dOut, this.#output) },
        outputs: singleOutput(this.#input.shape, this.#input.dtype, options),
      }),
    });
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
   * The gradient of a real loss with respect to `x`, from `dOut`, that with respect to the result. That of a complex number is ∂/∂re + i·∂/∂im.
   * `dOut` is of `outputShape`, the result a new tensor of `inputShape`, or `options.out`, which shares no buffer with `dOut`.
   *
   * With s the factor of `norm`: `"c2c"` gives the transform of opposite direction times s; `"r2c"` dx_n = s·Re Σ_k dOut_k exp(+2πi kn/N) over
   * the points that are there; `"c2r"` dx_k = s·m_k Σ_n dOut_n exp(−2πi kn/N), with m_k = 2 for points that stand for two, else 1.
   * It does not depend on `x`. The first call compiles the kernels; {@link compileBackward} does so ahead.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"unavailable"` (with `storage: "f16"`), `"limit"`, `"disposed"`, `"lost"`
   */
  backward(dOut: Tensor, options?: CheckedRunOptions): Tensor {
    const caller = "FftPlan.backward";
    return this.#differentiable(caller).backward(caller, [dOut, options]);
  }

  /**
   * The plan of {@link backward}, for `runAsync`, `encode`, `profile` and its cost: it takes `dOut` and gives the gradient of `x`. It belongs to this
   * plan.
   *
   * @throws FastRpbError codes `"unavailable"` (with `storage: "f16"`), `"disposed"`
   */
  get gradient(): GradientPlan<[dOut: Tensor], Tensor> {
    return this.#differentiable("FftPlan.gradient");
  }

  /**
   * Compiles the kernels of {@link backward} ahead, without blocking, and tells what it costs.
   *
   * @throws FastRpbError codes `"unavailable"` (with `storage: "f16"`), `"limit"`, `"disposed"`, `"lost"`
   */
  async compileBackward(): Promise<Preparation> {
    const caller = "FftPlan.compileBackward";
    return this.#differentiable(caller).compileAhead(caller);
  }

  #differentiable(caller: string): GradientPlan<[dOut: Tensor], Tensor> {
    this.checkAlive(caller);
    if (this.#gradient) return this.#gradient;
    throw new FastRpbError("unavailable", `${caller}: there is no gradient with storage: "f16"; use a plan with storage: "f32".`);
  }

  protected override tensors([x]: [Tensor]): Readonly<Record<string, unknown>> {
    return { x };
  }

  protected override call({ caller, args: [x], options }: CallRequest<[x: Tensor], Tensor>): PlanCall {
    const storage = checkTensor(caller, "x", x, this.#input);
    const outputs = singleOutput(this.#output.shape, this.#output.dtype, options);
    if (this.#spec.kind !== "c2c" || options.out !== x) return { inputs: { x: storage }, outputs };
    this.#inPlace ??= this.context.compileNow(caller, task(fft, inPlaceSpec(this.#spec)));
    return { inputs: {}, outputs, executable: this.#inPlace };
  }

  protected override disposeOthers(): void {
    this.#inPlace?.dispose();
    this.#gradient?.dispose();
  }
}
