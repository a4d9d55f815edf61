import { FastRpbError } from "../core/errors.ts";
import { type PlannerLimits, SLOW_GPU } from "../core/limits.ts";
import { CAUTION } from "../program/duration.ts";
import type { OpenDevice } from "./device.ts";
import type { DeviceContext } from "./installed-program.ts";
import { PipelineCache } from "./pipelines.ts";
import { BufferPool } from "./pool.ts";
import { TableCache } from "./tables.ts";
import { type Patience, Watch } from "./watch.ts";

/** Work that takes so long says more of the device than of a submit. */
const TELLING_SECONDS = 0.02;
/** By how much a pace changes at a time, at most. */
const MOST_CHANGE = 2;

/** A device, and all that was made on it. When the device is lost, so is the session; a restored runtime has another one. */
export class Session implements DeviceContext {
  readonly device: GPUDevice;
  readonly queue: GPUQueue;
  readonly adapterInfo: GPUAdapterInfo | undefined;
  readonly pool: BufferPool;
  readonly pipelines: PipelineCache;
  readonly tables: TableCache;
  readonly watch: Watch;
  readonly #owned: boolean;
  #limits: PlannerLimits;
  #measured: Promise<void> | undefined;

  constructor(open: OpenDevice, limits: PlannerLimits, patience?: Patience) {
    this.device = open.device;
    this.queue = open.device.queue;
    this.adapterInfo = open.adapterInfo;
    this.#owned = open.owned;
    this.#limits = limits;
    this.pool = new BufferPool(open.device, limits.workspaceBytes);
    this.pipelines = new PipelineCache(open.device);
    this.tables = new TableCache(open.device, this.pool);
    this.watch = new Watch(open.device, patience);
  }

  /** What plans may use; the speed is the device's own from when it was measured. */
  get limits(): PlannerLimits {
    return this.#limits;
  }

  /** Finds out how fast the device is, unless that is known. A device that cannot be measured stays what it was taken for. */
  measure(caller: string): Promise<void> {
    if (this.#limits.speed !== SLOW_GPU) return Promise.resolve();
    return (this.#measured ??= (async () => {
      try {
        const { measureDevice } = await import("./speed-probe.ts");
        const speed = await measureDevice(this, caller);
        this.#limits = Object.freeze({ ...this.#limits, speed });
      } catch {
        this.watch.check(caller);
      }
    })());
  }

  /** Learns from a slice of a run, where the device was measured: `kernel` alone took so many seconds for what was estimated. */
  observe(kernel: string, estimated: number, seconds: number): void {
    const { speed } = this.#limits;
    if (speed.paces === undefined || seconds < TELLING_SECONDS) return;
    // Something else may have kept the device: one slice does not change much.
    const change = Math.min(MOST_CHANGE, Math.max(1 / MOST_CHANGE, (CAUTION * estimated) / seconds));
    const paces = Object.freeze({ ...speed.paces, [kernel]: change * (speed.paces[kernel] ?? 1) });
    this.#limits = Object.freeze({ ...this.#limits, speed: Object.freeze({ ...speed, paces }) });
  }

  /**
   * Runs `work` inside error scopes; the promise tells what the GPU process thought of it, and never rejects.
   *
   * @param filters what may go wrong; the last one comes first where several did
   */
  guard<T>(
    caller: string,
    work: () => T,
    filters: readonly GPUErrorFilter[] = ["out-of-memory", "validation"],
  ): [T, Promise<FastRpbError | undefined>] {
    for (const filter of filters) this.device.pushErrorScope(filter);
    let scopes: Promise<GPUError | null>[];
    let result: T;
    try {
      result = work();
    } finally {
      scopes = filters.map(() => this.device.popErrorScope());
    }
    const fault = Promise.all(scopes).then(
      ([validation, outOfMemory]) => (validation || outOfMemory ? this.#reason(caller, validation, outOfMemory) : undefined),
      () => undefined, // the device is lost, and every reading says so
    );
    return [result, fault];
  }

  async #reason(caller: string, validation?: GPUError | null, outOfMemory?: GPUError | null): Promise<FastRpbError> {
    // On a device that is lost, Firefox calls what was made there invalid.
    const loss = await this.watch.lossBehind(caller);
    if (loss) return loss;
    if (outOfMemory) return new FastRpbError("limit", `${caller}: the GPU is out of memory: ${outOfMemory.message}`);
    return new FastRpbError("value", `${caller}: WebGPU refused the work: ${validation!.message}`);
  }

  /** Destroys all buffers, and the device unless it is borrowed. */
  end(): void {
    this.pool.destroy();
    if (this.#owned) this.device.destroy();
  }
}
