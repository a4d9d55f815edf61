import type { Executable, Storage } from "../core/backend.ts";
import { checkOptions } from "../core/check.ts";
import { refuse } from "../core/errors.ts";
import { checkTensor, Tensor, type TensorRequirement } from "../core/tensor.ts";
import { packedShape, tensorShape } from "../operations/attention/layout.ts";
import { type AttentionSpec, keyLengthOf } from "../operations/attention/spec.ts";
import { type Operation, task } from "../operations/operation.ts";
import { weightsShape } from "../operations/toeplitz/spec.ts";
import { GradientPlan, namedOutputs } from "./gradient-plan.ts";
import { type CallRequest, type CheckedRunOptions, Plan, type PlanCall, type PlanContext, type Preparation, singleOutput } from "./plan.ts";
import { type Bias, type Spectrum, SpectrumMaker } from "./spectrum.ts";

/** Inputs of attention beside queries, keys and values. */
export interface AttentionSideInputs {
  /**
   * Weights of relative positions, float32 `[heads, 2·length − 1]` or on a grid `[heads, 2H − 1, 2W − 1]`, or of the shape of their form
   * ({@link BiasFormOptions}) or `[heads, length + keyLength − 1]` of cross-attention, or their spectrum, but for a bias `"logits"`, which has none. Always
   * in plans with a bias, and only there.
   */
  readonly bias?: Bias;
  /**
   * How many tokens of each batch row count, from 0 to `length`: an array or a typed array of `batch` integers, or a float32 tensor `[batch]` of such
   * numbers, which may come from the device. Nobody looks at those of a tensor before the run: what is less counts as 0, what is more as `length`, and
   * fractions are cut off. Always in plans with `variableLengths`, and only there.
   */
  readonly lengths?: ArrayLike<number> | Tensor;
  /**
   * Which keys are seen, `[batch, length]`, or `[batch, keyLength]` of cross-attention: a byte or a float32 for each key, 0 where it is not. Keys and
   * values that are not seen have no influence, whatever they hold, and get gradients of 0. Always in plans with `keyMask`, and only there.
   */
  readonly keyMask?: Tensor | Uint8Array;
}

/** Shapes are those of `layout: "bhnd"`; with `"bnhd"` they are `[batch, length, heads, …]`. */
export interface AttentionInputs extends AttentionSideInputs {
  /** Queries, `[batch, heads, length, headDim]`; of dtype `"f32"`, or `"f16"` in plans with that storage, as are keys and values. */
  readonly q: Tensor;
  /** Keys, `[batch, heads, length, headDim]`, with `keyHeads` in the place of `heads` and `keyLength` in that of `length` where the plan has them. */
  readonly k: Tensor;
  /** Values, `[batch, heads, length, valueDim]`, or as of the keys. */
  readonly v: Tensor;
}

/** Inputs with `layout: "packed"`. */
export interface PackedAttentionInputs extends AttentionSideInputs {
  /**
   * Queries, keys and values, `[batch, length, heads·(2·headDim + valueDim)]`: in the row of a token first the queries of all heads, then the keys, then
   * the values. Of dtype `"f32"`, or `"f16"` in plans with that storage.
   */
  readonly qkv: Tensor;
}

/** What {@link AttentionPlan.backward} takes: the inputs of the run, and the gradient that came for its result. */
export type AttentionGradientInputs<Inputs = AttentionInputs> = Inputs & {
  /** Gradient with respect to the output, float32 of its shape. */
  readonly dOut: Tensor;
};

/** Gradients with respect to the inputs of the same name, of their shapes; they belong to the caller, who disposes of them. */
export interface AttentionGradients {
  readonly dq: Tensor;
  readonly dk: Tensor;
  readonly dv: Tensor;
  /** Of the weights, float32 of their shape; in plans with a bias only. */
  readonly dBias?: Tensor;
}

/** Gradients with `layout: "packed"`. */
export interface PackedAttentionGradients extends Pick<AttentionGradients, "dBias"> {
  /** Of queries, keys and values, in the order and shape of `qkv`. */
  readonly dqkv: Tensor;
}

/** Where gradients go: tensors of their shapes that share no buffer with an input or with one another. New tensors for those left out. */
export type AttentionBackwardOptions<Gradients = AttentionGradients> = CheckedRunOptions<Gradients>;

