import type { Backend, CompileProgress, MemoryUse, OpenSession, SliceOptions, Step, TensorData, Timings } from "../core/backend.ts";
import type { Choices } from "../core/choices.ts";
import { FastRpbError, refuse } from "../core/errors.ts";
import { type PlannerLimits, SLOW_GPU, wholeWords } from "../core/limits.ts";
import { loadModule } from "../core/load.ts";
import type { Task } from "../operations/operation.ts";
import { LongWorkgroupError } from "../program/duration.ts";
import type { Program } from "../program/program.ts";
import { type ExecutableSource, GpuExecutable, planSource } from "./executable.ts";
import { compilePipelines, InstalledProgram } from "./installed-program.ts";
import { restore } from "./restore.ts";
import { Session } from "./session.ts";
import { bindSteps, recordPass, submitSteps } from "./steps.ts";
import { GpuStorage } from "./storage.ts";
import { STORAGE, STORAGE_USAGE } from "./usage.ts";
import type { Patience } from "./watch.ts";

/** Runs Programs on a GPUDevice: one encoder and one submit per run, workspace from the pool. */
export class GpuBackend implements Backend<Task> {
  readonly kind = "webgpu";
  readonly #onCompile: (progress: CompileProgress) => void;
  readonly #patience: Patience | undefined;
  readonly #executables = new Set<GpuExecutable>();
  #session: Session;
  #disposed = false;

  constructor({ open, limits }: OpenSession, onCompile: (progress: CompileProgress) => void, patience?: Patience) {
    this.#onCompile = onCompile;
    this.#patience = patience;
    this.#session = new Session(open, limits, patience);
  }

  get limits(): PlannerLimits {
    return this.#session.limits;
  }

  get device(): GPUDevice {
    return this.#session.device;
  }

  get adapterInfo(): GPUAdapterInfo | undefined {
    return this.#session.adapterInfo;
  }

  get lost(): Promise<GPUDeviceLostInfo> {
    return this.#session.watch.lost;
  }

  get isLost(): boolean {
    return this.#session.watch.isLost;
  }

  allocate(byteLength: number, label: string): GpuStorage {
    const session = this.#session;
    session.watch.check(label);
    const buffer = session.pool.take(wholeWords(byteLength), STORAGE_USAGE, label);
    if (buffer) return new GpuStorage(session, buffer, 0, byteLength);
    return this.#watched(label, () => this.#newStorage(byteLength, label));
  }

