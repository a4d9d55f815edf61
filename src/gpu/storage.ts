import type { Storage, TensorData } from "../spec/backend.ts";
import type { FastRpbError } from "../spec/errors.ts";

/** A tensor's range of a GPU buffer. */
export class GpuStorage implements Storage {
  readonly buffer: GPUBuffer;
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly #read: (storage: GpuStorage, target: TensorData) => Promise<void>;
  readonly #release: (storage: GpuStorage) => void;
  #fault: Promise<FastRpbError | undefined> | undefined;

  constructor(
    range: { readonly buffer: GPUBuffer; readonly byteOffset: number; readonly byteLength: number },
    read: (storage: GpuStorage, target: TensorData) => Promise<void>,
    release: (storage: GpuStorage) => void,
  ) {
    this.buffer = range.buffer;
    this.byteOffset = range.byteOffset;
    this.byteLength = range.byteLength;
    this.#read = read;
    this.#release = release;
  }

  /** What went wrong in the work that writes this storage, or in what that work read; `undefined` where it is known to be well. */
  get fault(): Promise<FastRpbError | undefined> | undefined {
    return this.#fault;
  }

  set fault(fault: Promise<FastRpbError | undefined> | undefined) {
    this.#fault = fault;
    void fault?.then((error) => {
      // Forget good news: a long chain of runs would otherwise hold on to all its promises.
      if (!error && this.#fault === fault) this.#fault = undefined;
    });
  }

  read(target: TensorData): Promise<void> {
    return this.#read(this, target);
  }

  release(): void {
    this.#release(this);
  }
}