/** The plan of {@link AttentionPlan.backward}. */
export type AttentionGradientPlan<Inputs = AttentionInputs, Gradients = AttentionGradients> = GradientPlan<
  [inputs: AttentionGradientInputs<Inputs>],
  Gradients
>;

const SIDE_INPUTS = ["bias", "lengths", "keyMask"] as const;

/** A plan with `layout: "packed"`. */
export type PackedAttentionPlan = AttentionPlan<PackedAttentionInputs, PackedAttentionGradients>;

type AnyInputs = AttentionInputs & PackedAttentionInputs;
type AnyGradients = AttentionGradients & PackedAttentionGradients;

/** {@link Runtime.attention} */
export async function makeAttention(
  context: PlanContext,
  operation: Operation<AttentionSpec>,
  spec: AttentionSpec,
): Promise<AttentionPlan & PackedAttentionPlan> {
  const caller = "runtime.attention";
  if (spec.storage === "f16") context.checkHalf(caller, "options.storage", '"f32"');
  const preparation = operation.preparation!(spec);
  const [executable, prepare] = await context.compile(caller, [task(operation, spec), ...(preparation ? [preparation] : [])]);
  return new AttentionPlan<AnyInputs, AnyGradients>(context, operation, spec, executable!, prepare);
}

/**
 * Attention with or without FastRPB; see {@link Runtime.attention}. `run({ q, k, v, bias, lengths, keyMask })` gives the result, `[batch, heads, length,
 * valueDim]` of the dtype of the inputs, or with a `layout` other than `"bhnd"` `[batch, length, heads, valueDim]`.
 */
export class AttentionPlan<Inputs extends object = AttentionInputs, Gradients extends object = AttentionGradients> extends Plan<[inputs: Inputs]> {
  protected override readonly arity = 1;
  readonly #spec: AttentionSpec;
  /** Queries, keys and values, packed or not. */
  readonly #rows: Readonly<Record<string, TensorRequirement>>;
  readonly #result: TensorRequirement;
  readonly #weights: SpectrumMaker | undefined;
  readonly #gradient: AttentionGradientPlan<Inputs, Gradients> | undefined;

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
    const required = (shape: readonly number[]) => ({ owner: context.owner, shape, dtype: spec.storage });
    const rows = (of: "q" | "k" | "v" | "out") => required(tensorShape(spec, of));
    this.#rows = spec.layout === "packed" ? { qkv: required(packedShape(spec)) } : { q: rows("q"), k: rows("k"), v: rows("v") };
    this.#result = rows("out");
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
   * Attention of `q`, `k`, `v`, or with `layout: "packed"` of `qkv`; the result is `[batch, heads, length, valueDim]`, or `[batch, length, heads,
   * valueDim]` with another layout than `"bhnd"`, of their dtype. Submits at once and does not wait. `check` may stand among the inputs or in the options.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  override run(inputs: Inputs & Pick<CheckedRunOptions, "check">, options: CheckedRunOptions = {}): Tensor {
    this.#checkNames("AttentionPlan.run", inputs, "check");
    if (!("check" in inputs)) return super.run(inputs, options);
    const { check = options.check, ...rest } = inputs;
    return super.run(rest as unknown as Inputs, check === undefined ? options : { ...options, check });
  }

  /**
   * The gradients of a loss with respect to `q`, `k`, `v` (or `qkv`) and the weights, from that with respect to the output. Nothing is kept from `run`:
   * what it had in between is computed again, in O(N) memory. The first call compiles the kernels, {@link compileBackward} does so ahead.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"limit"`, `"unavailable"` (with `storage: "f16"`), `"disposed"`, `"lost"`
   */
  backward(inputs: AttentionGradientInputs<Inputs>, options?: AttentionBackwardOptions<Gradients>): Gradients {
    const caller = "AttentionPlan.backward";
    return this.#differentiable(caller).backward(caller, [inputs, options]);
  }

