import { MissingParts } from "../operations/parts.ts";
import { loadProgram, planProgram } from "../operations/planners.ts";
import type { Program } from "../program/program.ts";
import type { Backend, CompileProgress, MemoryUse, OpenSession, SliceOptions, Step, TensorData, Timings } from "../core/backend.ts";
import type { Choices } from "../core/choices.ts";
import { FastRpbError, refuse } from "../core/errors.ts";
import { type PlannerLimits, wholeWords } from "../core/limits.ts";
import { loadPart } from "../core/load.ts";
import type { OperationSpec } from "../operations/specs.ts";
import { type CompileRequest, GpuExecutable } from "./executable.ts";
import { compilePipelines, InstalledProgram } from "./installed-program.ts";
import type { profile } from "./profile.ts";
import { Session } from "./session.ts";
import { acquireWorkspace, passFault, record } from "./steps.ts";
import { GpuStorage } from "./storage.ts";
import { STORAGE, STORAGE_USAGE } from "./usage.ts";
import type { Patience } from "./watch.ts";

/** Runs Programs on a GPUDevice: one encoder and one submit per run, workspace from the pool. */
export class GpuBackend implements Backend {
  readonly kind = "webgpu";
  readonly #onCompile: (progress: CompileProgress) => void;
  readonly #patience: Patience | undefined;
  readonly #executables = new Set<GpuExecutable>();
  #session: Session;
  #profiler: typeof profile | undefined;
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
    this.#session.watch.check(label);
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

  wrap(buffer: GPUBuffer, byteOffset: number, byteLength: number): GpuStorage {
    const caller = "runtime.wrap";
    this.#session.watch.check(caller);
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
    return new GpuStorage(this.#session, { buffer, byteOffset, byteLength }, true);
  }

  async compile(caller: string, spec: OperationSpec, choices?: Choices): Promise<GpuExecutable> {
    const session = this.#session;
    const request: CompileRequest = { caller, spec, choices };
    const installed = await this.#install(session, request);
    // Restored meanwhile: what was compiled is of the device before.
    if (session !== this.#session)
      throw new FastRpbError("lost", `${caller}: the GPU device was lost meanwhile, and another one is in its place. Try again.`);
    return this.#register(request, installed);
  }

  compileNow(caller: string, spec: OperationSpec, choices?: Choices): GpuExecutable {
    this.#session.watch.check(caller);
    const request: CompileRequest = { caller, spec, choices };
    const program = planNow(request, this.limits);
    // What goes wrong here goes wrong again in every run of it, and is told there.
    const [installed] = this.#session.guard(caller, () => InstalledProgram.compileNow(this.#session, program));
    return this.#register(request, installed);
  }

  async prepare(caller: string, spec: OperationSpec, choices?: Choices): Promise<void> {
    try {
      await loadProgram(caller, spec, limitsOf({ caller, spec, choices }, this.limits));
    } catch (error) {
      // A device that is too small for it says so when it is compiled.
      if (!(error instanceof FastRpbError && error.code === "limit")) throw error;
    }
  }

  run(steps: readonly Step[]): void {
    this.#checkSteps("run", steps);
    this.#submit(steps, (encoder, slots) => {
      const pass = encoder.beginComputePass({ label: "fastrpb" });
      record(pass, steps, slots);
      pass.end();
    });
  }

