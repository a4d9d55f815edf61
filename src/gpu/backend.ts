import { MissingParts } from "../plan/parts.ts";
import { loadProgram, planProgram } from "../plan/planners.ts";
import type { Program } from "../plan/program.ts";
import type { Backend, CompileProgress, MemoryUse, Step, TensorData, Timings } from "../spec/backend.ts";
import type { Choices } from "../spec/choices.ts";
import { FastRpbError, refuse } from "../spec/errors.ts";
import { type PlannerLimits, wholeWords } from "../spec/limits.ts";
import { loadPart } from "../spec/load.ts";
import type { OperationSpec } from "../spec/operations.ts";
import type { OpenDevice } from "./device.ts";
import { type DeviceContext, GpuExecutable } from "./executable.ts";
import { PipelineCache } from "./pipelines.ts";
import { BufferPool } from "./pool.ts";
import type { profile } from "./profile.ts";
import { GpuStorage } from "./storage.ts";
import { TableCache } from "./tables.ts";
import { COPY_SOURCE, MAP_MODE_READ, READBACK_USAGE, STORAGE, STORAGE_USAGE } from "./usage.ts";

/** Runs Programs on a GPUDevice: one encoder and one submit per run, workspace from the pool. */
export class GpuBackend implements Backend {
  readonly kind = "webgpu";
  readonly limits: PlannerLimits;
  readonly device: GPUDevice;
  readonly adapterInfo: GPUAdapterInfo | undefined;
  readonly lost: Promise<GPUDeviceLostInfo>;
  readonly #owned: boolean;
  readonly #context: DeviceContext;
  readonly #onCompile: (progress: CompileProgress) => void;
  #lostInfo: GPUDeviceLostInfo | undefined;
  #profiler: typeof profile | undefined;

  constructor(open: OpenDevice, limits: PlannerLimits, onCompile: (progress: CompileProgress) => void) {
    this.device = open.device;
    this.adapterInfo = open.adapterInfo;
    this.#owned = open.owned;
    this.limits = limits;
    this.#onCompile = onCompile;
    const pool = new BufferPool(open.device, limits.workspaceBytes);
    this.#context = { device: open.device, pool, pipelines: new PipelineCache(open.device), tables: new TableCache(open.device, pool) };
    this.lost = open.device.lost;
    void this.lost.then((info) => {
      this.#lostInfo = info;
    });
  }

  allocate(byteLength: number, label: string): GpuStorage {
    this.#checkLost(label);
    return this.#watched(label, () => this.#newStorage(byteLength, label));
  }

