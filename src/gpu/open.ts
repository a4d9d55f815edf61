import type { CompileProgress } from "../spec/backend.ts";
import type { LimitName, PlannerLimits } from "../spec/limits.ts";
import { GpuBackend } from "./backend.ts";
import { borrowDevice, deviceLimits, openDevice, type OpenDeviceOptions } from "./device.ts";

export interface OpenOptions extends OpenDeviceOptions {
  /** The caller's own device, instead of one from `gpu`. */
  readonly device: GPUDevice | undefined;
  readonly limitsOf: (device: Readonly<Record<LimitName, number>>) => PlannerLimits;
  readonly onCompile: (progress: CompileProgress) => void;
}

/**
 * The backend of a device.
 *
 * @returns `undefined` where there is no adapter
 * @throws FastRpbError code `"unavailable"` where an adapter refuses the device
 */
export async function openGpuBackend(options: OpenOptions): Promise<GpuBackend | undefined> {
  const open = options.device ? borrowDevice(options.caller, options.device) : await openDevice(options);
  return open && new GpuBackend(open, options.limitsOf(deviceLimits(open.device)), options.onCompile);
}
