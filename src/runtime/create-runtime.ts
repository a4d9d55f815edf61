import type { Backend } from "../core/backend.ts";
import { checkEnum, checkOptions } from "../core/check.ts";
import { checkAborted, FastRpbError, refuse } from "../core/errors.ts";
import { capLimits, DEFAULT_LIMITS, DEFAULT_WORKSPACE_BYTES, type LimitName } from "../core/limits.ts";
import { loadModule } from "../core/load.ts";
import type { Task } from "../operations/operation.ts";
import { loadCpuBackend, type Opener, Runtime } from "./runtime.ts";
import type { Tuned, Tuning } from "./tuning.ts";

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
  /** What {@link Runtime.tune} found on this device earlier. Of another device, it is ignored. */
  tuning?: Tuning;
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
  checkOptions(caller, "options", options, [
    "backend",
    "gpu",
    "device",
    "powerPreference",
    "limits",
    "workspaceBytes",
    "tuning",
    "signal",
    "onProgress",
  ]);
  const wanted = checkEnum(caller, "options.backend", options.backend ?? "auto", ["auto", "webgpu", "cpu"]);
  if (options.powerPreference !== undefined) checkEnum(caller, "options.powerPreference", options.powerPreference, ["low-power", "high-performance"]);
  const workspaceBytes = options.workspaceBytes ?? DEFAULT_WORKSPACE_BYTES;
  if (!Number.isSafeInteger(workspaceBytes) || workspaceBytes < 1) {
    throw refuse("value", caller, "options.workspaceBytes", "a positive integer", workspaceBytes);
  }
  const caps = options.limits ?? {};
  capLimits(caller, DEFAULT_LIMITS, caps, workspaceBytes); // bad caps are refused before a device is asked for
  const tuning = options.tuning === undefined ? undefined : await loadTuning(caller, options.tuning);
  const progress = (report: Progress) => options.onProgress?.(Object.freeze(report));
  checkAborted(caller, options.signal);

  const gpu = options.gpu ?? globalThis.navigator?.gpu;
  const loadGpu = (by: string) => loadModule(by, "WebGPU", () => import("../gpu/open.ts"));
  const open: Opener = async (by, { device, signal }) => {
    const { openSession } = await loadGpu(by);
    return openSession({
      caller: by,
      gpu,
      device,
      powerPreference: options.powerPreference,
      onStage: (stage) => progress({ stage }),
      signal,
      limitsOf: (available, defaults) => capLimits(by, available, caps, workspaceBytes, defaults),
      speedOf: (adapterInfo) => tuning?.(adapterInfo)?.speed,
    });
  };
  let backend: Backend<Task> | undefined;
  if (wanted !== "cpu" && (options.device ?? gpu)) {
    const session = await open(caller, options).catch((error: unknown) => {
      // An adapter that refuses its device, or does not answer, is as good as none.
      if (wanted === "auto" && error instanceof FastRpbError && error.code === "unavailable") return undefined;
      throw error;
    });
    if (session) backend = (await loadGpu(caller)).createGpuBackend(session, (compile) => progress({ stage: "compile", ...compile }));
  }
  if (!backend && wanted === "webgpu") {
    throw new FastRpbError(
      "unavailable",
      `${caller}: options.backend is "webgpu", but there is no WebGPU adapter. Use "auto" to fall back to the CPU; in Node, pass options.gpu.`,
    );
  }
  backend ??= await loadCpuBackend(caller, capLimits(caller, DEFAULT_LIMITS, caps, workspaceBytes));
  progress({ stage: "ready" });
  return new Runtime(backend, { tuned: tuning?.(backend.adapterInfo), open, borrowed: options.device !== undefined });
}

/** What an earlier tuning says for a device. */
async function loadTuning(caller: string, tuning: unknown): Promise<(adapterInfo: GPUAdapterInfo | undefined) => Tuned | undefined> {
  const { adapterName, readTuning, Tuned } = await loadModule(caller, "tuning", () => import("./tuning.ts"));
  const { adapter, choices, speed } = readTuning(caller, tuning);
  return (adapterInfo) => (adapter === adapterName(adapterInfo) ? new Tuned(choices, speed) : undefined);
}
