import type { Executable, Storage } from "../core/backend.ts";
import { elementCount } from "../core/check.ts";
import { FastRpbError, refuse } from "../core/errors.ts";
import { BYTES_PER_ELEMENT, checkTensor, type DType, type Tensor, type TensorOwner } from "../core/tensor.ts";
import type { Task } from "../operations/operation.ts";
import { costOf, type PlanContext, type Preparation, type Preparing } from "./plan.ts";

/**
 * The spectrum of FastRPB weights or of a convolution's kernel, made by a plan's `prepare`: prepare once, run many times. It fits every
 * plan of the same runtime with the same heads and positions, or the same sizes, mode and dtype of a convolution. Dispose it when it is no
 * longer needed.
 */
export class Spectrum {
  readonly #owner: TensorOwner;
  readonly #task: Task;
  readonly #onDispose: () => void;
  #storage: Storage;
  #disposed = false;

  /** @internal */
  constructor(owner: TensorOwner, storage: Storage, task: Task, onDispose: () => void = () => {}) {
    this.#owner = owner;
    this.#storage = storage;
    this.#task = task;
    this.#onDispose = onDispose;
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
    this.#onDispose();
    if (!this.#owner.disposed) this.#storage.release();
  }

  /** @internal What another device has of the same weights. */
  static move(spectrum: Spectrum, storage: Storage): void {
    spectrum.#storage = storage;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal */
  static check(caller: string, argument: string, spectrum: Spectrum, owner: TensorOwner, task: Task): Storage {
    if (spectrum.disposed || owner.disposed) throw new FastRpbError("disposed", `${caller}: ${argument} was disposed, or its runtime was.`);
    if (spectrum.#owner !== owner) {
      throw refuse("value", caller, argument, "a spectrum of the same runtime", "a spectrum of another runtime");
    }
    const of = spectrum.#task.spec;
    if (of !== task.spec && JSON.stringify(of) !== JSON.stringify(task.spec)) {
      throw refuse("shape", caller, argument, `a spectrum of ${describe(task)}`, `one of ${describe(spectrum.#task)}`);
    }
    return spectrum.#storage;
  }
}

function describe({ operation, spec }: Task): string {
  return operation.describe?.(spec) ?? operation.label(spec);
}

/** Weights or a kernel, or what `prepare` made of them. */
export type Bias = Tensor | Spectrum;

/** What a spectrum is made of, as the operation has it. */
interface SourceTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** Makes the spectra of a plan's weights or kernels, in the submit of a run or beforehand. */
export class SpectrumMaker {
  readonly #context: PlanContext;
  readonly #task: Task;
  readonly #source: SourceTensor;
  readonly #executable: Executable;

  /** @param shape of the tensor as the plan's caller has it; default: that of the operation, which merges leading axes */
  constructor(context: PlanContext, task: Task, executable: Executable, shape?: readonly number[]) {
    this.#context = context;
    this.#task = task;
    this.#executable = executable;
    const layouts = task.operation.tensors(task.spec, context.backend.limits);
    const [name, source] = Object.entries(layouts).find(([, layout]) => layout.role === "input")!;
    this.#source = { name, shape: shape ?? source.shape, dtype: source.dtype as DType };
  }

  /** From an array, the spectrum keeps a copy, by which the runtime makes it again after a loss. */
  prepare(caller: string, source: Tensor | Float32Array): Spectrum {
    const { owner, backend, spectra } = this.#context;
    if (!(source instanceof Float32Array)) return new Spectrum(owner, this.#transform(this.#check(caller, this.#source.name, source)), this.#task);
    const { name, shape, dtype } = this.#source;
    const floats = (elementCount(shape) * BYTES_PER_ELEMENT[dtype]) / BYTES_PER_ELEMENT.f32;
    if (source.length !== floats) {
      throw refuse("shape", caller, name, `${floats} floats for shape [${shape.join(", ")}]`, source.length);
    }
    if (backend.kind === "cpu") return new Spectrum(owner, this.#upload(source), this.#task);
    const kept = source.slice();
    const restorable = { restore: (restorer: string) => this.#restore(restorer, spectrum, kept) };
    const spectrum: Spectrum = new Spectrum(owner, this.#upload(kept), this.#task, () => spectra.delete(restorable));
    spectra.add(restorable);
    return spectrum;
  }

  async #restore(caller: string, spectrum: Spectrum, kept: Float32Array): Promise<void> {
    // The plan that prepared it may be gone.
    const executable = (await this.#context.compile(caller, [this.#task]))[0]!;
    try {
      if (!spectrum.disposed) Spectrum.move(spectrum, this.#upload(kept, executable));
    } finally {
      executable.dispose();
    }
  }

  #upload(data: Float32Array, executable?: Executable): Storage {
    const source = this.#context.backend.upload(data, this.#source.name);
    try {
      return this.#transform(source, executable);
    } finally {
      source.release();
    }
  }

  #transform(source: Storage, executable = this.#executable): Storage {
    const { backend } = this.#context;
    const spectrum = backend.allocate(executable.bytes["spectrum"]!, "spectrum");
    try {
      backend.run([{ executable, bindings: { [this.#source.name]: source, spectrum } }]);
    } catch (error) {
      spectrum.release();
      throw error;
    }
    return spectrum;
  }

  /** The spectrum that is given, or what makes it of weights that are. */
  input(caller: string, argument: string, given: Bias): { readonly spectrum?: Storage; readonly prepare?: Preparing } {
    if (given instanceof Spectrum) return { spectrum: Spectrum.check(caller, argument, given, this.#context.owner, this.#task) };
    return { prepare: { executable: this.#executable, bindings: { [this.#source.name]: this.#check(caller, argument, given) } } };
  }

  #check(caller: string, argument: string, tensor: Tensor): Storage {
    const { shape, dtype } = this.#source;
    return checkTensor(caller, argument, tensor, { owner: this.#context.owner, shape, dtype });
  }

  get preparation(): Preparation {
    return costOf(this.#executable);
  }

  dispose(): void {
    this.#executable.dispose();
  }
}
