/** Waits for a device that may be lost, or may never answer. */
import { FastRpbError } from "../core/errors.ts";

/** How long a device may be silent, in milliseconds. */
export interface Patience {
  /** Until a promise for finished work is doubted, and once more until it is given up. Two of it are the time in which a caller hears of a loss. */
  readonly answer: number;
  /** For a pipeline; software GPUs compile some for minutes, and many at a time. */
  readonly compile: number;
  /** For the announcement of a loss, which comes after promises that it rejects, and after error scopes that report it. */
  readonly announcement: number;
  /** For an adapter, and for its device. */
  readonly open: number;
}

export const PATIENCE: Patience = Object.freeze({ answer: 800, compile: 900_000, announcement: 200, open: 30_000 });

/** Rejects what waits for a device as soon as that is lost, and takes a device for lost that does not answer. */
export class Watch {
  /** The device's own promise, or what a silence came to. */
  readonly lost: Promise<GPUDeviceLostInfo>;
  readonly #device: GPUDevice;
  readonly #patience: Patience;
  /** What to tell of a loss. Not by `lost.then`: a promise that lives as long as the device would hold on to all who ever waited. */
  readonly #waiting = new Set<() => void>();
  #lostInfo: GPUDeviceLostInfo | undefined;
  #announce!: (info: GPUDeviceLostInfo) => void;

  constructor(device: GPUDevice, patience: Patience = PATIENCE) {
    this.#device = device;
    this.#patience = patience;
    this.lost = new Promise((resolve) => {
      this.#announce = resolve;
    });
    void device.lost.then((info) => this.#declare(info));
  }

  get isLost(): boolean {
    return this.#lostInfo !== undefined;
  }

  /** @throws FastRpbError code `"lost"` */
  check(caller: string): void {
    if (this.#lostInfo) throw lostError(caller, this.#lostInfo);
  }

  /**
   * The result of work on the device, or of a question to it.
   *
   * @throws FastRpbError code `"lost"`, or `"unavailable"` where `promise` rejects although the device is still there
   */
  answer<T>(caller: string, promise: Promise<T>): Promise<T> {
    return this.#raced(caller, promise, (settled) => this.#silence(settled));
  }

  /** The loss that made something fail, which may be announced a moment later; `undefined` where it failed by itself. */
  async lossBehind(caller: string): Promise<FastRpbError | undefined> {
    if (!this.#lostInfo) {
      const settled = new AbortController();
      const wake = () => settled.abort();
      this.#waiting.add(wake);
      await pause(this.#patience.announcement, settled.signal);
      this.#waiting.delete(wake);
    }
    return this.#lostInfo && lostError(caller, this.#lostInfo);
  }

  /** The same for a pipeline, which has its time. */
  compiled<T>(caller: string, promise: Promise<T>): Promise<T> {
    return this.#raced(caller, promise, (settled) => pause(this.#patience.compile, settled));
  }

  async #raced<T>(caller: string, promise: Promise<T>, silence: (settled: AbortSignal) => Promise<void>): Promise<T> {
    const settled = new AbortController();
    let wake!: () => void;
    const lost = new Promise<undefined>((resolve) => {
      wake = () => resolve(undefined);
    });
    this.#waiting.add(wake);
    if (this.#lostInfo) wake();
    void silence(settled.signal).then(() => {
      if (!settled.signal.aborted) this.#declare(SILENT);
    });
    try {
      const answer = await Promise.race([promise.then((value) => ({ value })), lost]);
      if (answer) return answer.value;
    } catch (error) {
      const loss = await this.lossBehind(caller);
      if (loss || error instanceof FastRpbError) throw loss ?? error;
      throw new FastRpbError("unavailable", `${caller}: the GPU device failed to answer: ${String(error)}`, { cause: error });
    } finally {
      settled.abort();
      this.#waiting.delete(wake);
    }
    throw lostError(caller, this.#lostInfo!);
  }

  #declare(info: GPUDeviceLostInfo): void {
    if (this.#lostInfo) return;
    this.#lostInfo = info;
    this.#announce(info);
    for (const wake of this.#waiting) wake();
  }

  /** Resolves where work is finished by the device's own word, and yet nothing came of it. */
  async #silence(settled: AbortSignal): Promise<void> {
    await pause(this.#patience.answer, settled);
    if (settled.aborted) return;
    // Work may take as long as it likes; only then the answer is due.
    await this.#device.queue.onSubmittedWorkDone().catch(() => {});
    await pause(this.#patience.answer, settled);
  }
}

const SILENT: GPUDeviceLostInfo = Object.freeze({ __brand: "GPUDeviceLostInfo", reason: "unknown", message: "it does not answer" } as const);

function lostError(caller: string, { reason, message }: GPUDeviceLostInfo): FastRpbError {
  return new FastRpbError("lost", `${caller}: the GPU device was lost (${reason}): ${message}. Call runtime.restore(), or create a new runtime.`);
}

/** Resolves after a time, or when `settled` is aborted. */
export function pause(milliseconds: number, settled?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      settled?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    settled?.addEventListener("abort", done);
    if (settled?.aborted) done();
  });
}
