/** What all plans share: they check what they are given, make room for results, and pass it on to the backend. */
import type { Backend, Cost, DispatchInfo, DispatchTiming, Executable, RunProgress, Step, Storage, TensorData } from "../core/backend.ts";
import { checkBoolean, checkOptions, elementCount } from "../core/check.ts";
import { checkAborted, FastRpbError } from "../core/errors.ts";
import { BYTES_PER_ELEMENT, checkApart, checkTensor, type DType, Tensor, type TensorOwner } from "../core/tensor.ts";
import type { Task } from "../operations/operation.ts";
import { FiniteCheck } from "./finite-check.ts";

/** Where results go: a tensor for a plan with one result, some of the tensors by name for a gradient. */
export type ResultTarget<Result> = Result extends Tensor ? Tensor : Partial<Result>;

export interface RunOptions<Result = Tensor> {
  /**
   * Where the result goes: a tensor of the output's shape, sharing no buffer with an input unless the plan says so. A new tensor when left out.
   * Of a gradient: tensors by the names of the gradients, which share no buffer with an input or with one another; new ones for those left out.
   */
  readonly out?: ResultTarget<Result>;
}

export interface CheckedRunOptions<Result = Tensor> extends RunOptions<Result> {
  /**
   * Looks for numbers that are not finite, on the device, in the inputs that are tensors and in the result. Where there is one, reading the result
   * rejects with code `"value"` and tells where the first one is. Costs a pass over all of them; meant for finding a fault.
   */
  readonly check?: boolean;
}

export interface AsyncRunOptions<Result = Tensor> extends CheckedRunOptions<Result> {
  /** Stops the run between two submits, within a fraction of a second. */
  readonly signal?: AbortSignal;
  /** Called after each submit that is finished. */
  readonly onProgress?: (progress: RunProgress) => void;
}

/** What {@link Plan.profile} measured. */
export interface Profile<Result = Tensor> {
  /** The result; the caller disposes of it. */
  readonly output: Result;
  /** From the submit to the end of the work, as the host sees it. */
  readonly milliseconds: number;
  /** Time of each dispatch on the GPU, where the device has `timestamp-query`; one entry per operation on the CPU. */
  readonly dispatches: readonly DispatchTiming[];
}

/** Dispatches and cost of something that a plan does besides its run. */
export interface Preparation {
  readonly dispatches: readonly DispatchInfo[];
  readonly cost: Cost;
}

/** What plans work with: a runtime. */
export interface PlanContext {
  readonly owner: TensorOwner;
  readonly backend: Backend<Task>;
  /** Plans that were not disposed, so that the runtime can dispose of them. */
  readonly plans: Set<{ dispose(): void }>;
  /** Spectra that can be made again after a loss. */
  readonly spectra: Set<{ restore(caller: string): Promise<void> }>;
  /** Compiles all or none, tuned. @throws FastRpbError codes `"limit"`, `"unavailable"`, `"disposed"`, `"lost"` */
  compile(caller: string, tasks: readonly Task[]): Promise<readonly Executable[]>;
  /** Compiles at once, tuned. @throws FastRpbError codes `"limit"`, `"lost"` */
  compileNow(caller: string, task: Task): Executable;
  /** Half precision is a feature that a device may lack, and the CPU backend does. @throws FastRpbError code `"unavailable"` */
  checkHalf(caller: string, argument: string, expected: string): void;
}

/** A call of a plan that is to be checked. */
export interface CallRequest<Arguments, Result> {
  readonly caller: string;
  readonly args: Arguments;
  readonly options: RunOptions<Result>;
  /** Memory for numbers of this call alone. */
  readonly upload: (data: TensorData, label: string) => Storage;
}

/** A result of a call: what it is, what errors call it, and where the caller wants it. */
export interface CallOutput {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly argument: string;
  readonly wanted: Tensor | undefined;
}

/** A step whose output `spectrum` is not bound yet. */
export interface Preparing {
  readonly executable: Executable;
  readonly bindings: Record<string, Storage>;
}

