/** What all plans share: they check what they are given, and pass it on to the backend. */
import type { Backend, Cost, DispatchInfo, DispatchTiming, Executable, RunProgress, Step, Storage } from "../core/backend.ts";
import { checkBoolean, checkOptions, elementCount } from "../core/check.ts";
import { checkAborted, FastRpbError } from "../core/errors.ts";
import type { OperationSpec } from "../operations/specs.ts";
import { FiniteCheck } from "./finite-check.ts";
import { BYTES_PER_ELEMENT, checkApart, checkTensor, type DType, Tensor, type TensorOwner } from "../core/tensor.ts";

export interface RunOptions {
  /** Where the result goes: a tensor of the output's shape, sharing no buffer with an input unless the plan says so. A new tensor when left out. */
  readonly out?: Tensor;
}

export interface CheckedRunOptions extends RunOptions {
  /**
   * Looks for numbers that are not finite, on the device, in the inputs that are tensors and in the result. Where there is one, reading the result
   * rejects with code `"value"` and tells where the first one is. Costs a pass over all of them; meant for finding a fault.
   */
  readonly check?: boolean;
}

export interface AsyncRunOptions extends CheckedRunOptions {
  /** Stops the run between two submits, within a fraction of a second. */
  readonly signal?: AbortSignal;
  /** Called after each submit that is finished. */
  readonly onProgress?: (progress: RunProgress) => void;
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
  /** Spectra that can be made again after a loss. */
  readonly spectra: Set<{ restore(caller: string): Promise<void> }>;
}

/** What makes plans: a runtime. */
export interface PlanMaker {
  readonly context: PlanContext;
  /** Compiles all or none. @throws FastRpbError codes `"limit"`, `"unavailable"`, `"disposed"`, `"lost"` */
  compile(caller: string, request: CompileRequest): Promise<readonly Executable[]>;
  /** Compiles at once, with the choices that were made for `like`. */
  compileNow(caller: string, spec: OperationSpec, like: OperationSpec): Executable;
  /** Half precision is a feature that a device may lack, and the CPU backend does. @throws FastRpbError code `"unavailable"` */
  checkHalf(caller: string, argument: string, expected: string): void;
}

export interface CompileRequest {
  readonly specs: readonly OperationSpec[];
  /** Of the plan, where it may be asked for without being compiled ahead. */
  readonly gradient?: OperationSpec | undefined;
}

interface Recording {
  readonly steps: readonly Step[];
  readonly output: Tensor;
  /** Storages that only this recording needs. */
  readonly scratch: readonly Storage[];
  /** The spectrum among them. */
  readonly spectrum: Storage | undefined;
}

/** Common to all plans. `Arguments` is what `run` takes before its options. */
export abstract class Plan<Arguments extends unknown[]> {
  protected readonly context: PlanContext;
  protected readonly executable: Executable;
  readonly #name: string;
  /** Spectrum of recordings whose submit is not ours to see; they run in order, so one serves all. */
  #recordedSpectrum: Storage | undefined;
  /** What else they need, each its own. */
  readonly #recorded: Storage[] = [];
  /** What looks for numbers that are not finite, by the size of the tensor. */
  readonly #checks = new Map<string, Executable>();
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

  protected execute(args: Arguments, options: CheckedRunOptions = {}): Tensor {
    const caller = `${this.#name}.run`;
    checkOptions(caller, "options", options, ["out", "check"]);
    const check = this.#check(caller, options.check);
    const recording = this.#prepare(caller, args, options);
    try {
      this.context.backend.run(check?.around(caller, recording.steps, this.tensors(args), recording.output) ?? recording.steps);
      check?.submitted(caller, recording.output);
    } catch (error) {
      check?.dropped();
      if (recording.output !== options?.out) recording.output.dispose();
      throw error;
    } finally {
      for (const storage of recording.scratch) storage.release();
    }
    return recording.output;
  }

  /** Runs by submits of a fraction of a second, and waits for the last. */
  protected async executeSliced(args: Arguments, options: AsyncRunOptions = {}): Promise<Tensor> {
    const caller = `${this.#name}.runAsync`;
    checkOptions(caller, "options", options, ["out", "check", "signal", "onProgress"]);
    checkAborted(caller, options.signal);
    const check = this.#check(caller, options.check);
    const recording = this.#prepare(caller, args, options);
    try {
      const steps = check?.around(caller, recording.steps, this.tensors(args), recording.output) ?? recording.steps;
      await this.context.backend.runSliced(caller, steps, options);
      check?.submitted(caller, recording.output);
    } catch (error) {
      check?.dropped();
      if (recording.output !== options.out) recording.output.dispose();
      throw error;
    } finally {
      for (const storage of recording.scratch) storage.release();
    }
    return recording.output;
  }

