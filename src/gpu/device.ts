import type { OpenSession } from "../core/backend.ts";
import { checkAborted, FastRpbError, refuse } from "../core/errors.ts";
import { type Patience, PATIENCE, pause } from "./watch.ts";
import { isAlignment, LIMIT_NAMES, type LimitName } from "../core/limits.ts";

export interface OpenDeviceOptions {
  readonly caller: string;
  readonly gpu: GPU | undefined;
  readonly powerPreference: GPUPowerPreference | undefined;
  readonly onStage: (stage: "adapter" | "device") => void;
  readonly signal: AbortSignal | undefined;
  readonly patience?: Patience;
}

export type OpenDevice = OpenSession["open"];

/** Times of dispatches, and tensors of float16. */
const WANTED_FEATURES: readonly GPUFeatureName[] = ["timestamp-query", "shader-f16"];

/**
 * A device with all that its adapter offers of the limits that the planner uses, and of the features {@link WANTED_FEATURES}.
 *
 * @returns `undefined` where there is no WebGPU or no adapter
 * @throws FastRpbError code `"unavailable"` where an adapter refuses the device
 */
export async function openDevice(options: OpenDeviceOptions): Promise<OpenDevice | undefined> {
  const { gpu, caller } = options;
  if (!gpu) return undefined;
  options.onStage("adapter");
  const adapter = await answered(
    options,
    "requestAdapter",
    gpu.requestAdapter(options.powerPreference ? { powerPreference: options.powerPreference } : {}),
  );
  if (!adapter) return undefined;
  options.onStage("device");
  const requiredLimits: Record<string, number> = {};
  for (const name of LIMIT_NAMES) if (!isAlignment(name)) requiredLimits[name] = adapter.limits[name];
  const requiredFeatures = WANTED_FEATURES.filter((feature) => adapter.features.has(feature));
  const request = adapter.requestDevice({ label: "fastrpb", requiredLimits, requiredFeatures });
  try {
    return { device: await answered(options, "requestDevice", request), owned: true, adapterInfo: adapter.info };
  } catch (cause) {
    // A device that comes too late is nobody's.
    void request.then(
      (late) => late.destroy(),
      () => {},
    );
    if (cause instanceof FastRpbError) throw cause;
    throw new FastRpbError("unavailable", `${caller}: the adapter refused a device: ${String(cause)}.`, { cause });
  }
}

/** @throws FastRpbError codes `"aborted"`, at once, and `"unavailable"`, where no answer comes */
async function answered<T>({ caller, signal, patience = PATIENCE }: OpenDeviceOptions, what: string, promise: Promise<T>): Promise<T> {
  const settled = new AbortController();
  const aborted = new Promise<undefined>((resolve) => signal?.addEventListener("abort", () => resolve(undefined), { signal: settled.signal }));
  try {
    checkAborted(caller, signal);
    const answer = await Promise.race([promise.then((value) => ({ value })), aborted, pause(patience.open, settled.signal)]);
    checkAborted(caller, signal);
    if (answer) return answer.value;
  } finally {
    settled.abort();
  }
  throw new FastRpbError("unavailable", `${caller}: ${what} has not answered for ${patience.open / 1000} s.`);
}

/** A device that the caller owns: used as it is, never destroyed. */
export function borrowDevice(caller: string, device: GPUDevice): OpenDevice {
  if (typeof device?.createComputePipelineAsync !== "function") {
    throw refuse("value", caller, "options.device", "a GPUDevice", device);
  }
  return { device, owned: false, adapterInfo: device.adapterInfo };
}

export function deviceLimits(device: GPUDevice): Record<LimitName, number> {
  return Object.fromEntries(LIMIT_NAMES.map((name) => [name, device.limits[name]])) as Record<LimitName, number>;
}
