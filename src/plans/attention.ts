import type { Executable } from "../spec/backend.ts";
import { checkOptions } from "../spec/check.ts";
import { refuse } from "../spec/errors.ts";
import { type AttentionSpec, spectrumSpec, weightsShape } from "../spec/operations.ts";
import { checkTensor, type Tensor } from "../spec/tensor.ts";
import { Plan, type PlanContext, type PlanInputs, type Preparation, type Profile, type RunOptions } from "./plan.ts";
import { type Bias, type Spectrum, SpectrumPart } from "./spectrum.ts";

export interface AttentionInputs {
  /** Queries, float32 `[batch, heads, length, headDim]`. */
  readonly q: Tensor;
  /** Keys, float32 `[batch, heads, length, headDim]`. */
  readonly k: Tensor;
  /** Values, float32 `[batch, heads, length, valueDim]`. */
  readonly v: Tensor;
  /** FastRPB weights, float32 `[heads, 2·length − 1]`, or their spectrum. Only, and always, in plans with `bias: "fastrpb"`. */
  readonly bias?: Bias;
}

/** Linear attention with or without FastRPB; see {@link Runtime.attention}. */
export class AttentionPlan extends Plan<[inputs: AttentionInputs]> {
  readonly #spec: AttentionSpec;
  readonly #weights: SpectrumPart | undefined;

  /** @internal */
  constructor(context: PlanContext, spec: AttentionSpec, executable: Executable, prepare: Executable | undefined) {
    super(context, "AttentionPlan", executable);
    this.#spec = spec;
    this.#weights = prepare && new SpectrumPart(context, spectrumSpec(spec), { name: "weights", shape: weightsShape(spec), dtype: "f32" }, prepare);
  }

  /** What `prepare`, or a run with weights instead of a spectrum, costs on top of {@link cost}; `undefined` without bias. */
  get preparation(): Preparation | undefined {
    return this.#weights?.preparation;
  }

  /**
   * The spectrum of `weights`, float32 `[heads, 2·length − 1]`, where `weights[h, j − i + length − 1]` is W_ij.
   *
   * @throws FastRpbError codes `"shape"`, `"value"` (a plan without bias has no weights), `"disposed"`, `"lost"`
   */
  prepare(weights: Tensor): Spectrum {
    const caller = "AttentionPlan.prepare";
    this.checkAlive(caller);
    if (!this.#weights) {
      throw refuse("value", { caller, argument: "the plan", expected: 'one with bias: "fastrpb"', got: 'one with bias: "none"' });
    }
    return this.#weights.prepare(caller, weights);
  }

  /**
   * Attention of `q`, `k`, `v`; the result is float32 `[batch, heads, length, valueDim]`. Submits at once and does not wait.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  run(inputs: AttentionInputs, options?: RunOptions): Tensor {
    return this.execute([inputs], options);
  }

  /** Records the same into the caller's encoder. The inputs, the result and the plan must live until it is submitted. */
  encode(encoder: GPUCommandEncoder, inputs: AttentionInputs, options?: RunOptions): Tensor {
    return this.record(encoder, [inputs], options);
  }

  /** Runs once, waits, and tells how long each dispatch took. */
  profile(inputs: AttentionInputs, options?: RunOptions): Promise<Profile> {
    return this.measure([inputs], options);
  }

  protected override inputs(caller: string, [inputs]: [AttentionInputs]): PlanInputs {
    checkOptions(caller, "inputs", inputs, ["q", "k", "v", "bias"]);
    const { batch, heads, length, headDim, valueDim } = this.#spec;
    const { owner } = this.context;
    const keyShape = [batch, heads, length, headDim];
    const shape = Object.freeze([batch, heads, length, valueDim]);
    const q = checkTensor(caller, "inputs.q", inputs.q, { owner, shape: keyShape, dtype: "f32" });
    const k = checkTensor(caller, "inputs.k", inputs.k, { owner, shape: keyShape, dtype: "f32" });
    const v = checkTensor(caller, "inputs.v", inputs.v, { owner, shape, dtype: "f32" });
    const rest = { inputs: { q, k, v }, shape, dtype: "f32" as const };
    if (!this.#weights) {
      if (inputs.bias !== undefined) {
        throw refuse("value", { caller, argument: "inputs.bias", expected: 'left out, because the plan has bias: "none"', got: inputs.bias });
      }
      return rest;
    }
    if (inputs.bias === undefined) {
      throw refuse("value", {
        caller,
        argument: "inputs.bias",
        expected: 'weights or a spectrum, because the plan has bias: "fastrpb"',
        got: undefined,
      });
    }
    return this.#weights.inputs(caller, "inputs.bias", inputs.bias, rest);
  }

  protected override disposeParts(): void {
    this.#weights?.executable.dispose();
  }
}
