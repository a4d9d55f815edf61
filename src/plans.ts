/** The plans that a runtime hands out: they check what they are given, and pass it on to the backend. */
import type { Backend, Bindings, Cost, DispatchInfo, DispatchTiming, Executable, Step, Storage } from "./spec/backend.ts";
import { checkOptions, elementCount, sameShape } from "./spec/check.ts";
import { FastRpbError, refuse } from "./spec/errors.ts";
import type { AttentionSpec, ComplexMultiplySpec, FftSpec, ToeplitzSpec } from "./spec/operations.ts";
import { BYTES_PER_ELEMENT, checkApart, checkTensor, checkUsable, type DType, Tensor, type TensorOwner } from "./spec/tensor.ts";

export interface RunOptions {
  /** Where the result goes: a tensor of the output's shape, sharing no buffer with an input. A new tensor when left out. */
  readonly out?: Tensor;
}

/** What {@link Plan.profile} measured. */
export interface Profile {
  /** The result; the caller disposes of it. */
  readonly output: Tensor;
  /** From the submit to the end of the work, as the host sees it. */
  readonly milliseconds: number;
  /** Time of each dispatch on the GPU, where the device has `timestamp-query`; one entry per operation on the CPU. */
  readonly dispatches: readonly DispatchTiming[];
}

/** Dispatches and cost of a part of a plan. */
export interface Preparation {
  readonly dispatches: readonly DispatchInfo[];
  readonly cost: Cost;
}

/** What a plan works with. */
export interface PlanContext {
  readonly owner: TensorOwner;
  readonly backend: Backend;
  /** Plans that were not disposed, so that the runtime can dispose of them. */
  readonly plans: Set<{ dispose(): void }>;
}

interface Recording {
  readonly steps: readonly Step[];
  readonly output: Tensor;
  /** The spectrum that only this recording needs. */
  readonly scratch: Storage | undefined;
}

/** Common to all plans. `Arguments` is what `run` takes before its options. */
abstract class Plan<Arguments extends unknown[]> {
  protected readonly context: PlanContext;
  protected readonly executable: Executable;
  readonly #name: string;
  /** Spectrum of recordings whose submit is not ours to see; they run in order, so one serves all. */
  #recordedSpectrum: Storage | undefined;
  #disposed = false;

  constructor(context: PlanContext, name: string, executable: Executable) {
    this.context = context;
    this.#name = name;
    this.executable = executable;
    context.plans.add(this);
  }

  /** The dispatches of one run, in order; empty on the CPU. */
  get dispatches(): readonly DispatchInfo[] {
    return this.executable.dispatches;
  }

  /** What one run costs. */
  get cost(): Cost {
    return this.executable.cost;
  }

  get disposed(): boolean {
    return this.#disposed || this.context.owner.disposed;
  }

  protected execute(args: Arguments, options: RunOptions | undefined): Tensor {
    const caller = `${this.#name}.run`;
    const recording = this.#prepare(caller, args, options);
    try {
      this.context.backend.run(recording.steps);
    } catch (error) {
      if (recording.output !== options?.out) recording.output.dispose();
      throw error;
    } finally {
      recording.scratch?.release();
    }
    return recording.output;
  }

  protected record(encoder: GPUCommandEncoder, args: Arguments, options: RunOptions | undefined): Tensor {
    const recording = this.#prepare(`${this.#name}.encode`, args, options, this.#recordedSpectrum);
    this.#recordedSpectrum ??= recording.scratch;
    this.context.backend.encode(encoder, recording.steps);
    return recording.output;
  }

  protected async measure(args: Arguments, options: RunOptions | undefined): Promise<Profile> {
    const recording = this.#prepare(`${this.#name}.profile`, args, options);
    try {
      const timings = await this.context.backend.profile(recording.steps);
      return { output: recording.output, ...timings };
    } catch (error) {
      if (recording.output !== options?.out) recording.output.dispose();
      throw error;
    } finally {
      recording.scratch?.release();
    }
  }

