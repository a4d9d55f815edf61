import type { Backend, Executable, MemoryUse, OpenSession, TensorData } from "../core/backend.ts";
import { checkEnum, checkOptions, checkShape, copyOptions, elementCount, MAX_ELEMENTS } from "../core/check.ts";
import { checkAborted, FastRpbError, refuse } from "../core/errors.ts";
import { type HalfArray, halfBits } from "../core/half.ts";
import { type PlannerLimits, wholeWords } from "../core/limits.ts";
import { loadModule } from "../core/load.ts";
import { BYTES_PER_ELEMENT, type DType, DTYPES, Tensor } from "../core/tensor.ts";
import type { AttentionOptions } from "../operations/attention/spec.ts";
import type { DecoderOptions } from "../operations/attention/decode/spec.ts";
import type { ComplexMultiplyOptions } from "../operations/complex-multiply/spec.ts";
import type { ConvolveOptions } from "../operations/convolve/spec.ts";
import type { FftOptions } from "../operations/fft/spec.ts";
import type { Task } from "../operations/operation.ts";
import type { ToeplitzOptions } from "../operations/toeplitz/spec.ts";
import type { AttentionPlan, PackedAttentionPlan } from "./attention-plan.ts";
import type { ComplexMultiplyPlan } from "./complex-multiply-plan.ts";
import type { ConvolvePlan } from "./convolve-plan.ts";
import type { Decoder } from "./decoder.ts";
import type { FftPlan } from "./fft-plan.ts";
import type { PlanContext } from "./plan.ts";
import type { SelfTestCase, SelfTestOptions, SelfTestReport } from "./self-test.ts";
import type { ToeplitzPlan } from "./toeplitz-plan.ts";
import type { Tuned, TuneOptions, TuneRequest, Tuning } from "./tuning.ts";

/** Asks for a device as the runtime was told to; `undefined` where there is none. */
export type Opener = (
  caller: string,
  request: { readonly device?: GPUDevice | undefined; readonly signal?: AbortSignal | undefined },
) => Promise<OpenSession | undefined>;

/** What a runtime knows of its making. */
interface Settings {
  readonly tuned?: Tuned | undefined;
  readonly open?: Opener;
  /** The device is the caller's, and another one has to be. */
  readonly borrowed?: boolean;
}

export interface RestoreOptions {
  /** In the place of the one that was lost; a runtime that borrowed its device needs one. */
  readonly device?: GPUDevice;
  readonly signal?: AbortSignal;
}

/** The CPU backend. @throws FastRpbError code `"unavailable"` where its code cannot be loaded */
export async function loadCpuBackend(caller: string, limits: PlannerLimits): Promise<Backend<Task>> {
  const { createCpuBackend } = await loadModule(caller, "the CPU", () => import("../cpu/backend.ts"));
  return createCpuBackend(limits);
}

/** A backend with its tensors and plans. Made by {@link createRuntime}. */
export class Runtime {
  readonly #backend: Backend<Task>;
  readonly #context: PlanContext;
  readonly #selfTests = new Set<() => Promise<readonly SelfTestCase[]>>();
  readonly #settings: Settings;
  #tuned: Tuned | undefined;
  #restoring: Promise<void> | undefined;
  #disposed = false;

  /** @internal */
  constructor(backend: Backend<Task>, settings: Settings) {
    this.#backend = backend;
    this.#settings = settings;
    this.#tuned = settings.tuned;
    this.#context = {
      owner: this,
      backend,
      plans: new Set(),
      spectra: new Set(),
      compile: (caller, tasks) => this.#compile(caller, tasks),
      compileNow: (caller, task) => backend.compileNow(caller, task, this.#tuned?.of(task)),
      checkHalf: (caller, argument, expected) => this.#checkHalf(caller, argument, expected),
    };
  }

  /** @internal Adds to the self-test what loads the cases of a part that is in use, once. */
  static addSelfTests(runtime: Runtime, load: () => Promise<readonly SelfTestCase[]>): void {
    runtime.#selfTests.add(load);
  }

