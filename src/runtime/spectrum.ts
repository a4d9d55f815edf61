import type { Executable, Storage } from "../core/backend.ts";
import { elementCount } from "../core/check.ts";
import { FastRpbError, refuse } from "../core/errors.ts";
import type { KernelSpectrumSpec, SpectrumSpec } from "../operations/specs.ts";
import { BYTES_PER_ELEMENT, checkTensor, type DType, type Tensor, type TensorOwner } from "../core/tensor.ts";
import type { PlanContext, PlanInputs, Preparation } from "./plan.ts";

/**
 * The spectrum of FastRPB weights or of a convolution's kernel, made by a plan's `prepare`: prepare once, run many times. It fits every
 * plan of the same runtime with the same heads and positions, or the same sizes, mode and dtype of a convolution. Dispose it when it is no
 * longer needed.
 */
export class Spectrum {
  readonly #owner: TensorOwner;
  readonly #spec: SpectrumSpec | KernelSpectrumSpec;
  readonly #onDispose: () => void;
  #storage: Storage;
  #disposed = false;

  /** @internal */
  constructor(owner: TensorOwner, storage: Storage, spec: SpectrumSpec | KernelSpectrumSpec, onDispose: () => void = () => {}) {
    this.#owner = owner;
    this.#storage = storage;
    this.#spec = spec;
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
  static check(caller: string, argument: string, spectrum: Spectrum, owner: TensorOwner, spec: SpectrumSpec | KernelSpectrumSpec): Storage {
    if (spectrum.disposed || owner.disposed) throw new FastRpbError("disposed", `${caller}: ${argument} was disposed, or its runtime was.`);
    if (spectrum.#owner !== owner) {
      throw refuse("value", { caller, argument, expected: "a spectrum of the same runtime", got: "a spectrum of another runtime" });
    }
    if (JSON.stringify(spectrum.#spec) !== JSON.stringify(spec)) {
      throw refuse("shape", { caller, argument, expected: `a spectrum of ${describe(spec)}`, got: `one of ${describe(spectrum.#spec)}` });
    }
    return spectrum.#storage;
  }
}

function describe(spec: SpectrumSpec | KernelSpectrumSpec): string {
  if (spec.operation === "spectrum") {
    const positions = spec.grid ? `grid ${spec.grid.join(" × ")}` : `length ${spec.length}`;
    return `${spec.heads} heads and ${positions}${spec.causal ? ", causal" : ""}`;
  }
  const sizes = spec.axes.map((axis) => `${axis.kernel} in a period of ${axis.period}`).join(" × ");
  return `${spec.kernels} ${spec.dtype} kernels of ${sizes} points${spec.circular ? ", circular" : ""}`;
}

/** Weights or a kernel, or what `prepare` made of them. */
export type Bias = Tensor | Spectrum;

/** What goes into a spectrum: the name of the tensor in the operation, its shape and dtype. */
export interface SpectrumSource {
  readonly name: "weights" | "kernel";
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** What the plans with a spectrum share: weights become one, in the same submit or beforehand. */
export class SpectrumPart {
  readonly #context: PlanContext;
  readonly #spec: SpectrumSpec | KernelSpectrumSpec;
  readonly #source: SpectrumSource;
  readonly executable: Executable;

  constructor(context: PlanContext, spec: SpectrumSpec | KernelSpectrumSpec, source: SpectrumSource, executable: Executable) {
    this.#context = context;
    this.#spec = spec;
    this.#source = source;
    this.executable = executable;
  }

  /** From an array, the spectrum keeps a copy, by which the runtime makes it again after a loss. */
  prepare(caller: string, source: Tensor | Float32Array): Spectrum {
    const { owner, backend, spectra } = this.#context;
    if (!(source instanceof Float32Array)) return new Spectrum(owner, this.#transform(this.#check(caller, this.#source.name, source)), this.#spec);
    const { name, shape, dtype } = this.#source;
    const floats = (elementCount(shape) * BYTES_PER_ELEMENT[dtype]) / BYTES_PER_ELEMENT.f32;
    if (source.length !== floats) {
      throw refuse("shape", { caller, argument: name, expected: `${floats} floats for shape [${shape.join(", ")}]`, got: source.length });
    }
    if (backend.kind === "cpu") return new Spectrum(owner, this.#upload(source), this.#spec);
    const kept = source.slice();
    const restorable = { restore: (restorer: string) => this.#restore(restorer, spectrum, kept) };
    const spectrum: Spectrum = new Spectrum(owner, this.#upload(kept), this.#spec, () => spectra.delete(restorable));
    spectra.add(restorable);
    return spectrum;
  }

  async #restore(caller: string, spectrum: Spectrum, kept: Float32Array): Promise<void> {
    // The plan that prepared it may be gone.
    const executable = await this.#context.backend.compile(caller, this.#spec);
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

  #transform(source: Storage, executable = this.executable): Storage {
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

  /** Adds weights, or their spectrum, to a plan's inputs. */
  inputs(caller: string, argument: string, given: Bias, rest: Omit<PlanInputs, "prepare">): PlanInputs {
    if (given instanceof Spectrum) {
      const spectrum = Spectrum.check(caller, argument, given, this.#context.owner, this.#spec);
      return { ...rest, inputs: { ...rest.inputs, spectrum } };
    }
    const bindings = { [this.#source.name]: this.#check(caller, argument, given) };
    return { ...rest, prepare: { executable: this.executable, bindings } };
  }

  #check(caller: string, argument: string, tensor: Tensor): Storage {
    const { shape, dtype } = this.#source;
    return checkTensor(caller, argument, tensor, { owner: this.#context.owner, shape, dtype });
  }

  get preparation(): Preparation {
    return { dispatches: this.executable.dispatches, cost: this.executable.cost };
  }
}
