import { FastRpbError, refuse } from "../spec/errors.ts";
import { isAlignment, LIMIT_NAMES, type LimitName } from "../spec/limits.ts";

export interface OpenDeviceOptions {
  readonly caller: string;
  readonly gpu: GPU | undefined;
  readonly powerPreference: GPUPowerPreference | undefined;
  readonly onStage: (stage: "adapter" | "device") => void;
  readonly checkAborted: () => void;
}

export interface OpenDevice {
  readonly device: GPUDevice;
  /** Whether the runtime made the device, and so may destroy it. */
  readonly owned: boolean;
  readonly adapterInfo: GPUAdapterInfo | undefined;
}

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
  const adapter = await gpu.requestAdapter(options.powerPreference ? { powerPreference: options.powerPreference } : {});
  options.checkAborted();
  if (!adapter) return undefined;
  options.onStage("device");
  const requiredLimits: Record<string, number> = {};
  for (const name of LIMIT_NAMES) if (!isAlignment(name)) requiredLimits[name] = adapter.limits[name];
  const requiredFeatures = WANTED_FEATURES.filter((feature) => adapter.features.has(feature));
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ label: "fastrpb", requiredLimits, requiredFeatures });
  } catch (cause) {
    throw new FastRpbError("unavailable", `${caller}: the adapter refused a device: ${String(cause)}.`, { cause });
  }
  try {
    options.checkAborted();
  } catch (error) {
    device.destroy();
    throw error;
  }
  return { device, owned: true, adapterInfo: adapter.info };
}

/** A device that the caller owns: used as it is, never destroyed. */
export function borrowDevice(caller: string, device: GPUDevice): OpenDevice {
  if (typeof device?.createComputePipelineAsync !== "function") {
    throw refuse("value", { caller, argument: "options.device", expected: "a GPUDevice", got: device });
  }
  return { device, owned: false, adapterInfo: device.adapterInfo };
}

export function deviceLimits(device: GPUDevice): Record<LimitName, number> {
  return Object.fromEntries(LIMIT_NAMES.map((name) => [name, device.limits[name]])) as Record<LimitName, number>;
}
