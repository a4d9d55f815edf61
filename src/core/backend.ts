/**
 * What a backend offers to the layer above it. There are two: `gpu/` runs Programs on a GPUDevice, `cpu/` runs the same specs in
 * float64. Everything that a caller sees (validation, tensors, plans) is written once, on top of this.
 */
import type { Choices } from "./choices.ts";
import type { FastRpbError } from "./errors.ts";
import type { PlannerLimits } from "./limits.ts";

/**
 * What tensors hold: float32 numbers, the bits of float16 ones, which only devices with `shader-f16` know, or indices and lengths; on the CPU also
 * the float64 numbers of a graph.
 */
export type TensorData = Float32Array | Uint16Array | Uint32Array | Float64Array;

/** Memory that holds one tensor or spectrum. */
export interface Storage {
  /** Bytes of payload; the memory behind it is filled up to whole words of 4. */
  readonly byteLength: number;
  /** The GPU buffer, and where in it the payload starts; `undefined` and 0 on the CPU. */
  readonly buffer: GPUBuffer | undefined;
  readonly byteOffset: number;
  /** Whether it went with its device. */
  readonly lost: boolean;
  /** {@link buffer} for somebody else, who may destroy it: whether work on it is well is asked anew from now on. */
  lend(): GPUBuffer | undefined;
  /** Copies the payload into `target`, which has exactly `byteLength` bytes. Rejects where work that wrote it has failed. */
  read(target: TensorData): Promise<void>;
  /** Adds to what its reading tells: what went wrong in the work that wrote it. `fault` never rejects. */
  taint(fault: Promise<FastRpbError | undefined>): void;
  /** Gives the memory back; a borrowed buffer is left alone. Called at most once. */
  release(): void;
}

/** Tensors by their names in an operation: `x`, `q`, `weights`, `out`, … */
export type Bindings = Readonly<Record<string, Storage>>;

/** One GPU dispatch of a plan, as frozen data. */
export interface DispatchInfo {
  readonly label: string;
  readonly workgroups: readonly [number, number, number];
  readonly workgroupSize: readonly [number, number, number];
  /** Bytes that the dispatch reads: every load of a tensor or of workspace, and each constant table once. */
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly flops: number;
  /** What the planner reckons with: on this device where it was measured, or on a slow GPU, or on a software one. At most 0.25. */
  readonly estimatedSeconds: number;
}

export interface Cost {
  /** Number of dispatches; 0 on the CPU. */
  readonly dispatches: number;
  /** Sum of the bytes read and written by every dispatch; on the CPU, `bytesMinimum`. */
  readonly bytesMoved: number;
  /** Each input read once plus each output written once. */
  readonly bytesMinimum: number;
  readonly flops: number;
  /** Scratch memory held while the plan runs. */
  readonly workspaceBytes: number;
}

/** A compiled operation. */
export interface Executable {
  readonly dispatches: readonly DispatchInfo[];
  readonly cost: Cost;
  /** Bytes of each tensor it binds, by name. */
  readonly bytes: Readonly<Record<string, number>>;
  dispose(): void;
}

export interface Step {
  readonly executable: Executable;
  readonly bindings: Bindings;
}

export interface DispatchTiming {
  readonly label: string;
  /** Time on the GPU, where the device has `timestamp-query` and its clock did not jump back. */
  readonly milliseconds: number | undefined;
}

export interface Timings {
  /** From the submit to the end of the work, as the host sees it. */
  readonly milliseconds: number;
  readonly dispatches: readonly DispatchTiming[];
}

/** What a runtime holds at the moment. */
export interface MemoryUse {
  /** Bytes held by tensors, spectra and plans. */
  readonly liveBytes: number;
  /** Bytes of idle buffers, kept for the next run; at most `workspaceBytes`. */
  readonly pooledBytes: number;
  /** How many buffers make up `liveBytes`. */
  readonly buffers: number;
}

/** How far a run is that is submitted bit by bit. */
export interface RunProgress {
  /** Dispatches that are finished; on the CPU, operations. */
  readonly done: number;
  readonly total: number;
  /** Share of the work that is finished, as the planner estimates it: from 0 to 1. */
  readonly fraction: number;
}

export interface SliceOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: RunProgress) => void) | undefined;
}

export interface CompileProgress {
  readonly label: string;
  readonly done: number;
  readonly total: number;
}

/** A device, and what plans may use of it. */
export interface OpenSession {
  readonly open: {
    readonly device: GPUDevice;
    /** Whether the runtime made the device, and so may destroy it. */
    readonly owned: boolean;
    readonly adapterInfo: GPUAdapterInfo | undefined;
  };
  readonly limits: PlannerLimits;
}

/** @typeParam Task what it compiles: an operation with a spec */
export interface Backend<Task = unknown> {
  readonly kind: "webgpu" | "cpu";
  readonly limits: PlannerLimits;
  readonly device: GPUDevice | undefined;
  readonly adapterInfo: GPUAdapterInfo | undefined;
  /** Settles when the device is lost; never on the CPU. */
  readonly lost: Promise<GPUDeviceLostInfo>;
  readonly isLost: boolean;
  allocate(byteLength: number, label: string): Storage;
  upload(data: TensorData, label: string): Storage;
  /** Writes `data` over what a storage of that size holds, in the order of runs: those before read what was there. */
  write(storage: Storage, data: TensorData): void;
  /**
   * Memory that a recording in the caller's encoder reads, whose end nobody tells: it counts for no one, and is freed with the command buffer that
   * uses it, by garbage collection.
   */
  uploadTransient(data: TensorData, label: string): Storage;
  /** A view of memory that the caller owns. The CPU backend has none and throws code `"unavailable"`. */
  wrap(buffer: GPUBuffer, byteOffset: number, byteLength: number): Storage;
  /** Plans and compiles. Rejects with code `"limit"` where the device is too small. The CPU has nothing to choose. */
  compile(caller: string, task: Task, choices?: Choices): Promise<Executable>;
  /** {@link compile} at once: a kernel that does not compile is reported by the reading of what it should have written. */
  compileNow(caller: string, task: Task, choices?: Choices): Executable;
  /** Runs the steps in order: on the GPU one encoder, one submit, no wait. */
  run(steps: readonly Step[]): void;
  /**
   * Runs the steps bit by bit, waits, and keeps the storages until then, whether their tensors are disposed of or not.
   * Rejects with code `"aborted"` between two bits; outputs are then half written.
   */
  runSliced(caller: string, steps: readonly Step[], options: SliceOptions): Promise<void>;
  /** Records the steps into the caller's encoder. The CPU backend throws code `"unavailable"`. */
  encode(encoder: GPUCommandEncoder, steps: readonly Step[]): void;
  /** Runs the steps, waits, and tells how long they took. */
  profile(steps: readonly Step[]): Promise<Timings>;
  /**
   * After a loss, moves to another device all that was compiled. Nothing on a backend that is not lost.
   * Rejects with code `"lost"` where there is none after several tries, and stays lost.
   */
  restore(caller: string, reopen: () => Promise<OpenSession>): Promise<void>;
  memory(): MemoryUse;
  dispose(): void;
}
