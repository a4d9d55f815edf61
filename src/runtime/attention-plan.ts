import type { Executable } from "../core/backend.ts";
import { checkOptions } from "../core/check.ts";
import { refuse } from "../core/errors.ts";
import { attentionGradientSpec, type AttentionOptions, attentionSpec, type AttentionSpec, spectrumSpec, weightsShape } from "../operations/specs.ts";
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

export interface AttentionInputs {
  /** Queries, `[batch, heads, length, headDim]`; of dtype `"f32"`, or `"f16"` in plans with that storage, as are keys and values. */
  readonly q: Tensor;
  /** Keys, `[batch, heads, length, headDim]`. */
  readonly k: Tensor;
  /** Values, `[batch, heads, length, valueDim]`. */
  readonly v: Tensor;
  /**
   * Weights of relative positions, float32 `[heads, 2·length − 1]` or on a grid `[heads, 2H − 1, 2W − 1]`, or their spectrum. Always in plans
   * with a bias, and only there.
   */
  readonly bias?: Bias;
  /** How many tokens of each batch row count, from 0 to `length`. Always in plans with `variableLengths`, and only there. */
  readonly lengths?: readonly number[];
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

export interface AttentionBackwardOptions {
  /** Where gradients go: tensors of their shapes that share no buffer with an input or with one another. New tensors for those left out. */
  readonly out?: Partial<AttentionGradients>;
}

const INPUTS = ["q", "k", "v", "bias", "lengths"] as const;

/** {@link Runtime.attention} */
export async function makeAttention(maker: PlanMaker, options: AttentionOptions): Promise<AttentionPlan> {
  const caller = "runtime.attention";
  const spec = attentionSpec(options);
  if (spec.storage === "f16") maker.checkHalf(caller, "options.storage", '"f32"');
  const specs = [spec, ...(spec.bias === "none" ? [] : [spectrumSpec(spec)])];
  const gradient = spec.storage === "f16" ? undefined : attentionGradientSpec(spec);
  const [executable, prepare] = await maker.compile(caller, { specs, gradient });
  return new AttentionPlan(maker.context, spec, executable!, prepare);
}

/** Attention with or without FastRPB; see {@link Runtime.attention}. */
export class AttentionPlan extends Plan<[inputs: AttentionInputs]> {
  readonly #spec: AttentionSpec;
  readonly #weights: SpectrumPart | undefined;
  readonly #gradient: GradientPart;

  /** @internal */
  constructor(context: PlanContext, spec: AttentionSpec, executable: Executable, prepare: Executable | undefined) {
    super(context, "AttentionPlan", executable);
    this.#spec = spec;
    this.#weights = prepare && new SpectrumPart(context, spectrumSpec(spec), { name: "weights", shape: weightsShape(spec), dtype: "f32" }, prepare);
    this.#gradient = new GradientPart(context, attentionGradientSpec(spec));
  }

  /** What `prepare`, or a run with weights instead of a spectrum, costs on top of {@link cost}; `undefined` without bias. */
  get preparation(): Preparation | undefined {
    return this.#weights?.preparation;
  }

  /**
   * The spectrum of `weights`, float32 `[heads, 2·length − 1]`, where `weights[h, j − i + length − 1]` is W_ij. On a grid [H, W] they are
   * `[heads, 2H − 1, 2W − 1]` with W_ij at `[h, y_j − y_i + H − 1, x_j − x_i + W − 1]`.
   *
   * @param weights a tensor, or its numbers in an array: then the spectrum keeps a copy of them in memory, and {@link Runtime.restore} makes it
   *   again after a loss of the device
   * @throws FastRpbError codes `"shape"`, `"value"` (a plan without bias has no weights), `"disposed"`, `"lost"`
   */
  prepare(weights: Tensor | Float32Array): Spectrum {
    const caller = "AttentionPlan.prepare";
    this.checkAlive(caller);
    if (!this.#weights) {
      throw refuse("value", { caller, argument: "the plan", expected: "one with a bias", got: 'one with bias: "none"' });
    }
    return this.#weights.prepare(caller, weights);
  }

  /**
   * Attention of `q`, `k`, `v`; the result is `[batch, heads, length, valueDim]` of their dtype. Submits at once and does not wait.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  run(inputs: AttentionInputs & Pick<CheckedRunOptions, "check">, options: CheckedRunOptions = {}): Tensor {
    checkOptions("AttentionPlan.run", "inputs", inputs, [...INPUTS, "check"]);
    const { check = options.check, ...rest } = inputs;
    return this.execute([rest], check === undefined ? options : { ...options, check });
  }

  /**
   * The same for long runs: by submits of a fraction of a second each, so that the page stays responsive, with progress, and with an end by
   * `options.signal`. The result is there when the promise resolves.
   *
   * @throws FastRpbError as {@link run}, and `"aborted"`: `options.out` is then half written
   */
  runAsync(inputs: AttentionInputs, options?: AsyncRunOptions): Promise<Tensor> {
    return this.executeSliced([inputs], options);
  }

  /** Records the same into the caller's encoder. The inputs, the result and the plan must live until it is submitted. */
  encode(encoder: GPUCommandEncoder, inputs: AttentionInputs, options?: RunOptions): Tensor {
    return this.record(encoder, [inputs], options);
  }

  /** Runs once, waits, and tells how long each dispatch took. */
  profile(inputs: AttentionInputs, options?: RunOptions): Promise<Profile> {
    return this.measure([inputs], options);
  }