  upload(data: TensorData, label: string): GpuStorage {
    this.#session.watch.check(label);
    return this.#watched(label, () => {
      const fresh = this.#newStorage(data.byteLength, label);
      this.device.queue.writeBuffer(fresh.buffer, 0, filledUp(data));
      return fresh;
    });
  }

  write(storage: GpuStorage, data: TensorData): void {
    this.#checkSteps("write", [{ bindings: { tensor: storage } }]);
    this.device.queue.writeBuffer(storage.buffer, storage.byteOffset, filledUp(data));
  }

  uploadTransient(data: TensorData, label: string): GpuStorage {
    this.#session.watch.check(label);
    const byteLength = wholeWords(data.byteLength);
    const buffer = this.device.createBuffer({ label, size: byteLength, usage: STORAGE_USAGE });
    this.device.queue.writeBuffer(buffer, 0, filledUp(data));
    return new GpuStorage(this.#session, buffer, 0, data.byteLength, true);
  }

  wrap(buffer: GPUBuffer, byteOffset: number, byteLength: number): GpuStorage {
    const caller = "runtime.wrap";
    this.#session.watch.check(caller);
    if (typeof buffer?.mapAsync !== "function") {
      throw refuse("value", caller, "buffer", "a GPUBuffer", buffer);
    }
    const alignment = this.limits.minStorageBufferOffsetAlignment;
    if (byteOffset % alignment !== 0) {
      throw refuse("value", caller, "options.offset", `a multiple of ${alignment} (minStorageBufferOffsetAlignment)`, byteOffset);
    }
    const end = byteOffset + wholeWords(byteLength);
    if (end > buffer.size) {
      throw refuse("shape", caller, "buffer", `a buffer of at least ${end} bytes`, `${buffer.size} bytes`);
    }
    if ((buffer.usage & STORAGE) === 0) {
      throw refuse("value", caller, "buffer.usage", "a usage with GPUBufferUsage.STORAGE", buffer.usage);
    }
    this.#session.pool.lend(buffer); // the caller may destroy it
    return new GpuStorage(this.#session, buffer, byteOffset, byteLength, true);
  }

  async compile(caller: string, task: Task, choices?: Choices): Promise<GpuExecutable> {
    const session = this.#session;
    const source: ExecutableSource = { caller, task, choices };
    const installed = await this.#install(session, source);
    // Restored meanwhile: what was compiled is of the device before.
    if (session !== this.#session)
      throw new FastRpbError("lost", `${caller}: the GPU device was lost meanwhile, and another one is in its place. Try again.`);
    return this.#register(source, installed);
  }

  compileNow(caller: string, task: Task, choices?: Choices): GpuExecutable {
    this.#session.watch.check(caller);
    const source: ExecutableSource = { caller, task, choices };
    const program = planSource(source, this.limits);
    // What goes wrong here goes wrong again in every run of it, and is told there.
    const [installed] = this.#session.guard(caller, () => {
      const pipelines = program.dispatches.map(({ kernel }) => this.#session.pipelines.compileNow(kernel));
      return new InstalledProgram(this.#session, program, pipelines);
    });
    return this.#register(source, installed);
  }

  run(steps: readonly Step[]): void {
    this.#checkSteps("run", steps);
    submitSteps(this.#session, steps);
  }

  async runSliced(caller: string, steps: readonly Step[], options: SliceOptions): Promise<void> {
    this.#checkSteps(caller, steps);
    // Another one may come while this is loaded: then what the steps bind is lost.
    const session = this.#session;
    await holding(steps, async () => {
      const { runSliced } = await loadModule(caller, "runs in slices", () => import("./sliced-run.ts"));
      session.watch.check(caller);
      await runSliced(session, caller, steps, options);
    });
  }

  encode(encoder: GPUCommandEncoder, steps: readonly Step[]): void {
    this.#checkSteps("encode", steps);
    if (typeof encoder?.beginComputePass !== "function") {
      throw refuse("value", "plan.encode", "encoder", "a GPUCommandEncoder", encoder);
    }
    const slots = steps.map((step) => (step.executable as GpuExecutable).installed.ownSlots());
    recordPass(encoder, bindSteps(steps, slots));
  }

  async profile(steps: readonly Step[]): Promise<Timings> {
    this.#checkSteps("profile", steps);
    return holding(steps, async () => {
      const { profile } = await loadModule("profile", "profiling", () => import("./profile.ts"));
      this.#session.watch.check("profile");
      return profile(this.#session, steps);
    });
  }

  async restore(caller: string, reopen: () => Promise<OpenSession>): Promise<void> {
    if (!this.isLost) return;
    await restore({
      caller,
      patience: this.#patience,
      executables: this.#executables,
      reopen,
      install: (session, source) => this.#install(session, source),
      isDisposed: () => this.#disposed,
      changeTo: (session) => {
        const before = this.#session;
        this.#session = session;
        before.end();
      },
    });
  }

  memory(): MemoryUse {
    return this.#session.pool.memory();
  }

  dispose(): void {
    this.#disposed = true;
    this.#session.end();
  }

  #register(source: ExecutableSource, installed: InstalledProgram): GpuExecutable {
    const executable = new GpuExecutable(source, installed, (disposed) => this.#executables.delete(disposed));
    this.#executables.add(executable);
    return executable;
  }

  /** Plans, compiles and makes the buffers. @throws FastRpbError codes `"limit"`, `"unavailable"`, `"lost"` */
  async #install(session: Session, source: ExecutableSource): Promise<InstalledProgram> {
    const { caller } = source;
    session.watch.check(caller);
    const program = await planFor(session, source);
    const make = (tried: Program) => this.#make(session, caller, tried);
    const made = await make(program);
    if (!(made instanceof FastRpbError)) return made;
    const planWith = (workspaceBytes: number) => planSource(source, { ...session.limits, workspaceBytes });
    const { installInLess } = await loadModule(caller, "plans for little memory", () => import("./short-memory.ts"));
    return installInLess(caller, session, { program, error: made }, planWith, make);
  }

  /** The program on the device, with its workspace, which the pool then has ready for the first run; or the reason why not. */
  async #make(session: Session, caller: string, program: Program): Promise<InstalledProgram | FastRpbError> {
    const total = program.dispatches.length;
    this.#onCompile({ label: program.label, done: 0, total });
    const pipelines = await session.watch.compiled(caller, compilePipelines(session, caller, program));
    const [{ made, slots }, fault] = session.guard(caller, () => {
      const installed = new InstalledProgram(session, program, pipelines);
      return { made: installed, slots: installed.acquireSlots() };
    });
    const error = await session.watch.answer(caller, fault);
    for (const slot of slots) {
      if (error) session.pool.discard(slot);
      session.pool.release(slot);
    }
    if (error) {
      made.discard();
      made.dispose();
      return error;
    }
    this.#onCompile({ label: program.label, done: total, total });
    return made;
  }

  /** Makes a storage; where the device could not, reading it tells, and its buffer is not used again. */
  #watched(label: string, make: () => GpuStorage): GpuStorage {
    const { pool } = this.#session;
    const [storage, fault] = this.#session.guard(label, make);
    storage.madeWith(fault);
    void fault.then((error) => {
      if (!error) return;
      pool.discard(storage.buffer);
      pool.trim(); // for the next one
    });
    return storage;
  }

  #newStorage(byteLength: number, label: string): GpuStorage {
    const buffer = this.#session.pool.acquire(wholeWords(byteLength), STORAGE_USAGE, label);
    return new GpuStorage(this.#session, buffer, 0, byteLength);
  }

  /** @throws FastRpbError code `"lost"`, also for what the device before had */
  #checkSteps(caller: string, steps: readonly Pick<Step, "bindings">[]): void {
    this.#session.watch.check(caller);
    for (const { bindings } of steps) {
      for (const name in bindings) {
        if ((bindings[name] as GpuStorage).session === this.#session) continue;
        throw new FastRpbError("lost", `${caller}: ${name} was on a GPU device that was lost. Make it again.`);
      }
    }
  }
}

/** Plans. Where a slow device would take long, it is first found out how fast this one is. @throws FastRpbError codes `"limit"`, `"lost"` */
async function planFor(session: Session, source: ExecutableSource): Promise<Program> {
  const plan = (limits: PlannerLimits) => {
    try {
      return planSource(source, limits);
    } catch (error) {
      if (error instanceof LongWorkgroupError) return undefined;
      throw error;
    }
  };
  const program = plan(session.limits);
  if (program && !program.isLong) return program;
  await session.measure(source.caller);
  const { limits } = session;
  // What a slow device is trusted with is not refused to one that was busy when it was measured.
  return plan(limits) ?? planSource(source, limits.speed.paces ? { ...limits, speed: SLOW_GPU } : limits);
}

/** Data for writeBuffer, which takes whole words: an odd count of float16 is followed by a zero. */
function filledUp(data: TensorData): TensorData & ArrayBufferView<ArrayBuffer> {
  if (data.byteLength === wholeWords(data.byteLength)) return data as TensorData & ArrayBufferView<ArrayBuffer>;
  const filled = new Uint16Array(data.length + 1);
  filled.set(data);
  return filled;
}

/** Does work with the memory of steps, of which callers may dispose meanwhile. */
async function holding<T>(steps: readonly Step[], work: () => Promise<T>): Promise<T> {
  const storages = steps.flatMap((step) => Object.values(step.bindings) as GpuStorage[]);
  for (const storage of storages) storage.hold();
  try {
    return await work();
  } finally {
    for (const storage of storages) storage.letGo();
  }
}