/** A call of a plan that was checked. */
export interface PlanCall {
  /** An object of this call's own, by the names of the operation. */
  readonly inputs: Record<string, Storage>;
  readonly outputs: Readonly<Record<string, CallOutput>>;
  /** What makes the input `spectrum` first; its bindings too are this call's own. */
  readonly prepare?: Preparing | undefined;
  /** What to run instead of the plan's own executable. */
  readonly executable?: Executable;
}

const OPTIONS = ["out"] as const;
const CHECKED_OPTIONS = [...OPTIONS, "check"] as const;
const ASYNC_OPTIONS = [...CHECKED_OPTIONS, "signal", "onProgress"] as const;

interface Recording {
  readonly steps: readonly Step[];
  readonly outputs: Readonly<Record<string, Tensor>>;
  /** Those that the caller did not give. */
  readonly made: readonly Tensor[];
  /** Storages that only this recording needs. */
  readonly scratch: readonly Storage[];
  readonly spectrum: Storage | undefined;
}

/**
 * A computation of fixed shapes, compiled. What it takes and gives is told by its own class; how it runs is the same for all: submitted at once
 * ({@link run}), bit by bit ({@link runAsync}), by the caller ({@link encode}), or timed ({@link profile}).
 */
export abstract class Plan<Arguments extends unknown[], Result = Tensor> {
  protected readonly context: PlanContext;
  readonly #name: string;
  readonly #task: Task;
  #executable: Executable | undefined;
  /** Spectrum of recordings whose submit is not ours to see; they run in order, so one serves all. */
  #recordedSpectrum: Storage | undefined;
  /** What looks for numbers that are not finite, by the size of the tensor. */
  readonly #checks = new Map<string, Executable>();
  #disposed = false;

  /** @param executable left out: it is compiled when it is first asked for */
  constructor(context: PlanContext, name: string, task: Task, executable?: Executable) {
    this.context = context;
    this.#name = name;
    this.#task = task;
    this.#executable = executable;
    context.plans.add(this);
  }

  /** The dispatches of one run, in order; empty on the CPU. */
  get dispatches(): readonly DispatchInfo[] {
    return this.#compiled(this.#name).dispatches;
  }

  /** What one run costs. */
  get cost(): Cost {
    return this.#compiled(this.#name).cost;
  }

  get disposed(): boolean {
    return this.#disposed || this.context.owner.disposed;
  }

  /**
   * Computes the result into a new tensor, or into `options.out`. Submits the work at once and does not wait for it.
   *
   * @throws FastRpbError codes `"shape"` and `"value"` (an argument that is not as the plan says), `"limit"`, `"disposed"`, `"lost"`
   */
  run(...args: [...Arguments, options?: CheckedRunOptions<Result>]): Result {
    return this.execute(`${this.#name}.run`, args);
  }