  #prepare(caller: string, args: Arguments, options: RunOptions | undefined, scratch?: Storage): Recording {
    this.checkAlive(caller);
    checkOptions(caller, "options", options ?? {}, ["out"]);
    const { inputs, shape, dtype, prepare, executable = this.executable } = this.inputs(caller, args);
    const out = options?.out;
    if (out !== undefined) {
      const storage = checkTensor(caller, "options.out", out, { owner: this.context.owner, shape, dtype });
      checkApart(caller, storage, inputs);
      if (prepare) checkApart(caller, storage, prepare.bindings);
    }
    const output = out ?? new Tensor(this.context.owner, this.allocate(elementCount(shape) * BYTES_PER_ELEMENT[dtype], this.#name), shape, dtype);
    const bindings: Record<string, Storage> = { ...inputs, out: Tensor.storageOf(output) };
    if (!prepare) return { steps: [{ executable, bindings }], output, scratch: undefined };
    const spectrum = scratch ?? this.allocate(prepare.executable.bytes["spectrum"]!, `${this.#name} spectrum`);
    return {
      steps: [
        { executable: prepare.executable, bindings: { ...prepare.bindings, spectrum } },
        { executable, bindings: { ...bindings, spectrum } },
      ],
      output,
      scratch: spectrum,
    };
  }

  protected allocate(bytes: number, label: string): Storage {
    return this.context.backend.allocate(bytes, label);
  }

  /** Checks the arguments and names them as the operation does. */
  protected abstract inputs(caller: string, args: Arguments): PlanInputs;

  protected checkAlive(caller: string): void {
    if (this.disposed) throw new FastRpbError("disposed", `${caller}: the plan or its runtime was disposed.`);
  }

  /** Frees tables, workspace and parameters. Tensors that came out of the plan stay. Safe to call twice. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.context.plans.delete(this);
    if (this.context.owner.disposed) return;
    this.#recordedSpectrum?.release();
    this.executable.dispose();
    this.disposeParts();
  }

  protected disposeParts(): void {}

  [Symbol.dispose](): void {
    this.dispose();
  }
}

interface PlanInputs {
  readonly inputs: Bindings;
  /** Of the output. */
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Weights that have to become a spectrum first. */
  readonly prepare?: Step;
  /** What to run instead of the plan's own executable. */
  readonly executable?: Executable;
}

/** An FFT of a fixed shape; see {@link Runtime.fft}. */
export class FftPlan extends Plan<[x: Tensor]> {
  readonly #spec: FftSpec;

  /** @internal */
  constructor(context: PlanContext, spec: FftSpec, executable: Executable) {
    super(context, "FftPlan", executable);
    this.#spec = spec;
  }

  /**
   * Transforms `x` (complex64, the plan's shape) into a new tensor, or into `options.out`. Submits at once and does not wait.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  run(x: Tensor, options?: RunOptions): Tensor {
    return this.execute([x], options);
  }

  /** Records the same into the caller's encoder. The inputs, the result and the plan must live until it is submitted. */
  encode(encoder: GPUCommandEncoder, x: Tensor, options?: RunOptions): Tensor {
    return this.record(encoder, [x], options);
  }

  /** Runs once, waits, and tells how long each dispatch took. */
  profile(x: Tensor, options?: RunOptions): Promise<Profile> {
    return this.measure([x], options);
  }

  protected override inputs(caller: string, [x]: [Tensor]): PlanInputs {
    const { shape } = this.#spec;
    return { inputs: { x: checkTensor(caller, "x", x, { owner: this.context.owner, shape, dtype: "complex64" }) }, shape, dtype: "complex64" };
  }
}

/** A complex pointwise product of a fixed shape; see {@link Runtime.complexMultiply}. */
export class ComplexMultiplyPlan extends Plan<[a: Tensor, b: Tensor]> {
  readonly #spec: ComplexMultiplySpec;
  readonly #repeating: Executable;

  /** @internal */
  constructor(context: PlanContext, spec: ComplexMultiplySpec, executable: Executable, repeating: Executable) {
    super(context, "ComplexMultiplyPlan", executable);
    this.#spec = spec;
    this.#repeating = repeating;
  }

  /**
   * `scale · a · b`, or with the conjugate of `b`. Both complex64; `a` has the plan's shape, `b` has it or loses leading axes, along
   * which it is repeated.
   *
   * @throws FastRpbError codes `"shape"`, `"value"`, `"disposed"`, `"lost"`
   */
  run(a: Tensor, b: Tensor, options?: RunOptions): Tensor {
    return this.execute([a, b], options);
  }

  /** Records the same into the caller's encoder. The inputs, the result and the plan must live until it is submitted. */
  encode(encoder: GPUCommandEncoder, a: Tensor, b: Tensor, options?: RunOptions): Tensor {
    return this.record(encoder, [a, b], options);
  }

  /** Runs once, waits, and tells how long each dispatch took. */
  profile(a: Tensor, b: Tensor, options?: RunOptions): Promise<Profile> {
    return this.measure([a, b], options);
  }

  protected override inputs(caller: string, [a, b]: [Tensor, Tensor]): PlanInputs {
    const { owner } = this.context;
    const { shape } = this.#spec;
    const first = checkTensor(caller, "a", a, { owner, shape, dtype: "complex64" });
    checkUsable(caller, "b", b, owner);
    const rank = Math.min(b.shape.length, shape.length);
    if (b.shape.length > shape.length) {
      throw refuse("shape", { caller, argument: "b", expected: `a tensor of at most ${shape.length} axes`, got: b.shape });
    }
    const second = checkTensor(caller, "b", b, { owner, shape: shape.slice(shape.length - rank), dtype: "complex64" });
    const inputs = { a: first, b: second };
    if (sameShape(b.shape, shape)) return { inputs, shape, dtype: "complex64" };
    const largest = this.context.backend.limits.maxStorageBufferBindingSize;
    if (second.byteLength > largest) {
      throw new FastRpbError(
        "limit",
        `${caller}: b is repeated, so all its ${second.byteLength} bytes are bound at once, but maxStorageBufferBindingSize is ${largest}.`,
      );
    }
    return { inputs, shape, dtype: "complex64", executable: this.#repeating };
  }

  protected override disposeParts(): void {
    this.#repeating.dispose();
  }
}

/**
 * The spectrum of FastRPB weights, made by {@link ToeplitzPlan.prepare} or {@link AttentionPlan.prepare}: prepare once, run many times.
 * It fits every plan of the same runtime with the same number of heads and the same length. Dispose it when it is no longer needed.
 */
export class Spectrum {
  readonly heads: number;
  readonly length: number;
  readonly #owner: TensorOwner;
  readonly #storage: Storage;
  #disposed = false;

