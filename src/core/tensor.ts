import type { Storage } from "./backend.ts";
import { elementCount, sameShape } from "./check.ts";
import { FastRpbError, refuse } from "./errors.ts";
import { decodeHalf, type HalfArray, halfBits } from "./half.ts";

/**
 * `"f32"`: one float32 an element. `"complex64"`: two, interleaved as (re, im). `"f16"`: one float16, on devices with the feature
 * `shader-f16`; complex numbers take two elements, an axis of 2 at the end. `"u32"`: an unsigned integer, an index of a token or a length.
 */
export type DType = "f32" | "complex64" | "f16" | "u32";

export const DTYPES = ["f32", "complex64", "f16", "u32"] as const;

export const BYTES_PER_ELEMENT: Readonly<Record<DType, number>> = Object.freeze({ f32: 4, complex64: 8, f16: 2, u32: 4 });

/** Anything that tensors can belong to: the runtime that made them. */
export interface TensorOwner {
  readonly disposed: boolean;
}

/**
 * A row-major array on the GPU, or in memory on the CPU backend. Made by {@link Runtime.tensor}, {@link Runtime.wrap} and every
 * plan's `run`. Dispose it when it is no longer needed: GPU memory is not garbage-collected in time.
 */
export class Tensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly #owner: TensorOwner;
  readonly #storage: Storage;
  #disposed = false;

  /** @internal Tensors come from a runtime. */
  constructor(owner: TensorOwner, storage: Storage, shape: readonly number[], dtype: DType) {
    this.#owner = owner;
    this.#storage = storage;
    this.shape = shape;
    this.dtype = dtype;
  }

  /** Number of elements; a complex number is one, but two of dtype `"f16"`. */
  get size(): number {
    return elementCount(this.shape);
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * The GPU buffer; `undefined` on the CPU backend. It belongs to the tensor: valid until `dispose()`. From now on every run with it looks for a
   * buffer that was destroyed, which takes some microseconds.
   */
  get buffer(): GPUBuffer | undefined {
    return this.#storage.lend();
  }

  /** Where in `buffer` the data starts, in bytes. */
  get byteOffset(): number {
    return this.#storage.byteOffset;
  }

  get byteLength(): number {
    return this.#storage.byteLength;
  }

  /**
   * Reads the data back; waits for the work that writes it.
   *
   * @param target where to put it; a new `Float32Array` when left out. Complex data is interleaved, so complex64 has twice `size` floats.
   *   Of dtype `"f16"`, a `Float32Array` gets the numbers, a `Uint16Array` or a `Float16Array` the bits. Of dtype `"u32"` it is a `Uint32Array`, and has
   *   to be given
   * @throws FastRpbError code `"shape"` for a target of the wrong type or length, `"disposed"`, `"lost"`, or `"limit"` where the GPU ran out of
   *   memory
   */
  data(target?: Float32Array): Promise<Float32Array>;
  data<T extends Uint16Array | HalfArray | Uint32Array>(target: T): Promise<T>;
  async data(target?: Float32Array | Uint16Array | HalfArray | Uint32Array): Promise<Float32Array | Uint16Array | HalfArray | Uint32Array> {
    const caller = "tensor.data";
    checkUsable(caller, "this", this, this.#owner);
    const half = this.dtype === "f16";
    const numbers = this.dtype === "complex64" ? 2 * this.size : this.size;
    const isWords = this.dtype === "u32";
    const bits = half ? halfBits(target) : isWords && target instanceof Uint32Array ? target : undefined;
    const isRight = bits !== undefined || (!isWords && (target === undefined || target instanceof Float32Array));
    if (!isRight || (target !== undefined && target.length !== numbers)) {
      const known = ArrayBuffer.isView(target) && "length" in target;
      throw refuse(
        "shape",
        caller,
        "target",
        `a ${isWords ? "Uint32Array" : `Float32Array${half ? ", Uint16Array or Float16Array" : ""}`} of length ${numbers}`,
        known ? `a ${target[Symbol.toStringTag]} of length ${target.length}` : target,
      );
    }
    if (bits) {
      await this.#storage.read(bits);
      return target!;
    }
    const result = (target as Float32Array | undefined) ?? new Float32Array(numbers);
    if (half) {
      const read = new Uint16Array(numbers);
      await this.#storage.read(read);
      decodeHalf(read, result);
    } else await this.#storage.read(result);
    return result;
  }

  /** Gives the memory back. A wrapped buffer is left to its owner. Safe to call twice, and after the work that uses the tensor was submitted. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (!this.#owner.disposed) this.#storage.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal */
  static storageOf(tensor: Tensor): Storage {
    return tensor.#storage;
  }

  /** @internal */
  static ownerOf(tensor: Tensor): TensorOwner {
    return tensor.#owner;
  }
}

/** What an argument tensor has to be. */
export interface TensorRequirement {
  readonly owner: TensorOwner;
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** The storage of a tensor argument, or a refusal. @throws FastRpbError codes `"value"`, `"disposed"`, `"shape"` */
export function checkTensor(caller: string, argument: string, tensor: unknown, required: TensorRequirement): Storage {
  checkUsable(caller, argument, tensor, required.owner);
  if (tensor.dtype !== required.dtype) {
    throw refuse("shape", caller, argument, `a tensor of dtype "${required.dtype}"`, tensor.dtype);
  }
  if (!sameShape(tensor.shape, required.shape)) {
    throw refuse("shape", caller, argument, `a tensor of shape [${required.shape.join(", ")}]`, tensor.shape);
  }
  return Tensor.storageOf(tensor);
}

/** A tensor of this runtime that is still there. */
export function checkUsable(caller: string, argument: string, tensor: unknown, owner: TensorOwner): asserts tensor is Tensor {
  if (!(tensor instanceof Tensor)) {
    throw refuse("value", caller, argument, "a tensor", tensor, "Make one with runtime.tensor or runtime.wrap.");
  }
  if (tensor.disposed || owner.disposed) {
    throw new FastRpbError("disposed", `${caller}: ${argument} was disposed, or its runtime was.`);
  }
  if (Tensor.ownerOf(tensor) !== owner) {
    throw refuse("value", caller, argument, "a tensor of the same runtime", "a tensor of another runtime");
  }
}

/**
 * Refuses an output that shares memory with an input. WebGPU cannot bind one buffer for reading and for writing in one dispatch, so
 * sharing a GPUBuffer is refused even where the ranges are apart.
 */
export function checkApart(caller: string, out: Storage, inputs: Readonly<Record<string, Storage>>): void {
  for (const name of Object.keys(inputs)) {
    const input = inputs[name]!;
    if (input === out || (out.buffer !== undefined && input.buffer === out.buffer)) {
      throw refuse("value", caller, "options.out", `memory apart from ${name}`, `the same buffer as ${name}`);
    }
  }
}