  /**
   * The gradients of a loss with respect to `q`, `k`, `v` and the weights, from that with respect to the output. Nothing is kept from `run`:
   * what it had in between is computed again, in O(N) memory. The first call compiles the kernels, {@link compileBackward} does so
   * ahead. In a runtime with `gradients: false`, on WebGPU, `await plan.compileBackward()` comes first: it loads the code.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"limit"`, `"unavailable"`, `"disposed"`, `"lost"`
   */
  backward(inputs: AttentionGradientInputs, options: AttentionBackwardOptions = {}): AttentionGradients {
    const caller = "AttentionPlan.backward";
    this.checkAlive(caller);
    checkOptions(caller, "inputs", inputs, [...INPUTS, "dOut"]);
    checkOptions(caller, "options", options, ["out"]);
    this.#checkPrecision(caller);
    const { dOut, ...rest } = inputs;
    const { headDim, valueDim } = this.#spec;
    const gradient = checkTensor(caller, "inputs.dOut", dOut, { owner: this.context.owner, shape: this.#rows(valueDim), dtype: "f32" });
    const checked = this.#inputs(caller, rest);
    const f32 = (shape: readonly number[]) => ({ shape, dtype: "f32" as const });
    const results = this.#gradient.run(caller, {
      inputs: { ...checked.inputs, dOut: gradient },
      prepare: checked.prepare,
      outputs: {
        dq: f32(this.#rows(headDim)),
        dk: f32(this.#rows(headDim)),
        dv: f32(this.#rows(valueDim)),
        ...(this.#weights && { dBias: f32(weightsShape(this.#spec)) }),
      },
      out: options.out,
      scratch: checked.scratch ?? [],
    });
    return results as unknown as AttentionGradients;
  }

  /** Loads the code of {@link backward} and compiles its kernels ahead, without blocking, and tells what it costs. */
  async compileBackward(): Promise<Preparation> {
    const caller = "AttentionPlan.compileBackward";
    this.checkAlive(caller);
    this.#checkPrecision(caller);
    return this.#gradient.compile(caller);
  }

  /** Gradients are float32: those of half precision are lost too easily. */
  #checkPrecision(caller: string): void {
    if (this.#spec.storage === "f32") return;
    throw refuse("unavailable", { caller, argument: "the plan", expected: 'one with storage: "f32"', got: 'one with storage: "f16"' });
  }

  protected override tensors([{ q, k, v, bias }]: [AttentionInputs]): Readonly<Record<string, unknown>> {
    return { q, k, v, bias };
  }

  protected override inputs(caller: string, [inputs]: [AttentionInputs]): PlanInputs {
    checkOptions(caller, "inputs", inputs, INPUTS);
    return this.#inputs(caller, inputs);
  }

  #rows(dim: number): readonly number[] {
    const { batch, heads, length } = this.#spec;
    return Object.freeze([batch, heads, length, dim]);
  }

  #inputs(caller: string, inputs: AttentionInputs): PlanInputs {
    const { headDim, valueDim } = this.#spec;
    const { owner } = this.context;
    const shape = this.#rows(valueDim);
    const dtype = this.#spec.storage;
    const q = checkTensor(caller, "inputs.q", inputs.q, { owner, shape: this.#rows(headDim), dtype });
    const k = checkTensor(caller, "inputs.k", inputs.k, { owner, shape: this.#rows(headDim), dtype });
    const v = checkTensor(caller, "inputs.v", inputs.v, { owner, shape, dtype });
    const rest = this.#withLengths(caller, inputs.lengths, { inputs: { q, k, v }, shape, dtype });
    try {
      return this.#withBias(caller, inputs.bias, rest);
    } catch (error) {
      for (const storage of rest.scratch ?? []) storage.release();
      throw error;
    }
  }

  #withBias(caller: string, bias: Bias | undefined, rest: PlanInputs): PlanInputs {
    if (!this.#weights) {
      if (bias === undefined) return rest;
      throw refuse("value", { caller, argument: "inputs.bias", expected: 'left out, because the plan has bias: "none"', got: bias });
    }
    if (bias === undefined) {
      const expected = `weights or a spectrum, because the plan has bias: "${this.#spec.bias}"`;
      throw refuse("value", { caller, argument: "inputs.bias", expected, got: undefined });
    }
    return this.#weights.inputs(caller, "inputs.bias", bias, rest);
  }

  #withLengths(caller: string, lengths: readonly number[] | undefined, rest: PlanInputs): PlanInputs {
    const { batch, length, variableLengths } = this.#spec;
    const argument = "inputs.lengths";
    if (!variableLengths) {
      if (lengths === undefined) return rest;
      throw refuse("value", { caller, argument, expected: "left out, because the plan has no variableLengths", got: lengths });
    }
    if (!Array.isArray(lengths) || lengths.length !== batch) {
      throw refuse("value", { caller, argument, expected: `an array of ${batch} lengths, one for each batch row`, got: lengths });
    }
    for (const [b, n] of (lengths as readonly number[]).entries()) {
      if (!Number.isInteger(n) || n < 0 || n > length) {
        throw refuse("value", { caller, argument: `${argument}[${b}]`, expected: `an integer from 0 to ${length}`, got: n });
      }
    }
    const storage = this.context.backend.upload(Uint32Array.from(lengths), argument);
    return { ...rest, inputs: { ...rest.inputs, lengths: storage }, scratch: [storage] };
  }

  protected override disposeParts(): void {
    this.#weights?.executable.dispose();
    this.#gradient.dispose();
  }
}