  async runSliced(caller: string, steps: readonly Step[], options: SliceOptions): Promise<void> {
    const { runSliced } = await loadPart(caller, "runs in slices", () => import("./sliced-run.ts"));
    this.#checkSteps(caller, steps);
    const storages = steps.flatMap((step) => Object.values(step.bindings) as GpuStorage[]);
    for (const storage of storages) storage.hold();
    try {
      await runSliced(this.#session, caller, steps, options);
    } finally {
      for (const storage of storages) storage.letGo();
    }
  }

  encode(encoder: GPUCommandEncoder, steps: readonly Step[]): void {
    this.#checkSteps("encode", steps);
    if (typeof encoder?.beginComputePass !== "function") {
      throw refuse("value", { caller: "plan.encode", argument: "encoder", expected: "a GPUCommandEncoder", got: encoder });
    }
    const slots = steps.map((step) => (step.executable as GpuExecutable).installed.ownSlots());
    const pass = encoder.beginComputePass({ label: "fastrpb" });
    record(pass, steps, slots);
    pass.end();
  }

  loadProfiler(): Promise<void> | undefined {
    if (this.#profiler) return undefined;
    return loadPart("plan.profile", "profile", () => import("./profile.ts")).then(({ profile }) => {
      this.#profiler = profile;
    });
  }

  async profile(steps: readonly Step[]): Promise<Timings> {
    this.#checkSteps("profile", steps);
    return this.#profiler!(this.#session, steps, (recordInto) => this.#submit(steps, recordInto));
  }

  async restore(caller: string, reopen: () => Promise<OpenSession>): Promise<void> {
    if (!this.isLost) return;
    const { restore } = await loadPart(caller, "restore", () => import("./restore.ts"));
    await restore({
      caller,
      patience: this.#patience,
      executables: this.#executables,
      reopen,
      install: (session, request) => this.#install(session, request),
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

  #register(request: CompileRequest, installed: InstalledProgram): GpuExecutable {
    const executable = new GpuExecutable(request, installed, (disposed) => this.#executables.delete(disposed));
    this.#executables.add(executable);
    return executable;
  }

  /** Plans, compiles and makes the buffers. @throws FastRpbError codes `"limit"`, `"unavailable"`, `"lost"` */
  async #install(session: Session, request: CompileRequest): Promise<InstalledProgram> {
    const { caller, spec } = request;
    session.watch.check(caller);
    const program = await loadProgram(caller, spec, limitsOf(request, session.limits));
    const make = (tried: Program) => this.#make(session, caller, tried);
    const made = await make(program);
    if (!(made instanceof FastRpbError)) return made;
    const { installInLess } = await loadPart(caller, "plans for less memory", () => import("./short-memory.ts"));
    const planFor = (workspaceBytes: number) => loadProgram(caller, spec, limitsOf(request, { ...session.limits, workspaceBytes }));
    return installInLess(caller, session, { program, error: made }, planFor, make);
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
    storage.memoryFault = storage.fault = fault;
    void fault.then((error) => {
      if (!error) return;
      pool.discard(storage.buffer);
      pool.trim(); // for the next one
    });
    return storage;
  }

  #newStorage(byteLength: number, label: string): GpuStorage {
    const buffer = this.#session.pool.acquire(wholeWords(byteLength), STORAGE_USAGE, label);
    return new GpuStorage(this.#session, { buffer, byteOffset: 0, byteLength }, false);
  }

  /** One encoder, one submit; the workspace goes back to the pool after it. Faults reach whatever the steps write. */
  #submit(
    steps: readonly Step[],
    recordInto: (encoder: GPUCommandEncoder, slots: readonly (readonly GPUBuffer[])[]) => void,
  ): Promise<FastRpbError | undefined> {
    const session = this.#session;
    const [workspace, fault] = session.guard("run", () => {
      const acquired = acquireWorkspace(steps);
      try {
        const encoder = session.device.createCommandEncoder({ label: "fastrpb" });
        recordInto(encoder, acquired.slots);
        session.device.queue.submit([encoder.finish()]);
      } finally {
        for (const buffer of acquired.buffers) session.pool.release(buffer);
      }
      return acquired.buffers;
    });
    void fault.then((error) => {
      if (error) for (const buffer of workspace) session.pool.discard(buffer);
    });
    return passFault(steps, fault);
  }

  /** @throws FastRpbError code `"lost"`, also for what the device before had */
  #checkSteps(caller: string, steps: readonly Step[]): void {
    this.#session.watch.check(caller);
    for (const { bindings } of steps) {
      for (const name of Object.keys(bindings)) {
        if ((bindings[name] as GpuStorage).session === this.#session) continue;
        throw new FastRpbError("lost", `${caller}: ${name} was on a GPU device that was lost. Make it again.`);
      }
    }
  }
}

function limitsOf({ choices }: CompileRequest, limits: PlannerLimits): PlannerLimits {
  return choices ? { ...limits, choices } : limits;
}

/** @throws FastRpbError codes `"limit"`, and `"unavailable"` where parts of the planner are not loaded */
function planNow(request: CompileRequest, limits: PlannerLimits): Program {
  const { caller, spec } = request;
  try {
    return planProgram(caller, spec, limitsOf(request, limits));
  } catch (error) {
    if (!(error instanceof MissingParts)) throw error;
    throw new FastRpbError("unavailable", `${caller}: ${error.message}. Await plan.compileBackward() first.`, { cause: error });
  }
}

/** Data for writeBuffer, which takes whole words: an odd count of float16 is followed by a zero. */
function filledUp(data: TensorData): TensorData & ArrayBufferView<ArrayBuffer> {
  if (data.byteLength === wholeWords(data.byteLength)) return data as TensorData & ArrayBufferView<ArrayBuffer>;
  const filled = new Uint16Array(data.length + 1);
  filled.set(data);
  return filled;
}
