/** The memory that a trainer keeps from step to step, on whichever backend: float32 on the GPU, float64 on the CPU. */
import type { Backend, Bindings, Executable, Step, Storage } from "../core/backend.ts";
import type { Task } from "../operations/operation.ts";

/** Numbers on the backend's side. */
export type Numbers = Float32Array | Float64Array;

/** Numbers as the backend holds what a graph keeps. */
export function held(backend: Backend<Task>, data: Float64Array): Numbers {
  return backend.kind === "cpu" ? data : Float32Array.from(data);
}

/** Room for numbers that the backend holds. */
export function roomFor({ kind }: Backend<Task>, size: number): Numbers {
  return kind === "cpu" ? new Float64Array(size) : new Float32Array(size);
}

/** A step of what was compiled, with those of the bindings that it has. */
export function stepOf(executable: Executable, all: Bindings): Step {
  return { executable, bindings: Object.fromEntries(Object.keys(executable.bytes).map((name) => [name, all[name]!])) };
}

/** Storages by name, which go together. */
export class KeptNumbers {
  readonly #backend: Backend<Task>;
  readonly #storages = new Map<string, { readonly storage: Storage; readonly size: number }>();

  constructor(backend: Backend<Task>) {
    this.#backend = backend;
  }

  /** Makes memory with these numbers; what there was by that name is given back. */
  put(name: string, data: Float64Array): void {
    this.#replace(name, this.#backend.upload(held(this.#backend, data), name), data.length);
  }

  putWords(name: string, words: Uint32Array): void {
    this.#replace(name, this.#backend.upload(words, name), words.length);
  }

  get(name: string): Storage {
    return this.#storages.get(name)!.storage;
  }

  /** What is bound under these names. */
  bindings(): Readonly<Record<string, Storage>> {
    return Object.fromEntries([...this.#storages].map(([name, { storage }]) => [name, storage]));
  }

  /** Writes numbers over those of that name, in the order of runs. */
  write(name: string, data: Float64Array): void {
    this.#backend.write(this.get(name), held(this.#backend, data));
  }

  /** The numbers as they are after the runs so far. */
  async read(name: string): Promise<Numbers> {
    const { storage, size } = this.#storages.get(name)!;
    const numbers = roomFor(this.#backend, size);
    await storage.read(numbers);
    return numbers;
  }

  release(): void {
    for (const { storage } of this.#storages.values()) storage.release();
    this.#storages.clear();
  }

  #replace(name: string, storage: Storage, size: number): void {
    const known = this.#storages.get(name);
    if (known && !known.storage.lost) known.storage.release();
    this.#storages.set(name, { storage, size });
  }
}
