import type { Executable, Storage } from "../core/backend.ts";
import { checkOptions } from "../core/check.ts";
import { refuse } from "../core/errors.ts";
import { checkTensor, type Tensor, type TensorRequirement } from "../core/tensor.ts";
import { type AttentionSpec, keyLengthOf, keyShape } from "../operations/attention/spec.ts";
import { type Operation, task } from "../operations/operation.ts";
import { weightsShape } from "../operations/toeplitz/spec.ts";
import { GradientPlan, namedOutputs } from "./gradient-plan.ts";
import { type CallRequest, type CheckedRunOptions, Plan, type PlanCall, type PlanContext, type Preparation, singleOutput } from "./plan.ts";
import { type Bias, type Spectrum, SpectrumMaker } from "./spectrum.ts";

export interface AttentionInputs {
  /** Queries, `[batch, heads, length, headDim]`; of dtype `"f32"`, or `"f16"` in plans with that storage, as are keys and values. */
  readonly q: Tensor;
  /** Keys, `[batch, heads, length, headDim]`, with `keyHeads` in the place of `heads` and `keyLength` in that of `length` where the plan has them. */
  readonly k: Tensor;
  /** Values, `[batch, heads, length, valueDim]`, or as of the keys. */
  readonly v: Tensor;
  /**
   * Weights of relative positions, float32 `[heads, 2·length − 1]` or on a grid `[heads, 2H − 1, 2W − 1]`, or of the shape of their form
   * ({@link BiasFormOptions}) or of cross-attention ({@link AttentionOptions}), or their spectrum, but for a bias `"logits"`, which has none. Always in plans with a bias, and only there.
   */
  readonly bias?: Bias;
  /**
   * How many tokens of each batch row count, from 0 to `length`, in an array or a typed array of `batch` integers. Always in plans with
   * `variableLengths`, and only there.
   */
  readonly lengths?: ArrayLike<number>;
  /**
   * Which keys are seen, `[batch, length]` or `[batch, keyLength]`: a byte or a float32 for each key, 0 where it is not. Keys and values that are not seen have no influence,
   * whatever they hold, and get gradients of 0. Always in plans with `keyMask`, and only there.
   */
  readonly keyMask?: Tensor | Uint8Array;
}

/** What {@link AttentionPlan.backward} takes: the inputs of the run, and the gradient that came for its result. */
export interface AttentionGradientInputs extends AttentionInputs {
  /** Gradient with respect to the output, float32 `[batch, heads, length, valueDim]`. */
  readonly dOut: Tensor;
}

/** Gradients with respect to the inputs of the same name; they belong to the caller, who disposes of them. */
export interface AttentionGradients {
  readonly dq: Tensor;
  readonly dk: Tensor;
  readonly dv: Tensor;
  /** Of the weights, float32 of their shape; in plans with a bias only. */
  readonly dBias?: Tensor;
}

/** Where gradients go: tensors of their shapes that share no buffer with an input or with one another. New tensors for those left out. */
export type AttentionBackwardOptions = CheckedRunOptions<AttentionGradients>;

/** The plan of {@link AttentionPlan.backward}. */
export type AttentionGradientPlan = GradientPlan<[inputs: AttentionGradientInputs], AttentionGradients>;

const INPUTS = ["q", "k", "v", "bias", "lengths", "keyMask"] as const;
const RUN_INPUTS = [...INPUTS, "check"] as const;
const GRADIENT_INPUTS = [...INPUTS, "dOut"] as const;

/** {@link Runtime.attention} */
export async function makeAttention(context: PlanContext, operation: Operation<AttentionSpec>, spec: AttentionSpec): Promise<AttentionPlan> {
  const caller = "runtime.attention";
  if (spec.storage === "f16") context.checkHalf(caller, "options.storage", '"f32"');
  const preparation = operation.preparation!(spec);
  const [executable, prepare] = await context.compile(caller, [task(operation, spec), ...(preparation ? [preparation] : [])]);
  return new AttentionPlan(context, operation, spec, executable!, prepare);
}

/**
 * Attention with or without FastRPB; see {@link Runtime.attention}. `run({ q, k, v, bias, lengths, keyMask })` gives the result, `[batch, heads, length,
 * valueDim]` of the dtype of the inputs.
 */
export class AttentionPlan extends Plan<[inputs: AttentionInputs]> {
  protected override readonly arity = 1;
  readonly #spec: AttentionSpec;
  readonly #queries: TensorRequirement;
  readonly #keys: TensorRequirement;
  readonly #values: TensorRequirement;
  readonly #results: TensorRequirement;
  readonly #weights: SpectrumMaker | undefined;
  readonly #gradient: AttentionGradientPlan | undefined;