  upload(data: TensorData, label: string): GpuStorage {
    this.#checkLost(label);
    return this.#watched(label, () => {
      const fresh = this.#newStorage(data.byteLength, label);
      this.device.queue.writeBuffer(fresh.buffer, 0, filledUp(data));
      return fresh;
    });
  }

  wrap(buffer: GPUBuffer, byteOffset: number, byteLength: number): GpuStorage {
    const caller = "runtime.wrap";
    this.#checkLost(caller);
    if (typeof buffer?.mapAsync !== "function") {
      throw refuse("value", { caller, argument: "buffer", expected: "a GPUBuffer", got: buffer });
    }
    const alignment = this.limits.minStorageBufferOffsetAlignment;
    if (byteOffset % alignment !== 0) {
      throw refuse("value", {
        caller,
        argument: "options.offset",
        expected: `a multiple of ${alignment} (minStorageBufferOffsetAlignment)`,
        got: byteOffset,
      });
    }
    const end = byteOffset + wholeWords(byteLength);
    if (end > buffer.size) {
      throw refuse("shape", {
        caller,
        argument: "buffer",
        expected: `a buffer of at least ${end} bytes`,
        got: `${buffer.size} bytes`,
      });
    }
    if ((buffer.usage & STORAGE) === 0) {
      throw refuse("value", { caller, argument: "buffer.usage", expected: "a usage with GPUBufferUsage.STORAGE", got: buffer.usage });
    }
    return new GpuStorage(
      { buffer, byteOffset, byteLength },
      (storage, target) => this.#read(storage, target),
      () => {},
    );
  }

  async compile(caller: string, spec: OperationSpec, choices?: Choices): Promise<GpuExecutable> {
    this.#checkLost(caller);
    const program = await loadProgram(caller, spec, this.#limits(choices));
    this.#checkLost(caller);
    const total = program.dispatches.length;
    this.#onCompile({ label: program.label, done: 0, total });
    let compiled: GpuExecutable;
    try {
      compiled = await GpuExecutable.compile(this.#context, caller, program);
    } catch (error) {
      this.#checkLost(caller);
      throw error;
    }
    this.#checkLost(caller);
    this.#onCompile({ label: program.label, done: total, total });
    return compiled;
  }

  compileNow(caller: string, spec: OperationSpec, choices?: Choices): GpuExecutable {
    this.#checkLost(caller);
    return GpuExecutable.compileNow(this.#context, this.#planNow(caller, spec, choices));
  }

  async prepare(caller: string, spec: OperationSpec, choices?: Choices): Promise<void> {
    try {
      await loadProgram(caller, spec, this.#limits(choices));
    } catch (error) {
      // A device that is too small for it says so when it is compiled.
      if (!(error instanceof FastRpbError && error.code === "limit")) throw error;
    }
  }

  #planNow(caller: string, spec: OperationSpec, choices: Choices | undefined): Program {
    try {
      return planProgram(caller, spec, this.#limits(choices));
    } catch (error) {
      if (!(error instanceof MissingParts)) throw error;
      throw new FastRpbError("unavailable", `${caller}: ${error.message}. Await plan.compileBackward() first.`, { cause: error });
    }
  }

  #limits(choices: Choices | undefined): PlannerLimits {
    return choices ? { ...this.limits, choices } : this.limits;
  }

  run(steps: readonly Step[]): void {
    this.#checkLost("run");
    this.#submit(steps, (encoder, slots) => {
      const pass = encoder.beginComputePass({ label: "fastrpb" });
      this.#record(pass, steps, slots);
      pass.end();
    });
  }

  encode(encoder: GPUCommandEncoder, steps: readonly Step[]): void {
    this.#checkLost("encode");
    if (typeof encoder?.beginComputePass !== "function") {
      throw refuse("value", { caller: "plan.encode", argument: "encoder", expected: "a GPUCommandEncoder", got: encoder });
    }
    const slots = steps.map((step) => (step.executable as GpuExecutable).ownSlots());
    const pass = encoder.beginComputePass({ label: "fastrpb" });
    this.#record(pass, steps, slots);
    pass.end();
  }

  loadProfiler(): Promise<void> | undefined {
    if (this.#profiler) return undefined;
    return loadPart("plan.profile", "profile", () => import("./profile.ts")).then(({ profile }) => {
      this.#profiler = profile;
    });
  }

  async profile(steps: readonly Step[]): Promise<Timings> {
    this.#checkLost("profile");
    return this.#profiler!(steps, {
      ...this.#context,
      run: () => this.run(steps),
      submit: (record) => this.#submit(steps, record),
      mapped: (map) => this.#mapped(map),
    });
  }

  memory(): MemoryUse {
    return this.#context.pool.memory();
  }

  dispose(): void {
    this.#context.pool.destroy();
    if (this.#owned) this.device.destroy();
  }

  /** Makes a storage; where the device could not, reading it tells, and its buffer is not used again. */
  #watched(label: string, make: () => GpuStorage): GpuStorage {
    const [storage, fault] = this.#guard(label, make);
    storage.fault = fault;
    void fault.then((error) => {
      if (error) this.#context.pool.discard(storage.buffer);
    });
    return storage;
  }

  #newStorage(byteLength: number, label: string): GpuStorage {
    const buffer = this.#context.pool.acquire(wholeWords(byteLength), STORAGE_USAGE, label);
    return new GpuStorage(
      { buffer, byteOffset: 0, byteLength },
      (storage, target) => this.#read(storage, target),
      () => this.#context.pool.release(buffer),
    );
  }

  /** One encoder, one submit; the workspace goes back to the pool after it. Faults reach whatever the steps write. */
  #submit(steps: readonly Step[], record: (encoder: GPUCommandEncoder, slots: readonly (readonly GPUBuffer[])[]) => void): void {
    const storages = steps.flatMap((step) => Object.values(step.bindings) as GpuStorage[]);
    const earlier = storages.flatMap((storage) => storage.fault ?? []);
    const acquired = new Map<GpuExecutable, readonly GPUBuffer[]>();
    const [, fault] = this.#guard("run", () => {
      try {
        // An executable that runs several times has one workspace: dispatches follow one another.
        const slots = steps.map(({ executable }) => {
          const own = acquired.get(executable as GpuExecutable) ?? (executable as GpuExecutable).acquireSlots();
          acquired.set(executable as GpuExecutable, own);
          return own;
        });
        const encoder = this.device.createCommandEncoder({ label: "fastrpb" });
        record(encoder, slots);
        this.device.queue.submit([encoder.finish()]);
      } finally {
        for (const buffer of [...acquired.values()].flat()) this.#context.pool.release(buffer);
      }
    });
    const combined = Promise.all([fault, ...earlier]).then((errors) => errors.find((error) => error !== undefined));
    for (const { executable, bindings } of steps) {
      for (const { name, role } of (executable as GpuExecutable).program.buffers) {
        if (role === "output" || role === "inout") (bindings[name] as GpuStorage).fault = combined;
      }
    }
    void fault.then((error) => {
      if (error) for (const buffer of [...acquired.values()].flat()) this.#context.pool.discard(buffer);
    });
  }

  #record(pass: GPUComputePassEncoder, steps: readonly Step[], slots: readonly (readonly GPUBuffer[])[]): void {
    for (const [s, step] of steps.entries()) {
      const executable = step.executable as GpuExecutable;
      for (const index of executable.dispatches.keys()) executable.record(pass, index, step.bindings, slots[s]!);
    }
  }

  /** Runs `work` inside error scopes; the promise tells what the GPU process thought of it. */
  #guard<T>(caller: string, work: () => T): [T, Promise<FastRpbError | undefined>] {
    this.device.pushErrorScope("out-of-memory");
    this.device.pushErrorScope("validation");
    let scopes: [Promise<GPUError | null>, Promise<GPUError | null>];
    let result: T;
    try {
      result = work();
    } finally {
      scopes = [this.device.popErrorScope(), this.device.popErrorScope()];
    }
    const fault = Promise.all(scopes).then(
      ([validation, outOfMemory]) => {
        if (outOfMemory) return new FastRpbError("limit", `${caller}: the GPU is out of memory: ${outOfMemory.message}`);
        if (validation) return new FastRpbError("value", `${caller}: WebGPU refused the work: ${validation.message}`);
        return undefined;
      },
      () => undefined, // the device is lost, and every reading says so
    );
    return [result, fault];
  }

  async #read(storage: GpuStorage, target: TensorData): Promise<void> {
    const caller = "tensor.data";
    const bytes = wholeWords(storage.byteLength);
    this.#checkLost(caller);
    if ((storage.buffer.usage & COPY_SOURCE) === 0) {
      throw refuse("value", { caller, argument: "buffer.usage", expected: "a usage with GPUBufferUsage.COPY_SRC", got: storage.buffer.usage });
    }
    const staging = this.#context.pool.acquire(bytes, READBACK_USAGE, "fastrpb readback");
    try {
      const [, fault] = this.#guard(caller, () => {
        const encoder = this.device.createCommandEncoder({ label: "fastrpb readback" });
        encoder.copyBufferToBuffer(storage.buffer, storage.byteOffset, staging, 0, bytes);
        this.device.queue.submit([encoder.finish()]);
      });
      const mapped = this.#mapped(staging.mapAsync(MAP_MODE_READ, 0, bytes));
      mapped.catch(() => {}); // a fault explains more than the map that failed because of it
      const error = (await storage.fault) ?? (await fault);
      this.#checkLost(caller);
      if (error) throw error;
      await mapped;
      const view = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
      view.set(new Uint8Array(staging.getMappedRange(0, bytes), 0, storage.byteLength));
    } catch (error) {
      this.#context.pool.discard(staging);
      throw error;
    } finally {
      staging.unmap();
      this.#context.pool.release(staging);
    }
  }

  async #mapped(map: Promise<void>): Promise<void> {
    try {
      await map;
    } catch (cause) {
      // The loss is announced by another promise, which may settle a moment later.
      await Promise.race([this.lost, new Promise((resolve) => setTimeout(resolve, 100))]);
      this.#checkLost("tensor.data");
      throw new FastRpbError("limit", `tensor.data: the readback failed: ${String(cause)}`, { cause });
    }
  }

  #checkLost(caller: string): void {
    if (this.#lostInfo) {
      throw new FastRpbError(
        "lost",
        `${caller}: the GPU device was lost (${this.#lostInfo.reason}): ${this.#lostInfo.message}. Create a new runtime.`,
      );
    }
  }
}

/** Data for writeBuffer, which takes whole words: an odd count of float16 is followed by a zero. */
function filledUp(data: TensorData): TensorData & ArrayBufferView<ArrayBuffer> {
  if (data.byteLength === wholeWords(data.byteLength)) return data as TensorData & ArrayBufferView<ArrayBuffer>;
  const filled = new Uint16Array(data.length + 1);
  filled.set(data);
  return filled;
}
