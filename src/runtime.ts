import { createCpuBackend } from "./cpu/backend.ts";
import { GpuBackend } from "./gpu/backend.ts";
import { borrowDevice, deviceLimits, openDevice } from "./gpu/device.ts";
import { AttentionPlan, ComplexMultiplyPlan, FftPlan, type PlanContext, ToeplitzPlan } from "./plans.ts";
import { selfTest, type SelfTestReport } from "./self-test.ts";
import type { Backend, Executable, MemoryUse } from "./spec/backend.ts";
import { checkEnum, checkOptions, checkShape, elementCount, MAX_ELEMENTS } from "./spec/check.ts";
import { FastRpbError, refuse } from "./spec/errors.ts";
import { capLimits, DEFAULT_LIMITS, DEFAULT_WORKSPACE_BYTES, type LimitName, type PlannerLimits } from "./spec/limits.ts";
import {
  type AttentionOptions,
  attentionSpec,
  type ComplexMultiplyOptions,
  complexMultiplySpec,
  type FftOptions,
  fftSpec,
  type OperationSpec,
  spectrumSpec,
  type ToeplitzOptions,
  toeplitzSpec,
} from "./spec/operations.ts";
import { BYTES_PER_ELEMENT, type DType, DTYPES, Tensor } from "./spec/tensor.ts";

/** Where {@link createRuntime}, or the making of a plan, is at. */
export interface Progress {
  readonly stage: "adapter" | "device" | "compile" | "ready";
  /** In stage `"compile"`: the plan, and how many of its kernels are compiled. */
  readonly label?: string;
  readonly done?: number;
  readonly total?: number;
}

export interface RuntimeOptions {
  /** `"auto"` (default) takes WebGPU where there is an adapter, the CPU otherwise; {@link Runtime.backend} says which. */
  backend?: "auto" | "webgpu" | "cpu";
  /** Default: `globalThis.navigator?.gpu`, read when the runtime is created. In Node, pass that of a WebGPU package. */
  gpu?: GPU;
  /** A device of the caller's: borrowed, never destroyed. */
  device?: GPUDevice;
  powerPreference?: GPUPowerPreference;
  /** Caps on what plans may use of the device's limits; a way to test for smaller devices. */
  limits?: Partial<Record<LimitName, number>>;
  /** Bound on the scratch memory of one run, and on idle pooled memory, in bytes. Default 256 MiB. */
  workspaceBytes?: number;
  /** Aborts the creation. */
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}

/**
 * Opens a device, or the CPU backend where there is none.
 *
 * ```ts
 * const runtime = await createRuntime();
 * console.log(runtime.backend); // "webgpu" or "cpu"
 * ```
 *
 * @throws FastRpbError code `"unavailable"` (`backend: "webgpu"` and no adapter), `"value"` (a bad option), `"aborted"`
 */
export async function createRuntime(options: RuntimeOptions = {}): Promise<Runtime> {
  const caller = "createRuntime";
  checkOptions(caller, "options", options, ["backend", "gpu", "device", "powerPreference", "limits", "workspaceBytes", "signal", "onProgress"]);
  const wanted = checkEnum(caller, "options.backend", options.backend ?? "auto", ["auto", "webgpu", "cpu"]);
  if (options.powerPreference !== undefined) checkEnum(caller, "options.powerPreference", options.powerPreference, ["low-power", "high-performance"]);
  const workspaceBytes = options.workspaceBytes ?? DEFAULT_WORKSPACE_BYTES;
  if (!Number.isSafeInteger(workspaceBytes) || workspaceBytes < 1) {
    throw refuse("value", { caller, argument: "options.workspaceBytes", expected: "a positive integer", got: workspaceBytes });
  }
  const caps = options.limits ?? {};
  capLimits(caller, DEFAULT_LIMITS, caps, workspaceBytes); // bad caps are refused before a device is asked for
  const progress = (report: Progress) => options.onProgress?.(Object.freeze(report));
  const checkAborted = () => {
    if (options.signal?.aborted) throw new FastRpbError("aborted", `${caller}: aborted by the caller.`, { cause: options.signal.reason });
  };
  checkAborted();

  let backend: Backend | undefined;
  if (wanted !== "cpu") {
    const opening = options.device
      ? Promise.resolve(borrowDevice(caller, options.device))
      : openDevice({
          caller,
          gpu: options.gpu ?? globalThis.navigator?.gpu,
          powerPreference: options.powerPreference,
          onStage: (stage) => progress({ stage }),
          checkAborted,
        });
    const open = await opening.catch((error: unknown) => {
      // An adapter that refuses its device is as good as none.
      if (wanted === "auto" && error instanceof FastRpbError && error.code === "unavailable") return undefined;
      throw error;
    });
    if (open) {
      const limits = capLimits(caller, deviceLimits(open.device), caps, workspaceBytes);
      backend = new GpuBackend(open, limits, (compile) => progress({ stage: "compile", ...compile }));
    } else if (wanted === "webgpu") {
      throw new FastRpbError(
        "unavailable",
        `${caller}: options.backend is "webgpu", but there is no WebGPU adapter. Use "auto" to fall back to the CPU; in Node, pass options.gpu.`,
      );
    }
  }
  backend ??= createCpuBackend(capLimits(caller, DEFAULT_LIMITS, caps, workspaceBytes));
  progress({ stage: "ready" });
  return new Runtime(backend);
}