  /** @internal */
  constructor(owner: TensorOwner, storage: Storage, heads: number, length: number) {
    this.#owner = owner;
    this.#storage = storage;
    this.heads = heads;
    this.length = length;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  get byteLength(): number {
    return this.#storage.byteLength;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (!this.#owner.disposed) this.#storage.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal */
  static check(
    caller: string,
    argument: string,
    spectrum: Spectrum,
    owner: TensorOwner,
    spec: { readonly heads: number; readonly length: number },
  ): Storage {
    if (spectrum.disposed || owner.disposed) throw new FastRpbError("disposed", `${caller}: ${argument} was disposed, or its runtime was.`);
    if (spectrum.#owner !== owner) {
      throw refuse("value", { caller, argument, expected: "a spectrum of the same runtime", got: "a spectrum of another runtime" });
    }
    if (spectrum.heads !== spec.heads || spectrum.length !== spec.length) {
      throw refuse("shape", {
        caller,
        argument,
        expected: `a spectrum of ${spec.heads} heads and length ${spec.length}`,
        got: `one of ${spectrum.heads} heads and length ${spectrum.length}`,
      });
    }
    return spectrum.#storage;
  }
}

/** Weights [heads, 2·length − 1], or what `prepare` made of them. */
export type Bias = Tensor | Spectrum;

/** What the plans with a Toeplitz product share: weights become a spectrum, in the same submit or beforehand. */
class WeightsPart {
  readonly #context: PlanContext;
  readonly #spec: { readonly heads: number; readonly length: number };
  readonly executable: Executable;

  constructor(context: PlanContext, spec: { readonly heads: number; readonly length: number }, executable: Executable) {
    this.#context = context;
    this.#spec = spec;
    this.executable = executable;
  }

  prepare(caller: string, weights: Tensor): Spectrum {
    const { owner, backend } = this.#context;
    const bindings = { weights: this.#checkWeights(caller, "weights", weights) };
    const spectrum = backend.allocate(this.executable.bytes["spectrum"]!, "spectrum");
    try {
      backend.run([{ executable: this.executable, bindings: { ...bindings, spectrum } }]);
    } catch (error) {
      spectrum.release();
      throw error;
    }
    return new Spectrum(owner, spectrum, this.#spec.heads, this.#spec.length);
  }

  /** Adds the bias to a plan's inputs. */
  inputs(caller: string, argument: string, bias: Bias, rest: Omit<PlanInputs, "prepare">): PlanInputs {
    if (bias instanceof Spectrum) {
      const spectrum = Spectrum.check(caller, argument, bias, this.#context.owner, this.#spec);
      return { ...rest, inputs: { ...rest.inputs, spectrum } };
    }
    const weights = this.#checkWeights(caller, argument, bias);
    return { ...rest, prepare: { executable: this.executable, bindings: { weights } } };
  }

  #checkWeights(caller: string, argument: string, weights: Tensor): Storage {
    const shape = [this.#spec.heads, 2 * this.#spec.length - 1];
    return checkTensor(caller, argument, weights, { owner: this.#context.owner, shape, dtype: "f32" });
  }

  get preparation(): Preparation {
    return { dispatches: this.executable.dispatches, cost: this.executable.cost };
  }
}

/** The FastRPB product alone; see {@link Runtime.toeplitz}. */
export class ToeplitzPlan extends Plan<[v: Tensor, weights: Bias]> {
  readonly #spec: ToeplitzSpec;
  readonly #weights: WeightsPart;

  /** @internal */
  constructor(context: PlanContext, spec: ToeplitzSpec, executable: Executable, prepare: Executable) {
    super(context, "ToeplitzPlan", executable);
    this.#spec = spec;
    this.#weights = new WeightsPart(context, spec, prepare);
  }

  /** What `prepare`, or a run with weights instead of a spectrum, costs on top of {@link cost}. */
  get preparation(): Preparation {
    return this.#weights.preparation;
  }

  /**
   * The spectrum of `weights`, float32 `[heads, 2·length − 1]`, where `weights[h, j − i + length − 1]` is W_ij.
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
   * @param weights float32 `[heads, 2·length − 1]`, or their spectrum
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
  readonly #weights: WeightsPart | undefined;

  /** @internal */
  constructor(context: PlanContext, spec: AttentionSpec, executable: Executable, prepare: Executable | undefined) {
    super(context, "AttentionPlan", executable);
    this.#spec = spec;
    this.#weights = prepare && new WeightsPart(context, spec, prepare);
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