  /** @internal What models work with. */
  static contextOf(runtime: Runtime): PlanContext {
    return runtime.#context;
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

  /**
   * Settles when the device is lost, does not answer any more, or is destroyed by `dispose`; after {@link restore}, there is a new promise.
   * Every call that waits, and every later one, rejects or throws with code `"lost"` then. Never settles on the CPU.
   */
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
   * @param data row-major; complex data is interleaved (re, im), twice as long as the product of the shape. For dtype `"f16"`, the bits of
   *   the numbers, or a `Float16Array` where there is one; for `"u32"` a `Uint32Array`
   * @param dtype `"f16"` needs a device with the feature `shader-f16`: `runtime.device?.features.has("shader-f16")`
   * @throws FastRpbError codes `"value"`, `"shape"`, `"unavailable"` (no float16 on this device), `"limit"`, `"disposed"`, `"lost"`
   */
  tensor(data: Float32Array, shape: readonly number[], dtype?: Exclude<DType, "f16" | "u32">): Tensor;
  tensor(data: Uint32Array, shape: readonly number[], dtype: "u32"): Tensor;
  tensor(data: Uint16Array | HalfArray, shape: readonly number[], dtype: "f16"): Tensor;
  tensor(data: Float32Array | Uint16Array | HalfArray | Uint32Array, shape: readonly number[], dtype: DType = "f32"): Tensor {
    const caller = "runtime.tensor";
    const { checked, bytes } = this.#layout(caller, shape, dtype);
    const half = dtype === "f16";
    const numbers = half ? halfBits(data) : data;
    if (!numbers || !(half || numbers instanceof (dtype === "u32" ? Uint32Array : Float32Array))) {
      const expected = half ? "a Uint16Array of bits, or a Float16Array" : `a ${dtype === "u32" ? "Uint32Array" : "Float32Array"}`;
      throw refuse("value", caller, "data", expected, data);
    }
    if (numbers.byteLength !== bytes) {
      throw refuse(
        "shape",
        caller,
        "data",
        `${bytes / numbers.BYTES_PER_ELEMENT} ${half || dtype === "u32" ? "numbers" : "floats"} for shape [${checked.join(", ")}] of dtype "${dtype}"`,
        numbers.length,
      );
    }
    return new Tensor(this, this.#backend.upload(numbers as TensorData, "tensor"), checked, dtype);
  }

  /**
   * A caller's GPU buffer as a tensor: no copy, never destroyed. The buffer needs the usage STORAGE (and COPY_SRC for `tensor.data`).
   *
   * @param options.dtype default `"f32"`; an odd count of `"f16"` takes 2 bytes more of the buffer, which stay as they are
   * @param options.offset where the data starts, in bytes: a multiple of `minStorageBufferOffsetAlignment`. Default 0
   * @throws FastRpbError codes `"value"`, `"shape"` (buffer too small), `"unavailable"` (CPU, or no float16), `"disposed"`, `"lost"`
   */
  wrap(buffer: GPUBuffer, shape: readonly number[], options: { readonly dtype?: DType; readonly offset?: number } = {}): Tensor {
    const caller = "runtime.wrap";
    checkOptions(caller, "options", options, ["dtype", "offset"]);
    const dtype = options.dtype ?? "f32";
    const { checked, bytes } = this.#layout(caller, shape, dtype);
    const offset = options.offset ?? 0;
    if (!Number.isSafeInteger(offset) || offset < 0) {
      throw refuse("value", caller, "options.offset", "a non-negative integer", offset);
    }
    return new Tensor(this, this.#backend.wrap(buffer, offset, bytes), checked, dtype);
  }

  #layout(caller: string, shape: readonly number[], dtype: DType): { readonly checked: readonly number[]; readonly bytes: number } {
    this.#checkAlive(caller);
    checkEnum(caller, "dtype", dtype, DTYPES);
    if (dtype === "f16") this.#checkHalf(caller, "dtype", '"f32" or "complex64"');
    const checked = checkShape(caller, "shape", shape);
    const bytes = elementCount(checked) * BYTES_PER_ELEMENT[dtype];
    if (wholeWords(bytes) > this.limits.maxBufferSize) {
      throw new FastRpbError("limit", `${caller}: the tensor takes ${bytes} bytes, but maxBufferSize is ${this.limits.maxBufferSize}.`);
    }
    if (bytes / 4 > MAX_ELEMENTS)
      throw new FastRpbError("limit", `${caller}: the tensor takes ${bytes / 4} floats, but a u32 numbers ${MAX_ELEMENTS}.`);
    return { checked, bytes };
  }

  /**
   * Plans an FFT: numpy's conventions, any length, along one to three axes, complex or real.
   *
   * ```ts
   * const plan = await runtime.fft({ shape: [16, 1024] });
   * const spectrum = plan.run(x); // x: complex64 [16, 1024]
   * ```
   *
   * With `storage: "f16"`, input and result take half of the bytes, on devices with `shader-f16`.
   *
   * @throws FastRpbError codes `"value"`, `"unavailable"` (no float16 on this device), `"limit"`, `"disposed"`, `"lost"`
   */
  async fft(options: FftOptions): Promise<FftPlan> {
    const copy = copyOptions(options);
    const { makeFft } = await this.#load("runtime.fft", "FFTs", () => import("./fft-plan.ts"));
    return makeFft(this.#context, copy);
  }

  /**
   * Plans a convolution by FFT, in one dispatch where a row fits into a workgroup: circular or linear, real or complex, along one axis or
   * two.
   *
   * ```ts
   * const plan = await runtime.convolve({ shape: [8, 2048], kernel: [8, 2048], mode: "causal" }); // a kernel for each of 8 channels
   * const y = plan.run(x, kernel); // float32 [8, 2048]
   * ```
   *
   * @throws FastRpbError codes `"value"`, `"limit"`, `"disposed"`, `"lost"`
   */
  async convolve(options: ConvolveOptions): Promise<ConvolvePlan> {
    const copy = copyOptions(options);
    const { makeConvolve } = await this.#load("runtime.convolve", "convolutions", () => import("./convolve-plan.ts"));
    return makeConvolve(this.#context, copy);
  }

  /**
   * Plans a complex pointwise product; the second operand may lack leading axes.
   *
   * @throws FastRpbError codes `"value"`, `"limit"`, `"disposed"`, `"lost"`
   */
  async complexMultiply(options: ComplexMultiplyOptions): Promise<ComplexMultiplyPlan> {
    const copy = copyOptions(options);
    const { makeComplexMultiply } = await this.#load("runtime.complexMultiply", "complex products", () => import("./complex-multiply-plan.ts"));
    return makeComplexMultiply(this.#context, copy);
  }

  /**
   * Plans the FastRPB product alone: a Toeplitz matrix of learned weights for every head, times `v`, in O(N log N).
   *
   * @throws FastRpbError codes `"value"`, `"unavailable"`, `"limit"`, `"disposed"`, `"lost"`
   */
  async toeplitz(options: ToeplitzOptions): Promise<ToeplitzPlan> {
    const copy = copyOptions(options);
    const { makeToeplitz } = await this.#load("runtime.toeplitz", "FastRPB", () => import("./toeplitz-plan.ts"));
    return makeToeplitz(this.#context, copy);
  }

  /**
   * Plans attention: linear, O(N), with one of several feature maps, or the original with softmax; causal or not; with FastRPB (Zubkov and
   * Gavrilov, arXiv 2202.11364) added where `bias` is `"fastrpb"`.
   *
   * ```ts
   * const attention = await runtime.attention({ heads: 8, length: 4096, headDim: 64, featureMap: "sikf", bias: "fastrpb" });
   * const out = attention.run({ q, k, v, bias }); // [1, 8, 4096, 64]
   * console.log(await out.data());
   * ```
   *
   * @throws FastRpbError codes `"value"`, `"unavailable"`, `"limit"`, `"disposed"`, `"lost"`
   */
  attention(options: AttentionOptions & { readonly layout: "packed" }): Promise<PackedAttentionPlan>;
  attention(options: AttentionOptions): Promise<AttentionPlan>;
  async attention(options: AttentionOptions): Promise<AttentionPlan & PackedAttentionPlan> {
    const copy = copyOptions(options);
    const { makeAttention, attentionSpec, loadKind } = await this.#load("runtime.attention", "attention", () => import("./attention-family.ts"));
    const spec = attentionSpec(copy);
    const operation = await this.#load("runtime.attention", "attention of this kind", () => loadKind(spec));
    return makeAttention(this.#context, operation, spec);
  }

  /**
   * Compiles causal linear attention that takes a sequence token by token, as a model does that writes a text: it keeps the sums over the keys so
   * far, so that a token costs the same wherever it stands, and with a FastRPB bias O(log² N) on average, by products of blocks.
   *
   * ```ts
   * const decoder = await runtime.decoder({ heads: 8, length: 4096, headDim: 64, featureMap: "sikf", bias: "fastrpb" });
   * decoder.start({ bias }); // float32 [8, 8191]
   * decoder.step({ q, k, v }); // the beginning of the text, float32 [1, 8, T, 64]
   * const out = decoder.step(next); // one token more: [1, 8, 1, 64]
   * ```
   *
   * @throws FastRpbError codes `"value"`, `"unavailable"`, `"limit"`, `"disposed"`, `"lost"`
   */
  async decoder(options: DecoderOptions): Promise<Decoder> {
    const copy = copyOptions(options);
    const { makeDecoder } = await this.#load("runtime.decoder", "the decoder", () => import("./decoder.ts"));
    return makeDecoder(this.#context, copy);
  }

  /** Compiles all or none: what succeeded is freed when another fails. */
  async #compile(caller: string, tasks: readonly Task[]): Promise<readonly Executable[]> {
    const results = await Promise.allSettled(tasks.map((task) => this.#backend.compile(caller, task, this.#tuned?.of(task))));
    const failed = results.find((result) => result.status === "rejected");
    const executables = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    if (this.#disposed) throw this.#disposedError(caller);
    if (!failed) return executables;
    for (const executable of executables) executable.dispose();
    throw failed.reason;
  }

  /** Half precision is a feature that a device may lack, and the CPU backend does. @throws FastRpbError code `"unavailable"` */
  #checkHalf(caller: string, argument: string, expected: string): void {
    if (this.device?.features.has("shader-f16")) return;
    const why = this.backend === "cpu" ? "the CPU backend has no float16" : "the device lacks shader-f16";
    throw refuse("unavailable", caller, argument, `${expected}, because ${why}`, "f16", "Use float32.");
  }

  async #load<T>(caller: string, what: string, load: () => Promise<T>): Promise<T> {
    this.#checkAlive(caller);
    const module = await loadModule(caller, what, load);
    this.#checkAlive(caller);
    return module;
  }

  /**
   * Measures, on this device, what the planner may choose, and remembers the best: plans that are made afterwards with the same options
   * use it, whatever their batch and number of heads. Takes seconds for each request; hand the result to {@link createRuntime} next time. On the CPU there is nothing to choose.
   *
   * ```ts
   * const tuning = await runtime.tune([{ operation: "fft", options: { shape: [64, 1024] } }]);
   * localStorage.setItem("tuning", JSON.stringify(tuning));
   * ```
   *
   * @returns everything tuned so far, as JSON
   * @throws FastRpbError codes `"value"`, `"limit"`, `"aborted"` (what was finished before is kept), `"disposed"`, `"lost"`
   */
  async tune(requests: readonly TuneRequest[], options: TuneOptions = {}): Promise<Tuning> {
    const caller = "runtime.tune";
    const copy = copyOptions(requests, 5);
    const { tune, Tuned } = await this.#load(caller, "tuning", () => import("./tuning.ts"));
    return tune(caller, this.#context, (this.#tuned ??= new Tuned()), copy, options);
  }

  /**
   * Compares every kernel with the float64 CPU backend on this runtime's device: whether to trust it is then measured, not hoped. Once the runtime
   * has a model of `fastrpb/nn`, its kernels are among them. Most of its time goes into compiling.
   *
   * @throws FastRpbError codes `"aborted"`, `"disposed"`, `"lost"`
   */
  async selfTest(options: SelfTestOptions = {}): Promise<SelfTestReport> {
    const caller = "runtime.selfTest";
    const [{ selfTest }, backend] = await Promise.all([
      this.#load(caller, "the self-test", () => import("./self-test.ts")),
      loadCpuBackend(caller, this.limits),
    ]);
    const more = await Promise.all([...this.#selfTests].map((load) => this.#load(caller, "more of the self-test", load)));
    const reference = new Runtime(backend, {});
    try {
      return await selfTest(caller, this, reference, options, more.flat());
    } finally {
      reference.dispose();
    }
  }

  /**
   * After a loss, asks for another device, at most three times, and compiles all plans for it: they are usable again, as they are. Spectra that
   * were prepared from an array are made again. Tensors are gone with the memory that held them: upload them anew. Does nothing where the
   * device is not lost, and on the CPU.
   *
   * ```ts
   * runtime.lost.then(async () => {
   *   await runtime.restore();
   *   out = attention.run({ q: runtime.tensor(q, shape), … });
   * });
   * ```
   *
   * @throws FastRpbError codes `"lost"` (there is no other device), `"value"` (a borrowed device and no `options.device`), `"limit"` (a plan
   *   does not fit the new device), `"aborted"`, `"disposed"`
   */
  restore(options: RestoreOptions = {}): Promise<void> {
    return (this.#restoring ??= this.#restore(options).finally(() => {
      this.#restoring = undefined;
    }));
  }

  async #restore(options: RestoreOptions): Promise<void> {
    const caller = "runtime.restore";
    this.#checkAlive(caller);
    checkOptions(caller, "options", options, ["device", "signal"]);
    if (!this.#backend.isLost) return;
    const { open, borrowed } = this.#settings;
    if (borrowed && !options.device) {
      throw refuse("value", caller, "options.device", "a GPUDevice, because the one that was lost was borrowed", undefined);
    }
    await this.#backend.restore(caller, async () => {
      checkAborted(caller, options.signal);
      const session = await open?.(caller, options);
      if (!session) throw new FastRpbError("unavailable", `${caller}: there is no adapter.`);
      return session;
    });
    await Promise.all([...this.#context.spectra].map((spectrum) => spectrum.restore(caller)));
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