  protected record(encoder: GPUCommandEncoder, args: Arguments, options: RunOptions | undefined): Tensor {
    checkOptions(`${this.#name}.encode`, "options", options ?? {}, ["out"]);
    if (this.#recordedSpectrum?.lost) this.#recordedSpectrum = undefined;
    const recording = this.#prepare(`${this.#name}.encode`, args, options, this.#recordedSpectrum);
    this.#recordedSpectrum ??= recording.spectrum;
    this.#recorded.push(...recording.scratch.filter((storage) => storage !== recording.spectrum));
    this.context.backend.encode(encoder, recording.steps);
    return recording.output;
  }

  protected async measure(args: Arguments, options: RunOptions | undefined): Promise<Profile> {
    checkOptions(`${this.#name}.profile`, "options", options ?? {}, ["out"]);
    const loading = this.context.backend.loadProfiler();
    if (loading) await loading;
    const recording = this.#prepare(`${this.#name}.profile`, args, options);
    try {
      const timings = await this.context.backend.profile(recording.steps);
      return { output: recording.output, ...timings };
    } catch (error) {
      if (recording.output !== options?.out) recording.output.dispose();
      throw error;
    } finally {
      for (const storage of recording.scratch) storage.release();
    }
  }

  #prepare(caller: string, args: Arguments, options: RunOptions | undefined, recorded?: Storage): Recording {
    this.checkAlive(caller);
    const checked = this.inputs(caller, args, options);
    const { scratch = [] } = checked;
    try {
      return this.#recording(caller, checked, options?.out, recorded);
    } catch (error) {
      for (const storage of scratch) storage.release();
      throw error;
    }
  }

  #recording(caller: string, checked: PlanInputs, out: Tensor | undefined, recorded: Storage | undefined): Recording {
    const { inputs, shape, dtype, prepare, executable = this.executable, scratch = [] } = checked;
    if (out !== undefined) {
      const storage = checkTensor(caller, "options.out", out, { owner: this.context.owner, shape, dtype });
      checkApart(caller, storage, inputs);
      if (prepare) checkApart(caller, storage, prepare.bindings);
    }
    const output = out ?? new Tensor(this.context.owner, this.allocate(elementCount(shape) * BYTES_PER_ELEMENT[dtype], this.#name), shape, dtype);
    // Not by a spread, which takes longer than a short transform on the CPU.
    const bindings: Record<string, Storage> = inputs;
    bindings["out"] = Tensor.storageOf(output);
    if (!prepare) return { steps: [{ executable, bindings }], output, scratch, spectrum: undefined };
    const spectrum = recorded ?? this.allocate(prepare.executable.bytes["spectrum"]!, `${this.#name} spectrum`);
    return {
      steps: [
        { executable: prepare.executable, bindings: { ...prepare.bindings, spectrum } },
        { executable, bindings: { ...bindings, spectrum } },
      ],
      output,
      scratch: [...scratch, spectrum],
      spectrum,
    };
  }

  /** One for each run: several may be under way. */
  #check(caller: string, wanted: boolean | undefined): FiniteCheck | undefined {
    if (!checkBoolean(caller, "options.check", wanted ?? false)) return undefined;
    return new FiniteCheck(this.context.backend, this.#checks);
  }

  protected allocate(bytes: number, label: string): Storage {
    return this.context.backend.allocate(bytes, label);
  }

  /** The arguments by their names; what is no tensor is passed over. */
  protected abstract tensors(args: Arguments): Readonly<Record<string, unknown>>;

  /** Checks the arguments and names them as the operation does. */
  protected abstract inputs(caller: string, args: Arguments, options: RunOptions | undefined): PlanInputs;

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
    for (const storage of this.#recorded) storage.release();
    this.executable.dispose();
    for (const executable of this.#checks.values()) executable.dispose();
    this.disposeParts();
  }

  protected disposeParts(): void {}

  [Symbol.dispose](): void {
    this.dispose();
  }
}

export interface PlanInputs {
  /** An object of this run's own. */
  readonly inputs: Record<string, Storage>;
  /** Of the output. */
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Weights that have to become a spectrum first. */
  readonly prepare?: Step;
  /** What to run instead of the plan's own executable. */
  readonly executable?: Executable;
  /** Storages among the inputs that live for this run only. */
  readonly scratch?: readonly Storage[];
}