  /** @internal */
  constructor(
    context: PlanContext,
    operation: Operation<AttentionSpec>,
    spec: AttentionSpec,
    executable: Executable,
    prepare: Executable | undefined,
  ) {
    super(context, "AttentionPlan", task(operation, spec), executable);
    this.#spec = spec;
    const { headDim, valueDim, storage: dtype } = spec;
    const rows = ({ batch, heads, length }: AttentionSpec, dim: number) => ({
      owner: context.owner,
      shape: Object.freeze([batch, heads, length, dim]),
      dtype,
    });
    const keyed = keyShape(spec);
    this.#queries = rows(spec, headDim);
    this.#keys = rows(keyed, headDim);
    this.#values = rows(keyed, valueDim);
    this.#results = rows(spec, valueDim);
    this.#weights = prepare && new SpectrumMaker(context, operation.preparation!(spec)!, prepare);
    const gradient = operation.gradient!(spec);
    this.#gradient = gradient && new GradientPlan({ context, name: "AttentionPlan", task: gradient, call: (request) => this.#gradientCall(request) });
  }

  /** What `prepare`, or a run with weights instead of a spectrum, costs on top of {@link cost}; `undefined` without bias. */
  get preparation(): Preparation | undefined {
    return this.#weights?.preparation;
  }

  /**
   * The spectrum of `weights`, float32 `[heads, 2·length − 1]`, where `weights[h, j − i + length − 1]` is W_ij. On a grid [H, W] they are
   * `[heads, 2H − 1, 2W − 1]` with W_ij at `[h, y_j − y_i + H − 1, x_j − x_i + W − 1]`. Other shapes: {@link BiasFormOptions}.
   *
   * @param weights a tensor, or its numbers in an array: then the spectrum keeps a copy of them in memory, and {@link Runtime.restore} makes it
   *   again after a loss of the device
   * @throws FastRpbError codes `"shape"`, `"value"` (a plan without a bias, or with one in the logits, has no spectrum), `"disposed"`, `"lost"`
   */
  prepare(weights: Tensor | Float32Array): Spectrum {
    const caller = "AttentionPlan.prepare";
    this.checkAlive(caller);
    if (!this.#weights) {
      throw refuse("value", caller, "the plan", "one with a bias that goes through a spectrum", `one with bias: "${this.#spec.bias}"`);
    }
    return this.#weights.prepare(caller, weights);
  }

  /**
   * Attention of `q`, `k`, `v`; the result is `[batch, heads, length, valueDim]` of their dtype. Submits at once and does not wait. `check` may stand
   * among the inputs or in the options.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  override run(inputs: AttentionInputs & Pick<CheckedRunOptions, "check">, options: CheckedRunOptions = {}): Tensor {
    checkOptions("AttentionPlan.run", "inputs", inputs, RUN_INPUTS);
    if (!("check" in inputs)) return super.run(inputs, options);
    const { check = options.check, ...rest } = inputs;
    return super.run(rest, check === undefined ? options : { ...options, check });
  }

  /**
   * The gradients of a loss with respect to `q`, `k`, `v` and the weights, from that with respect to the output. Nothing is kept from `run`:
   * what it had in between is computed again, in O(N) memory. The first call compiles the kernels, {@link compileBackward} does so ahead.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"limit"`, `"unavailable"` (with `storage: "f16"`), `"disposed"`, `"lost"`
   */
  backward(inputs: AttentionGradientInputs, options?: AttentionBackwardOptions): AttentionGradients {
    const caller = "AttentionPlan.backward";
    return this.#differentiable(caller).backward(caller, [inputs, options]);
  }

  /**
   * The plan of {@link backward}, for `runAsync`, `encode`, `profile` and its cost. It belongs to this plan.
   *
   * @throws FastRpbError codes `"unavailable"` (with `storage: "f16"`), `"disposed"`
   */
  get gradient(): AttentionGradientPlan {
    return this.#differentiable("AttentionPlan.gradient");
  }

  /**
   * Compiles the kernels of {@link backward} ahead, without blocking, and tells what it costs.
   *
   * @throws FastRpbError codes `"unavailable"` (with `storage: "f16"`), `"limit"`, `"disposed"`, `"lost"`
   */
  async compileBackward(): Promise<Preparation> {
    const caller = "AttentionPlan.compileBackward";
    return this.#differentiable(caller).compileAhead(caller);
  }

  /** Gradients are float32: those of half precision are lost too easily. */
  #differentiable(caller: string): AttentionGradientPlan {
    this.checkAlive(caller);
    if (this.#gradient) return this.#gradient;
    throw refuse("unavailable", caller, "the plan", 'one with storage: "f32"', 'one with storage: "f16"');
  }

