import type { Executable } from "../core/backend.ts";
import { checkOptions } from "../core/check.ts";
import { spectrumSpec, toeplitzGradientSpec, type ToeplitzOptions, toeplitzSpec, type ToeplitzSpec, weightsShape } from "../operations/specs.ts";
import { checkTensor, type Tensor } from "../core/tensor.ts";
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
import { type Bias, type Spectrum, SpectrumPart } from "./spectrum.ts";

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
  /** Float32 `[heads, 2·length − 1]`, or `[heads, 2H − 1, 2W − 1]`. */
  readonly dWeights: Tensor;
}

export interface ToeplitzBackwardOptions {
  /** Where gradients go: tensors of their shapes that share no buffer with an input or with one another. New tensors for those left out. */
  readonly out?: Partial<ToeplitzGradients>;
}

/** {@link Runtime.toeplitz} */
export async function makeToeplitz(maker: PlanMaker, options: ToeplitzOptions): Promise<ToeplitzPlan> {
  const spec = toeplitzSpec(options);
  const [executable, prepare] = await maker.compile("runtime.toeplitz", { specs: [spec, spectrumSpec(spec)], gradient: toeplitzGradientSpec(spec) });
  return new ToeplitzPlan(maker.context, spec, executable!, prepare!);
}

/** The FastRPB product alone; see {@link Runtime.toeplitz}. */
export class ToeplitzPlan extends Plan<[v: Tensor, weights: Bias]> {
  readonly #spec: ToeplitzSpec;
  readonly #weights: SpectrumPart;
  readonly #gradient: GradientPart;

  /** @internal */
  constructor(context: PlanContext, spec: ToeplitzSpec, executable: Executable, prepare: Executable) {
    super(context, "ToeplitzPlan", executable);
    this.#spec = spec;
    this.#weights = new SpectrumPart(context, spectrumSpec(spec), { name: "weights", shape: weightsShape(spec), dtype: "f32" }, prepare);
    this.#gradient = new GradientPart(context, toeplitzGradientSpec(spec));
  }

  /** What `prepare`, or a run with weights instead of a spectrum, costs on top of {@link cost}. */
  get preparation(): Preparation {
    return this.#weights.preparation;
  }

  /**
   * The spectrum of `weights`, float32 `[heads, 2·length − 1]`, where `weights[h, j − i + length − 1]` is W_ij. On a grid [H, W] they are
   * `[heads, 2H − 1, 2W − 1]` with W_ij at `[h, y_j − y_i + H − 1, x_j − x_i + W − 1]`.
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
   * out_i = Σ_j W_ij v_j in every head, for every channel. `v`: float32 `[batch, heads, length, channels]`, as is the result.
   *
   * @param weights as in {@link prepare}, or their spectrum
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  run(v: Tensor, weights: Bias, options?: CheckedRunOptions): Tensor {
    return this.execute([v, weights], options);
  }

  /**
   * The same for long runs: by submits of a fraction of a second each, so that the page stays responsive, with progress, and with an end by
   * `options.signal`. The result is there when the promise resolves.
   *
   * @throws FastRpbError as {@link run}, and `"aborted"`: `options.out` is then half written
   */
  runAsync(v: Tensor, weights: Bias, options?: AsyncRunOptions): Promise<Tensor> {
    return this.executeSliced([v, weights], options);
  }

  /** Records the same into the caller's encoder. The inputs, the result and the plan must live until it is submitted. */
  encode(encoder: GPUCommandEncoder, v: Tensor, weights: Bias, options?: RunOptions): Tensor {
    return this.record(encoder, [v, weights], options);
  }

  /** Runs once, waits, and tells how long each dispatch took. */
  profile(v: Tensor, weights: Bias, options?: RunOptions): Promise<Profile> {
    return this.measure([v, weights], options);
  }

  /**
   * dv = Wᵀ dOut and dWeights_o = Σ_i dOut_i·v_{i+o} for every offset o, summed over batch and channels, both in O(N log N). Of a causal plan,
   * weights that do not count have gradient zero. The first call compiles the kernels, {@link compileBackward} does so
   * ahead. In a runtime with `gradients: false`, on WebGPU, `await plan.compileBackward()` comes first: it loads the code.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"limit"`, `"disposed"`, `"lost"`
   */
  backward(inputs: ToeplitzGradientInputs, options: ToeplitzBackwardOptions = {}): ToeplitzGradients {
    const caller = "ToeplitzPlan.backward";
    this.checkAlive(caller);
    checkOptions(caller, "inputs", inputs, ["v", "weights", "dOut"]);
    checkOptions(caller, "options", options, ["out"]);
    const { owner } = this.context;
    const shape = this.#shape();
    const v = checkTensor(caller, "inputs.v", inputs.v, { owner, shape, dtype: "f32" });
    const dOut = checkTensor(caller, "inputs.dOut", inputs.dOut, { owner, shape, dtype: "f32" });
    const checked = this.#weights.inputs(caller, "inputs.weights", inputs.weights, { inputs: { v, dOut }, shape, dtype: "f32" });
    const results = this.#gradient.run(caller, {
      inputs: checked.inputs,
      prepare: checked.prepare,
      outputs: { dv: { shape, dtype: "f32" }, dWeights: { shape: weightsShape(this.#spec), dtype: "f32" } },
      out: options.out,
    });
    return results as unknown as ToeplitzGradients;
  }

  /** Loads the code of {@link backward} and compiles its kernels ahead, without blocking, and tells what it costs. */
  async compileBackward(): Promise<Preparation> {
    const caller = "ToeplitzPlan.compileBackward";
    this.checkAlive(caller);
    return this.#gradient.compile(caller);
  }

  #shape(): readonly number[] {
    const { batch, heads, length, channels } = this.#spec;
    return Object.freeze([batch, heads, length, channels]);
  }

  protected override tensors([v, weights]: [Tensor, Bias]): Readonly<Record<string, unknown>> {
    return { v, weights };
  }

  protected override inputs(caller: string, [v, weights]: [Tensor, Bias]): PlanInputs {
    const shape = this.#shape();
    const values = checkTensor(caller, "v", v, { owner: this.context.owner, shape, dtype: "f32" });
    return this.#weights.inputs(caller, "weights", weights, { inputs: { v: values }, shape, dtype: "f32" });
  }

  protected override disposeParts(): void {
    this.#weights.executable.dispose();
    this.#gradient.dispose();
  }
}
