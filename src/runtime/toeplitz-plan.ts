import type { Executable } from "../core/backend.ts";
import { checkOptions } from "../core/check.ts";
import { loadModule } from "../core/load.ts";
import { checkTensor, type Tensor } from "../core/tensor.ts";
import { task } from "../operations/operation.ts";
import { toeplitz } from "../operations/toeplitz/operation.ts";
import { loadForm } from "../operations/toeplitz/separable-plans.ts";
import { type ToeplitzOptions, toeplitzSpec, type ToeplitzSpec, weightsShape } from "../operations/toeplitz/spec.ts";
import { GradientPlan, namedOutputs } from "./gradient-plan.ts";
import { type CallRequest, type CheckedRunOptions, Plan, type PlanCall, type PlanContext, type Preparation, singleOutput } from "./plan.ts";
import { type Bias, type Spectrum, SpectrumMaker } from "./spectrum.ts";

/** What {@link ToeplitzPlan.backward} takes: the inputs of the run, and the gradient that came for its result. */
export interface ToeplitzGradientInputs {
  /** Float32 `[batch, heads, length, channels]`. */
  readonly v: Tensor;
  /** As in {@link ToeplitzPlan.prepare}, or their spectrum. */
  readonly weights: Bias;
  /** Gradient with respect to the result, float32 of the shape of `v`. */
  readonly dOut: Tensor;
}

/** Gradients with respect to the inputs of the same name; they belong to the caller, who disposes of them. */
export interface ToeplitzGradients {
  readonly dv: Tensor;
  /** Float32 of the shape of the weights. */
  readonly dWeights: Tensor;
}

/** Where gradients go: tensors of their shapes that share no buffer with an input or with one another. New tensors for those left out. */
export type ToeplitzBackwardOptions = CheckedRunOptions<ToeplitzGradients>;

/** The plan of {@link ToeplitzPlan.backward}. */
export type ToeplitzGradientPlan = GradientPlan<[inputs: ToeplitzGradientInputs], ToeplitzGradients>;

/** {@link Runtime.toeplitz} */
export async function makeToeplitz(context: PlanContext, options: ToeplitzOptions): Promise<ToeplitzPlan> {
  const spec = toeplitzSpec(options);
  await loadModule("runtime.toeplitz", "products of this form", () => loadForm(spec));
  const [executable, prepare] = await context.compile("runtime.toeplitz", [task(toeplitz, spec), toeplitz.preparation!(spec)!]);
  return new ToeplitzPlan(context, spec, executable!, prepare!);
}

/**
 * The FastRPB product alone; see {@link Runtime.toeplitz}. `run(v, weights)` gives out_i = Σ_j W_ij v_j in every head, for every channel. `v` and the
 * result are float32 `[batch, heads, length, channels]`; `weights` are as {@link prepare} takes them, or their spectrum.
 */
export class ToeplitzPlan extends Plan<[v: Tensor, weights: Bias]> {
  protected override readonly arity = 2;
  /** The plan of {@link backward}, for `runAsync`, `encode`, `profile` and its cost. It belongs to this plan. */
  readonly gradient: ToeplitzGradientPlan;
  readonly #shape: readonly number[];
  readonly #weights: SpectrumMaker;

  /** @internal */
  constructor(context: PlanContext, spec: ToeplitzSpec, executable: Executable, prepare: Executable) {
    super(context, "ToeplitzPlan", task(toeplitz, spec), executable);
    this.#shape = Object.freeze([spec.batch, spec.heads, spec.length, spec.channels]);
    this.#weights = new SpectrumMaker(context, toeplitz.preparation!(spec)!, prepare);
    this.gradient = new GradientPlan({
      context,
      name: "ToeplitzPlan",
      task: toeplitz.gradient!(spec)!,
      call: ({ caller, args: [inputs], options }) => {
        checkOptions(caller, "inputs", inputs, ["v", "weights", "dOut"]);
        const v = this.#rows(caller, "inputs.v", inputs.v);
        const dOut = this.#rows(caller, "inputs.dOut", inputs.dOut);
        const { spectrum, prepare: first } = this.#weights.input(caller, "inputs.weights", inputs.weights);
        const outputs = namedOutputs(caller, { dv: this.#shape, dWeights: weightsShape(spec) }, options.out);
        return { inputs: { v, dOut, ...(spectrum && { spectrum }) }, prepare: first, outputs };
      },
    });
  }

  /** What `prepare`, or a run with weights instead of a spectrum, costs on top of {@link cost}. */
  get preparation(): Preparation {
    return this.#weights.preparation;
  }

  /**
   * The spectrum of `weights`, float32 `[heads, 2·length − 1]`, where `weights[h, j − i + length − 1]` is W_ij. On a grid [H, W] they are
   * `[heads, 2H − 1, 2W − 1]` with W_ij at `[h, y_j − y_i + H − 1, x_j − x_i + W − 1]`. Other shapes: {@link BiasFormOptions}.
   *
   * @param weights a tensor, or its numbers in an array: then the spectrum keeps a copy of them in memory, and {@link Runtime.restore} makes it
   *   again after a loss of the device
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  prepare(weights: Tensor | Float32Array): Spectrum {
    const caller = "ToeplitzPlan.prepare";
    this.checkAlive(caller);
    return this.#weights.prepare(caller, weights);
  }

  /**
   * dv = Wᵀ dOut and dWeights_o = Σ_i dOut_i·v_{i+o} for every offset o, summed over batch and channels, both in O(N log N). A weight that several
   * offsets share has the sum of theirs. Weights that do not count, those of later tokens in a causal plan, have gradient zero. The first call compiles the kernels, {@link compileBackward} does so ahead.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"limit"`, `"disposed"`, `"lost"`
   */
  backward(inputs: ToeplitzGradientInputs, options?: ToeplitzBackwardOptions): ToeplitzGradients {
    const caller = "ToeplitzPlan.backward";
    this.checkAlive(caller);
    return this.gradient.backward(caller, [inputs, options]);
  }

  /**
   * Compiles the kernels of {@link backward} ahead, without blocking, and tells what it costs.
   *
   * @throws FastRpbError codes `"limit"`, `"disposed"`, `"lost"`
   */
  async compileBackward(): Promise<Preparation> {
    const caller = "ToeplitzPlan.compileBackward";
    this.checkAlive(caller);
    return this.gradient.compileAhead(caller);
  }

  #rows(caller: string, argument: string, tensor: Tensor) {
    return checkTensor(caller, argument, tensor, { owner: this.context.owner, shape: this.#shape, dtype: "f32" });
  }

  protected override tensors([v, weights]: [Tensor, Bias]): Readonly<Record<string, unknown>> {
    return { v, weights };
  }

  protected override call({ caller, args: [v, weights], options }: CallRequest<[v: Tensor, weights: Bias], Tensor>): PlanCall {
    const values = this.#rows(caller, "v", v);
    const { spectrum, prepare } = this.#weights.input(caller, "weights", weights);
    return { inputs: { v: values, ...(spectrum && { spectrum }) }, prepare, outputs: singleOutput(this.#shape, "f32", options) };
  }

  protected override disposeOthers(): void {
    this.#weights.dispose();
    this.gradient.dispose();
  }
}