  protected override tensors([{ q, k, v, bias }]: [AttentionInputs]): Readonly<Record<string, unknown>> {
    // Of a bias in the logits, −∞ is a mask.
    return { q, k, v, ...(this.#spec.bias !== "logits" && { bias }) };
  }

  protected override call(request: CallRequest<[inputs: AttentionInputs], Tensor>): PlanCall {
    const { caller, args, options } = request;
    checkOptions(caller, "inputs", args[0], INPUTS);
    const { inputs, prepare } = this.#inputs(caller, request.upload, args[0]);
    return { inputs, prepare, outputs: singleOutput(this.#results.shape, this.#results.dtype, options) };
  }

  #gradientCall(request: CallRequest<[inputs: AttentionGradientInputs], AttentionGradients>): PlanCall {
    const { caller, args, options, upload } = request;
    checkOptions(caller, "inputs", args[0], GRADIENT_INPUTS);
    const [dq, dk, dv] = [this.#queries.shape, this.#keys.shape, this.#values.shape];
    const shapes = { dq, dk, dv, ...(this.#spec.bias !== "none" && { dBias: weightsShape(this.#spec) }) };
    const outputs = namedOutputs(caller, shapes, options.out as Partial<Record<string, Tensor>> | undefined);
    const { dOut, ...rest } = args[0];
    const gradient = checkTensor(caller, "inputs.dOut", dOut, { owner: this.context.owner, shape: this.#results.shape, dtype: "f32" });
    const { inputs, prepare } = this.#inputs(caller, upload, rest);
    return { inputs: { ...inputs, dOut: gradient }, prepare, outputs };
  }

  #inputs(
    caller: string,
    upload: CallRequest<unknown, unknown>["upload"],
    { q, k, v, bias, lengths, keyMask }: AttentionInputs,
  ): Pick<PlanCall, "inputs" | "prepare"> {
    const inputs: Record<string, Storage> = {
      q: checkTensor(caller, "inputs.q", q, this.#queries),
      k: checkTensor(caller, "inputs.k", k, this.#keys),
      v: checkTensor(caller, "inputs.v", v, this.#values),
    };
    if (this.#spec.bias === "logits") {
      inputs["bias"] = checkTensor(caller, "inputs.bias", bias, { owner: this.context.owner, shape: weightsShape(this.#spec), dtype: "f32" });
    }
    const { spectrum, prepare } = this.#bias(caller, bias);
    if (spectrum) inputs["spectrum"] = spectrum;
    const counts = this.#lengths(caller, lengths);
    if (counts) inputs["lengths"] = upload(counts, "inputs.lengths");
    const mask = this.#keyMask(caller, upload, keyMask);
    if (mask) inputs["keyMask"] = mask;
    return { inputs, prepare };
  }

  #bias(caller: string, bias: Bias | undefined): ReturnType<SpectrumMaker["input"]> {
    if (!this.#weights) {
      if (bias === undefined || this.#spec.bias === "logits") return {};
      throw refuse("value", caller, "inputs.bias", 'left out, because the plan has bias: "none"', bias);
    }
    if (bias === undefined) {
      const expected = `weights or a spectrum, because the plan has bias: "${this.#spec.bias}"`;
      throw refuse("value", caller, "inputs.bias", expected, undefined);
    }
    return this.#weights.input(caller, "inputs.bias", bias);
  }

  #keyMask(caller: string, upload: CallRequest<unknown, unknown>["upload"], keyMask: Tensor | Uint8Array | undefined): Storage | undefined {
    const { batch, keyMask: isMasked } = this.#spec;
    const length = keyLengthOf(this.#spec);
    const argument = "inputs.keyMask";
    if (!isMasked) {
      if (keyMask === undefined) return undefined;
      throw refuse("value", caller, argument, "left out, because the plan has no keyMask", keyMask);
    }
    if (!(keyMask instanceof Uint8Array))
      return checkTensor(caller, argument, keyMask, { owner: this.context.owner, shape: [batch, length], dtype: "f32" });
    if (keyMask.length === batch * length) return upload(Float32Array.from(keyMask), argument);
    throw refuse("shape", caller, argument, `${batch * length} bytes, one for each key of each batch row`, `${keyMask.length} bytes`);
  }

  #lengths(caller: string, lengths: ArrayLike<number> | undefined): Uint32Array | undefined {
    const { batch, length, variableLengths } = this.#spec;
    const argument = "inputs.lengths";
    if (!variableLengths) {
      if (lengths === undefined) return undefined;
      throw refuse("value", caller, argument, "left out, because the plan has no variableLengths", lengths);
    }
    if (!(Array.isArray(lengths) || ArrayBuffer.isView(lengths)) || lengths.length !== batch) {
      throw refuse("value", caller, argument, `an array of ${batch} lengths, one for each batch row`, lengths);
    }
    for (let b = 0; b < batch; b++) {
      const n = lengths[b]!;
      if (!Number.isInteger(n) || n < 0 || n > length) {
        throw refuse("value", caller, `${argument}[${b}]`, `an integer from 0 to ${length}`, n);
      }
    }
    return Uint32Array.from(lengths);
  }

  protected override disposeOthers(): void {
    this.#weights?.dispose();
    this.#gradient?.dispose();
  }
}
