import { viewableBuffer } from "../math/memory.ts";
import type { Storage, TensorData } from "../core/backend.ts";
import { FastRpbError } from "../core/errors.ts";
import type { CpuMemory } from "../operations/operation.ts";

/** Memory of one tensor or spectrum: tensors are read as float32, spectra as float64, lengths as integers. */
export class CpuStorage implements Storage, CpuMemory {
  readonly byteLength: number;
  readonly buffer = undefined;
  readonly byteOffset = 0;
  readonly lost = false;
  readonly #live: Set<CpuStorage>;
  #fault: Promise<FastRpbError | undefined> | undefined;
  #memory: ArrayBuffer | undefined;
  #floats: Float32Array | undefined;

  /** @param live the storages that their backend counts */
  constructor(byteLength: number, label: string, live: Set<CpuStorage>) {
    this.byteLength = byteLength;
    this.#memory = viewableBuffer(label, byteLength);
    this.#live = live;
    live.add(this);
  }

  get floats(): Float32Array {
    return (this.#floats ??= new Float32Array(this.#held(), 0, this.byteLength / 4));
  }

  /** As unsigned integers: lengths. */
  get words(): Uint32Array {
    return new Uint32Array(this.#held(), 0, this.byteLength / 4);
  }

  get doubles(): Float64Array {
    return new Float64Array(this.#held(), 0, this.byteLength / 8);
  }

  write(data: TensorData): void {
    const held = data instanceof Uint32Array ? this.words : data instanceof Float64Array ? this.doubles : this.floats;
    held.set(data);
  }

  lend(): undefined {}

  taint(fault: Promise<FastRpbError | undefined>): void {
    this.#fault = fault;
  }

  /** It is about to be written anew: what was wrong with the contents before goes with them. */
  rewrite(): void {
    this.#fault = undefined;
  }

  async read(target: TensorData): Promise<void> {
    target.set(target instanceof Uint32Array ? this.words : target instanceof Float64Array ? this.doubles : this.floats);
    const error = await this.#fault;
    if (error) throw error;
  }

  release(): void {
    this.#memory = undefined;
    this.#floats = undefined;
    this.#live.delete(this);
  }

  #held(): ArrayBuffer {
    if (this.#memory === undefined) throw new FastRpbError("disposed", "cpu backend: the memory of this tensor was given back.");
    return this.#memory;
  }
}
