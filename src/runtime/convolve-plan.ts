import type { Executable } from "../core/backend.ts";
import { checkTensor, type Tensor } from "../core/tensor.ts";
import { convolve } from "../operations/convolve/operation.ts";
import { type ConvolveOptions, convolveSpec, type ConvolveSpec } from "../operations/convolve/spec.ts";
import { task } from "../operations/operation.ts";
import { type CallRequest, Plan, type PlanCall, type PlanContext, type Preparation, singleOutput } from "./plan.ts";
import { type Spectrum, SpectrumMaker } from "./spectrum.ts";

/** {@link Runtime.convolve} */
export async function makeConvolve(context: PlanContext, options: ConvolveOptions): Promise<ConvolvePlan> {
  const spec = convolveSpec(options);
  const [executable, prepare] = await context.compile("runtime.convolve", [task(convolve, spec), convolve.preparation!(spec)!]);
  return new ConvolvePlan(context, spec, executable!, prepare!);
}

/**
 * A convolution of a fixed shape; see {@link Runtime.convolve}. `run(x, kernel)` gives y_n = Σ_k h_k x_{n−k} along the plan's axes, of
 * {@link outputShape}. `x` has the plan's shape and dtype; `kernel` is of the plan's kernel shape and dtype, or its spectrum ({@link prepare}).
 */
export class ConvolvePlan extends Plan<[x: Tensor, kernel: Tensor | Spectrum]> {
  protected override readonly arity = 2;
  readonly #spec: ConvolveSpec;
  readonly #kernel: SpectrumMaker;

  /** @internal */
  constructor(context: PlanContext, spec: ConvolveSpec, executable: Executable, prepare: Executable) {
    super(context, "ConvolvePlan", task(convolve, spec), executable);
    this.#spec = spec;
    this.#kernel = new SpectrumMaker(context, convolve.preparation!(spec)!, prepare, spec.kernelShape);
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

  protected override tensors([x, kernel]: [Tensor, Tensor | Spectrum]): Readonly<Record<string, unknown>> {
    return { x, kernel };
  }

  protected override call({ caller, args: [x, kernel], options }: CallRequest<[x: Tensor, kernel: Tensor | Spectrum], Tensor>): PlanCall {
    const { shape, dtype, outputShape } = this.#spec;
    const input = checkTensor(caller, "x", x, { owner: this.context.owner, shape, dtype });
    const { spectrum, prepare } = this.#kernel.input(caller, "kernel", kernel);
    return { inputs: { x: input, ...(spectrum && { spectrum }) }, prepare, outputs: singleOutput(outputShape, dtype, options) };
  }

  protected override disposeOthers(): void {
    this.#kernel.dispose();
  }
}
