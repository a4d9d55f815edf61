import type { Storage, TensorData } from "../core/backend.ts";
import type { FastRpbError } from "../core/errors.ts";
import { readback } from "./readback.ts";
import type { Session } from "./session.ts";

/** A tensor's range of a GPU buffer. */
export class GpuStorage implements Storage {
  readonly session: Session;
  readonly buffer: GPUBuffer;
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly #borrowed: boolean;
  /** What went wrong in making it: no later run mends that. */
  memoryFault: Promise<FastRpbError | undefined> | undefined;
  #fault: Promise<FastRpbError | undefined> | undefined;
  /** Runs that submit bit by bit and are not done with it. */
  #users = 0;
  #released = false;

  /** @param borrowed the buffer is not the pool's */
  constructor(session: Session, buffer: GPUBuffer, byteOffset: number, byteLength: number, borrowed = false) {
    this.session = session;
    this.buffer = buffer;
    this.byteOffset = byteOffset;
    this.byteLength = byteLength;
    this.#borrowed = borrowed;
  }

  /** To be called once, for memory that was made and not found in the pool. */
  madeWith(fault: Promise<FastRpbError | undefined>): void {
    this.fault = this.memoryFault = fault;
    void fault.then((error) => {
      if (!error) this.memoryFault = undefined;
    });
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

  taint(fault: Promise<FastRpbError | undefined>): void {
    const before = this.#fault;
    this.fault = Promise.all([before, fault]).then(([first, second]) => first ?? second);
  }

  get lost(): boolean {
    return this.session.watch.isLost;
  }

  lend(): GPUBuffer {
    this.session.pool.lend(this.buffer);
    return this.buffer;
  }

  read(target: TensorData): Promise<void> {
    return readback(this, target);
  }

  /** Keeps the buffer from the pool until {@link letGo}. */
  hold(): void {
    this.#users++;
  }

  letGo(): void {
    this.#users--;
    this.#giveBack();
  }

  release(): void {
    this.#released = true;
    this.#giveBack();
  }

  #giveBack(): void {
    if (this.#released && this.#users === 0 && !this.#borrowed) this.session.pool.release(this.buffer);
  }
}
