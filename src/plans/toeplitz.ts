import type { Executable } from "../spec/backend.ts";
import { spectrumSpec, type ToeplitzSpec, weightsShape } from "../spec/operations.ts";
import { checkTensor, type Tensor } from "../spec/tensor.ts";
import { Plan, type PlanContext, type PlanInputs, type Preparation, type Profile, type RunOptions } from "./plan.ts";
import { type Bias, type Spectrum, SpectrumPart } from "./spectrum.ts";

/** The FastRPB product alone; see {@link Runtime.toeplitz}. */
export class ToeplitzPlan extends Plan<[v: Tensor, weights: Bias]> {
  readonly #spec: ToeplitzSpec;
  readonly #weights: SpectrumPart;

  /** @internal */
  constructor(context: PlanContext, spec: ToeplitzSpec, executable: Executable, prepare: Executable) {
    super(context, "ToeplitzPlan", executable);
    this.#spec = spec;
    this.#weights = new SpectrumPart(context, spectrumSpec(spec), { name: "weights", shape: weightsShape(spec), dtype: "f32" }, prepare);
  }

  /** What `prepare`, or a run with weights instead of a spectrum, costs on top of {@link cost}. */
  get preparation(): Preparation {
    return this.#weights.preparation;
  }

  /**
   * The spectrum of `weights`, float32 `[heads, 2·length − 1]`, where `weights[h, j − i + length − 1]` is W_ij. On a grid [H, W] they are
   * `[heads, 2H − 1, 2W − 1]` with W_ij at `[h, y_j − y_i + H − 1, x_j − x_i + W − 1]`.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  prepare(weights: Tensor): Spectrum {
    const caller = "ToeplitzPlan.prepare";
    this.checkAlive(caller);
    return this.#weights.prepare(caller, weights);
  }

  /**
   * out_i = Σ_j W_ij v_j in every head, for every channel. `v`: float32 `[batch, heads, length, channels]`, as is the result.
   *
   * @param weights as in {@link prepare}, or their spectrum
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  run(v: Tensor, weights: Bias, options?: RunOptions): Tensor {
    return this.execute([v, weights], options);
  }

  /** Records the same into the caller's encoder. The inputs, the result and the plan must live until it is submitted. */
  encode(encoder: GPUCommandEncoder, v: Tensor, weights: Bias, options?: RunOptions): Tensor {
    return this.record(encoder, [v, weights], options);
  }

  /** Runs once, waits, and tells how long each dispatch took. */
  profile(v: Tensor, weights: Bias, options?: RunOptions): Promise<Profile> {
    return this.measure([v, weights], options);
  }

  protected override inputs(caller: string, [v, weights]: [Tensor, Bias]): PlanInputs {
    const { batch, heads, length, channels } = this.#spec;
    const shape = Object.freeze([batch, heads, length, channels]);
    const values = checkTensor(caller, "v", v, { owner: this.context.owner, shape, dtype: "f32" });
    return this.#weights.inputs(caller, "weights", weights, { inputs: { v: values }, shape, dtype: "f32" });
  }

  protected override disposeParts(): void {
    this.#weights.executable.dispose();
  }
}