  /**
   * The plan of {@link backward}, for `runAsync`, `encode`, `profile` and its cost. It belongs to this plan.
   *
   * @throws FastRpbError codes `"unavailable"` (with `storage: "f16"`), `"disposed"`
   */
  get gradient(): AttentionGradientPlan<Inputs, Gradients> {
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
  #differentiable(caller: string): AttentionGradientPlan<Inputs, Gradients> {
    this.checkAlive(caller);
    if (this.#gradient) return this.#gradient;
    throw refuse("unavailable", caller, "the plan", 'one with storage: "f32"', 'one with storage: "f16"');
  }

  protected override tensors([inputs]: [Inputs]): Readonly<Record<string, unknown>> {
    // Of a bias in the logits, −∞ is a mask.
    const names = [...Object.keys(this.#rows), "lengths", ...(this.#spec.bias === "logits" ? [] : ["bias"])];
    return Object.fromEntries(names.map((name) => [name, (inputs as AnyInputs)[name as keyof AnyInputs]]));
  }

  /** Checks that there are no inputs but those of the plan, and these others. */
  #checkNames(caller: string, inputs: object, ...others: readonly string[]): void {
    checkOptions(caller, "inputs", inputs as Readonly<Record<string, unknown>>, [...Object.keys(this.#rows), ...SIDE_INPUTS, ...others]);
  }

  protected override call(request: CallRequest<[inputs: Inputs], Tensor>): PlanCall {
    const { caller, args, options } = request;
    this.#checkNames(caller, args[0]);
    const { inputs, prepare } = this.#inputs(caller, request.upload, args[0]);
    return { inputs, prepare, outputs: singleOutput(this.#result.shape, this.#result.dtype, options) };
  }

  #gradientCall(request: CallRequest<[inputs: AttentionGradientInputs<Inputs>], Gradients>): PlanCall {
    const { caller, args, options, upload } = request;
    this.#checkNames(caller, args[0], "dOut");
    const rows = Object.entries(this.#rows).map(([name, { shape }]) => [`d${name}`, shape] as const);
    const shapes = { ...Object.fromEntries(rows), ...(this.#spec.bias !== "none" && { dBias: weightsShape(this.#spec) }) };
    const outputs = namedOutputs(caller, shapes, options.out as Partial<Record<string, Tensor>> | undefined);
    const { dOut, ...rest } = args[0];
    const gradient = checkTensor(caller, "inputs.dOut", dOut, { owner: this.context.owner, shape: this.#result.shape, dtype: "f32" });
    const { inputs, prepare } = this.#inputs(caller, upload, rest);
    return { inputs: { ...inputs, dOut: gradient }, prepare, outputs };
  }

  #inputs(
    caller: string,
    upload: CallRequest<unknown, unknown>["upload"],
    { bias, lengths, keyMask, ...rows }: AttentionSideInputs,
  ): Pick<PlanCall, "inputs" | "prepare"> {
    const inputs: Record<string, Storage> = {};
    for (const [name, requirement] of Object.entries(this.#rows)) {
      inputs[name] = checkTensor(caller, `inputs.${name}`, (rows as AnyInputs)[name as keyof AnyInputs] as Tensor, requirement);
    }
    if (this.#spec.bias === "logits") {
      inputs["bias"] = checkTensor(caller, "inputs.bias", bias, { owner: this.context.owner, shape: weightsShape(this.#spec), dtype: "f32" });
    }
    const { spectrum, prepare } = this.#bias(caller, bias);
    if (spectrum) inputs["spectrum"] = spectrum;
    const counts = this.#lengths(caller, upload, lengths);
    if (counts) inputs["lengths"] = counts;
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

  #lengths(caller: string, upload: CallRequest<unknown, unknown>["upload"], lengths: ArrayLike<number> | Tensor | undefined): Storage | undefined {
    const { batch, length, variableLengths } = this.#spec;
    const argument = "inputs.lengths";
    if (!variableLengths) {
      if (lengths === undefined) return undefined;
      throw refuse("value", caller, argument, "left out, because the plan has no variableLengths", lengths);
    }
    if (lengths instanceof Tensor) {
      const dtype = lengths.dtype === "u32" ? "u32" : "f32";
      return checkTensor(caller, argument, lengths, { owner: this.context.owner, shape: [batch], dtype });
    }
    if (!(Array.isArray(lengths) || ArrayBuffer.isView(lengths)) || lengths.length !== batch) {
      throw refuse("value", caller, argument, `an array or a tensor of ${batch} lengths, one for each batch row`, lengths);
    }
    for (let b = 0; b < batch; b++) {
      const n = lengths[b]!;
      if (!Number.isInteger(n) || n < 0 || n > length) {
        throw refuse("value", caller, `${argument}[${b}]`, `an integer from 0 to ${length}`, n);
      }
    }
    return upload(Uint32Array.from(lengths), argument);
  }

  protected override disposeOthers(): void {
    this.#weights?.dispose();
    this.#gradient?.dispose();
  }
}
