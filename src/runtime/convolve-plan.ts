import type { Executable } from "../core/backend.ts";
import { type ConvolveOptions, convolveSpec, type ConvolveSpec, kernelSpectrumSpec } from "../operations/specs.ts";
import { checkTensor, type Tensor } from "../core/tensor.ts";
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
import { type Spectrum, SpectrumPart } from "./spectrum.ts";

/** {@link Runtime.convolve} */
export async function makeConvolve(maker: PlanMaker, options: ConvolveOptions): Promise<ConvolvePlan> {
  const spec = convolveSpec(options);
  const [executable, prepare] = await maker.compile("runtime.convolve", { specs: [spec, kernelSpectrumSpec(spec)] });
  return new ConvolvePlan(maker.context, spec, executable!, prepare!);
}

/** A convolution of a fixed shape; see {@link Runtime.convolve}. */
export class ConvolvePlan extends Plan<[x: Tensor, kernel: Tensor | Spectrum]> {
  readonly #spec: ConvolveSpec;
  readonly #kernel: SpectrumPart;

  /** @internal */
  constructor(context: PlanContext, spec: ConvolveSpec, executable: Executable, prepare: Executable) {
    super(context, "ConvolvePlan", executable);
    this.#spec = spec;
    const source = { name: "kernel", shape: spec.kernelShape, dtype: spec.dtype } as const;
    this.#kernel = new SpectrumPart(context, kernelSpectrumSpec(spec), source, prepare);
  }

  /** What `prepare`, or a run with a kernel instead of a spectrum, costs on top of {@link cost}. */
  get preparation(): Preparation {
    return this.#kernel.preparation;
  }

  /** Shape of the result. */
  get outputShape(): readonly number[] {
    return this.#spec.outputShape;
  }

  /**
   * The spectrum of `kernel`, a tensor of the plan's kernel shape and dtype.
   *
   * @param kernel a tensor, or its numbers in an array: then the spectrum keeps a copy of them in memory, and {@link Runtime.restore} makes it
   *   again after a loss of the device
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  prepare(kernel: Tensor | Float32Array): Spectrum {
    const caller = "ConvolvePlan.prepare";
    this.checkAlive(caller);
    return this.#kernel.prepare(caller, kernel);
  }

  /**
   * y_n = Σ_k h_k x_{n−k} along the plan's axes. `x` has the plan's shape and dtype, the result its output shape. Submits at once and does
   * not wait.
   *
   * @param kernel of the plan's kernel shape and dtype, or its spectrum
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  run(x: Tensor, kernel: Tensor | Spectrum, options?: CheckedRunOptions): Tensor {
    return this.execute([x, kernel], options);
  }

  /**
   * The same for long runs: by submits of a fraction of a second each, so that the page stays responsive, with progress, and with an end by
   * `options.signal`. The result is there when the promise resolves.
   *
   * @throws FastRpbError as {@link run}, and `"aborted"`: `options.out` is then half written
   */
  runAsync(x: Tensor, kernel: Tensor | Spectrum, options?: AsyncRunOptions): Promise<Tensor> {
    return this.executeSliced([x, kernel], options);
  }

  /** Records the same into the caller's encoder. The inputs, the result and the plan must live until it is submitted. */
  encode(encoder: GPUCommandEncoder, x: Tensor, kernel: Tensor | Spectrum, options?: RunOptions): Tensor {
    return this.record(encoder, [x, kernel], options);
  }

  /** Runs once, waits, and tells how long each dispatch took. */
  profile(x: Tensor, kernel: Tensor | Spectrum, options?: RunOptions): Promise<Profile> {
    return this.measure([x, kernel], options);
  }

  protected override tensors([x, kernel]: [Tensor, Tensor | Spectrum]): Readonly<Record<string, unknown>> {
    return { x, kernel };
  }

  protected override inputs(caller: string, [x, kernel]: [Tensor, Tensor | Spectrum]): PlanInputs {
    const { shape, dtype, outputShape } = this.#spec;
    const input = checkTensor(caller, "x", x, { owner: this.context.owner, shape, dtype });
    return this.#kernel.inputs(caller, "kernel", kernel, { inputs: { x: input }, shape: outputShape, dtype });
  }

  protected override disposeParts(): void {
    this.#kernel.executable.dispose();
  }
}