/** A backend with its tensors and plans. Made by {@link createRuntime}. */
export class Runtime {
  readonly #backend: Backend;
  readonly #context: PlanContext;
  #disposed = false;

  /** @internal */
  constructor(backend: Backend) {
    this.#backend = backend;
    this.#context = { owner: this, backend, plans: new Set() };
  }

  get backend(): "webgpu" | "cpu" {
    return this.#backend.kind;
  }

  /** The GPU device; `undefined` on the CPU. */
  get device(): GPUDevice | undefined {
    return this.#backend.device;
  }

  get adapterInfo(): GPUAdapterInfo | undefined {
    return this.#backend.adapterInfo;
  }

  /** What plans may use: the device's limits, or the caller's caps where these are lower. */
  get limits(): PlannerLimits {
    return this.#backend.limits;
  }

  /** Settles when the device is lost, or destroyed by `dispose`. Never settles on the CPU. */
  get lost(): Promise<GPUDeviceLostInfo> {
    return this.#backend.lost;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** Memory that the runtime holds now. */
  memory(): MemoryUse {
    return this.#backend.memory();
  }

  /**
   * Copies `data` into a new tensor.
   *
   * @param data row-major; complex data is interleaved (re, im), twice as long as the product of the shape
   * @throws FastRpbError codes `"value"`, `"shape"`, `"limit"`, `"disposed"`, `"lost"`
   */
  tensor(data: Float32Array, shape: readonly number[], dtype: DType = "f32"): Tensor {
    const caller = "runtime.tensor";
    const { checked, bytes } = this.#layout(caller, shape, dtype);
    if (!(data instanceof Float32Array)) throw refuse("value", { caller, argument: "data", expected: "a Float32Array", got: data });
    if (data.byteLength !== bytes) {
      throw refuse("shape", {
        caller,
        argument: "data",
        expected: `${bytes / 4} floats for shape [${checked.join(", ")}] of dtype "${dtype}"`,
        got: data.length,
      });
    }
    return new Tensor(this, this.#backend.upload(data, "tensor"), checked, dtype);
  }

  /**
   * A caller's GPU buffer as a tensor: no copy, never destroyed. The buffer needs the usage STORAGE (and COPY_SRC for `tensor.data`).
   *
   * @param options.offset where the data starts, in bytes: a multiple of `minStorageBufferOffsetAlignment`. Default 0
   * @throws FastRpbError codes `"value"`, `"shape"` (buffer too small), `"unavailable"` (CPU), `"disposed"`, `"lost"`
   */
  wrap(buffer: GPUBuffer, shape: readonly number[], options: { readonly dtype?: DType; readonly offset?: number } = {}): Tensor {
    const caller = "runtime.wrap";
    checkOptions(caller, "options", options, ["dtype", "offset"]);
    const dtype = options.dtype ?? "f32";
    const { checked, bytes } = this.#layout(caller, shape, dtype);
    const offset = options.offset ?? 0;
    if (!Number.isSafeInteger(offset) || offset < 0) {
      throw refuse("value", { caller, argument: "options.offset", expected: "a non-negative integer", got: offset });
    }
    return new Tensor(this, this.#backend.wrap(buffer, offset, bytes), checked, dtype);
  }

  #layout(caller: string, shape: readonly number[], dtype: DType): { readonly checked: readonly number[]; readonly bytes: number } {
    this.#checkAlive(caller);
    checkEnum(caller, "dtype", dtype, DTYPES);
    const checked = checkShape(caller, "shape", shape);
    const bytes = elementCount(checked) * BYTES_PER_ELEMENT[dtype];
    if (bytes > this.limits.maxBufferSize) {
      throw new FastRpbError("limit", `${caller}: the tensor takes ${bytes} bytes, but maxBufferSize is ${this.limits.maxBufferSize}.`);
    }
    if (bytes / 4 > MAX_ELEMENTS)
      throw new FastRpbError("limit", `${caller}: the tensor takes ${bytes / 4} floats, but a u32 numbers ${MAX_ELEMENTS}.`);
    return { checked, bytes };
  }

  /**
   * Plans a complex FFT: numpy's conventions, any 7-smooth length, along any one axis.
   *
   * ```ts
   * const plan = await runtime.fft({ shape: [16, 1024] });
   * const spectrum = plan.run(x); // x: complex64 [16, 1024]
   * ```
   *
   * @throws FastRpbError codes `"value"`, `"unavailable"`, `"limit"`, `"disposed"`, `"lost"`
   */
  async fft(options: FftOptions): Promise<FftPlan> {
    const caller = "runtime.fft";
    this.#checkAlive(caller);
    const spec = fftSpec(options);
    const [executable] = await this.#compile(caller, spec);
    return new FftPlan(this.#context, spec, executable!);
  }

  /**
   * Plans a complex pointwise product; the second operand may lack leading axes.
   *
   * @throws FastRpbError codes `"value"`, `"limit"`, `"disposed"`, `"lost"`
   */
  async complexMultiply(options: ComplexMultiplyOptions): Promise<ComplexMultiplyPlan> {
    const caller = "runtime.complexMultiply";
    this.#checkAlive(caller);
    const spec = complexMultiplySpec(options);
    const [executable, repeating] = await this.#compile(caller, spec, complexMultiplySpec(options, true));
    return new ComplexMultiplyPlan(this.#context, spec, executable!, repeating!);
  }

  /**
   * Plans the FastRPB product alone: a Toeplitz matrix of learned weights for every head, times `v`, in O(N log N).
   *
   * @throws FastRpbError codes `"value"`, `"unavailable"`, `"limit"`, `"disposed"`, `"lost"`
   */
  async toeplitz(options: ToeplitzOptions): Promise<ToeplitzPlan> {
    const caller = "runtime.toeplitz";
    this.#checkAlive(caller);
    const spec = toeplitzSpec(options);
    const [executable, prepare] = await this.#compile(caller, spec, spectrumSpec(spec));
    return new ToeplitzPlan(this.#context, spec, executable!, prepare!);
  }

  /**
   * Plans linear attention, O(N), with FastRPB added where `bias` is `"fastrpb"` (Zubkov and Gavrilov, arXiv 2202.11364).
   *
   * ```ts
   * const attention = await runtime.attention({ heads: 8, length: 4096, headDim: 64, featureMap: "sikf", bias: "fastrpb" });
   * const out = attention.run({ q, k, v, bias }); // [1, 8, 4096, 64]
   * console.log(await out.data());
   * ```
   *
   * @throws FastRpbError codes `"value"`, `"unavailable"`, `"limit"`, `"disposed"`, `"lost"`
   */
  async attention(options: AttentionOptions): Promise<AttentionPlan> {
    const caller = "runtime.attention";
    this.#checkAlive(caller);
    const spec = attentionSpec(options);
    const [executable, prepare] = await this.#compile(caller, spec, ...(spec.bias === "fastrpb" ? [spectrumSpec(spec)] : []));
    return new AttentionPlan(this.#context, spec, executable!, prepare);
  }

  /** Compiles all or none: what succeeded is freed when another fails. */
  async #compile(caller: string, ...specs: OperationSpec[]): Promise<Executable[]> {
    const results = await Promise.allSettled(specs.map((spec) => this.#backend.compile(caller, spec)));
    const failed = results.find((result) => result.status === "rejected");
    const executables = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    if (!failed && !this.#disposed) return executables;
    if (!this.#disposed) for (const executable of executables) executable.dispose();
    if (failed) throw failed.reason;
    throw this.#disposedError(caller);
  }

  /**
   * Compares every kernel with the float64 CPU backend on this runtime's device: whether to trust it is then measured, not hoped. Most
   * of its time goes into compiling.
   *
   * @throws FastRpbError codes `"disposed"`, `"lost"`
   */
  async selfTest(): Promise<SelfTestReport> {
    this.#checkAlive("runtime.selfTest");
    const reference = new Runtime(createCpuBackend(this.limits));
    try {
      return await selfTest(this, reference);
    } finally {
      reference.dispose();
    }
  }

  /** Frees everything that the runtime made: plans, tensors, and the device unless it is borrowed. Safe to call twice. */
  dispose(): void {
    if (this.#disposed) return;
    for (const plan of this.#context.plans) plan.dispose();
    this.#disposed = true;
    this.#backend.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #checkAlive(caller: string): void {
    if (this.#disposed) throw this.#disposedError(caller);
  }

  #disposedError(caller: string): FastRpbError {
    return new FastRpbError("disposed", `${caller}: the runtime was disposed.`);
  }
}