  /**
   * Runs by submits of a fraction of a second each, so that the page stays responsive, with progress, and with an end by `options.signal`. The
   * result is there when the promise resolves.
   *
   * @throws FastRpbError codes as of {@link run}, and `"aborted"`: `options.out` is then half written
   */
  async runAsync(...args: [...Arguments, options?: AsyncRunOptions<Result>]): Promise<Result> {
    const caller = `${this.#name}.runAsync`;
    const [checked, options] = this.#split<AsyncRunOptions<Result>>(caller, args, ASYNC_OPTIONS);
    checkAborted(caller, options.signal);
    const check = this.#finiteCheck(caller, options.check);
    const recording = this.#prepare(caller, checked, options);
    return this.#finished(recording, async () => {
      const steps = check?.around(caller, recording.steps, this.tensors(checked), recording.outputs) ?? recording.steps;
      try {
        await this.context.backend.runSliced(caller, steps, options);
        check?.submitted(caller, recording.outputs);
      } catch (error) {
        check?.dropped();
        throw error;
      }
      return this.result(recording.outputs);
    });
  }

  /**
   * Records the run into the caller's encoder, which submits it. The inputs, the result and the plan must live until then. The workspace is the
   * plan's own: recordings must be submitted in the order in which they were made.
   *
   * @throws FastRpbError codes as of {@link run}, and `"unavailable"` (the CPU backend has no encoder)
   */
  encode(encoder: GPUCommandEncoder, ...args: [...Arguments, options?: RunOptions<Result>]): Result {
    const caller = `${this.#name}.encode`;
    const [checked, options] = this.#split<RunOptions<Result>>(caller, args, OPTIONS);
    if (this.#recordedSpectrum?.lost) this.#recordedSpectrum = undefined;
    const { backend } = this.context;
    const upload = (data: TensorData, label: string) => backend.uploadTransient(data, label);
    const recording = this.#prepare(caller, checked, options, { upload, spectrum: this.#recordedSpectrum });
    this.#recordedSpectrum = recording.spectrum;
    try {
      backend.encode(encoder, recording.steps);
    } catch (error) {
      for (const tensor of recording.made) tensor.dispose();
      throw error;
    }
    return this.result(recording.outputs);
  }

  /**
   * Runs once, waits, and tells how long each dispatch took.
   *
   * @throws FastRpbError codes as of {@link run}
   */
  async profile(...args: [...Arguments, options?: RunOptions<Result>]): Promise<Profile<Result>> {
    const caller = `${this.#name}.profile`;
    const [checked, options] = this.#split<RunOptions<Result>>(caller, args, OPTIONS);
    const recording = this.#prepare(caller, checked, options);
    return this.#finished(recording, async () => {
      const timings = await this.context.backend.profile(recording.steps);
      return { output: this.result(recording.outputs), ...timings };
    });
  }

  /** {@link run} for whoever has a name of its own. */
  protected execute(caller: string, args: readonly unknown[]): Result {
    const [checked, options] = this.#split<CheckedRunOptions<Result>>(caller, args, CHECKED_OPTIONS);
    const check = this.#finiteCheck(caller, options.check);
    const recording = this.#prepare(caller, checked, options);
    try {
      this.context.backend.run(check?.around(caller, recording.steps, this.tensors(checked), recording.outputs) ?? recording.steps);
      check?.submitted(caller, recording.outputs);
    } catch (error) {
      check?.dropped();
      for (const tensor of recording.made) tensor.dispose();
      throw error;
    } finally {
      for (const storage of recording.scratch) storage.release();
    }
    return this.result(recording.outputs);
  }

  /** Compiles ahead what was not compiled when the plan was made, without blocking. */
  protected async compile(caller: string): Promise<Preparation> {
    this.checkAlive(caller);
    const executable = this.#executable ?? (await this.context.compile(caller, [this.#task]))[0]!;
    if (this.#disposed) {
      if (!this.context.owner.disposed) executable.dispose();
      this.checkAlive(caller);
    }
    // Two may have been under way.
    if (this.#executable && this.#executable !== executable) executable.dispose();
    this.#executable ??= executable;
    return costOf(this.#executable);
  }

  /** How many arguments come before the options. */
  protected abstract readonly arity: number;
  /** The arguments by their names; what is no tensor is passed over. */
  protected abstract tensors(args: Arguments): Readonly<Record<string, unknown>>;
  /** Checks the arguments and names them as the operation does. */
  protected abstract call(request: CallRequest<Arguments, Result>): PlanCall;
  /** What the caller gets of the outputs, which have the names of the operation. */
  protected result(outputs: Readonly<Record<string, Tensor>>): Result {
    return outputs["out"] as Result;
  }

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
    this.#executable?.dispose();
    for (const executable of this.#checks.values()) executable.dispose();
    this.disposeOthers();
  }

  /** What else a plan has compiled. */
  protected disposeOthers(): void {}

  [Symbol.dispose](): void {
    this.dispose();
  }

  #compiled(caller: string): Executable {
    if (!this.#executable) this.checkAlive(caller);
    return (this.#executable ??= this.context.compileNow(caller, this.#task));
  }

  #split<Options extends object>(caller: string, all: readonly unknown[], known: readonly (keyof Options & string)[]): [Arguments, Options] {
    const options = (all[this.arity] ?? {}) as Options;
    checkOptions(caller, "options", options, known);
    return [all as Arguments, options];
  }

  /** Gives back what a call took, when it is over. */
  async #finished<T>({ made, scratch }: Recording, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      throw error;
    } finally {
      for (const storage of scratch) storage.release();
    }
  }

  #prepare(
    caller: string,
    args: Arguments,
    options: RunOptions<Result>,
    recorded?: { readonly upload: CallRequest<Arguments, Result>["upload"]; readonly spectrum: Storage | undefined },
  ): Recording {
    this.checkAlive(caller);
    const scratch: Storage[] = [];
    const made: Tensor[] = [];
    try {
      const upload =
        recorded?.upload ??
        ((data: TensorData, label: string) => {
          const storage = this.context.backend.upload(data, label);
          scratch.push(storage);
          return storage;
        });
      const { inputs, outputs, prepare, executable } = this.call({ caller, args, options, upload });
      // Not by a spread, which takes longer than a short transform on the CPU.
      const bindings: Record<string, Storage> = inputs;
      const results: Record<string, Tensor> = {};
      for (const name in outputs) {
        const tensor = this.#output(caller, name, outputs[name]!, bindings, prepare, made);
        results[name] = tensor;
        bindings[name] = Tensor.storageOf(tensor);
      }
      const step = { executable: executable ?? this.#compiled(caller), bindings };
      if (!prepare) return { steps: [step], outputs: results, made, scratch, spectrum: recorded?.spectrum };
      const spectrum = recorded?.spectrum ?? this.context.backend.allocate(prepare.executable.bytes["spectrum"]!, `${this.#name} spectrum`);
      if (!recorded) scratch.push(spectrum);
      bindings["spectrum"] = prepare.bindings["spectrum"] = spectrum;
      return { steps: [prepare, step], outputs: results, made, scratch, spectrum };
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      for (const storage of scratch) storage.release();
      throw error;
    }
  }

  #output(
    caller: string,
    name: string,
    output: CallOutput,
    bound: Readonly<Record<string, Storage>>,
    prepare: Preparing | undefined,
    made: Tensor[],
  ): Tensor {
    const label = name === "out" ? this.#name : name;
    const tensor = outputTensor(this.context, caller, label, output, prepare ? [bound, prepare.bindings] : [bound]);
    if (tensor !== output.wanted) made.push(tensor);
    return tensor;
  }

  /** One for each run: several may be under way. */
  #finiteCheck(caller: string, wanted: boolean | undefined): FiniteCheck | undefined {
    if (!checkBoolean(caller, "options.check", wanted ?? false)) return undefined;
    return new FiniteCheck(this.context, this.#checks);
  }
}

/** The tensor that a result goes into: where the caller wants it, apart from all that is bound, or a new one. @throws FastRpbError of what is wrong with it */
export function outputTensor(
  { owner, backend }: PlanContext,
  caller: string,
  label: string,
  { shape, dtype, argument, wanted }: CallOutput,
  bound: readonly Readonly<Record<string, Storage>>[],
): Tensor {
  if (wanted === undefined) return new Tensor(owner, backend.allocate(elementCount(shape) * BYTES_PER_ELEMENT[dtype], label), shape, dtype);
  const storage = checkTensor(caller, argument, wanted, { owner, shape, dtype });
  for (const inputs of bound) checkApart(caller, storage, inputs);
  return wanted;
}

/** Dispatches and cost of an executable, without the executable. */
export function costOf({ dispatches, cost }: Executable): Preparation {
  return { dispatches, cost };
}

/** The one result of a call, where the caller wants it. */
export function singleOutput(shape: readonly number[], dtype: DType, { out }: RunOptions): PlanCall["outputs"] {
  return { out: { shape, dtype, argument: "options.out", wanted: out } };
}
