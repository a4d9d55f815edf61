import type { CompileProgress, OpenSession } from "../core/backend.ts";
import type { DeviceDefaults, LimitName, PlannerLimits } from "../core/limits.ts";
import { adapterDefaults } from "./adapter.ts";
import { GpuBackend } from "./backend.ts";
import { borrowDevice, deviceLimits, openDevice, type OpenDeviceOptions } from "./device.ts";

export interface OpenOptions extends OpenDeviceOptions {
  /** The caller's own device, instead of one from `gpu`. */
  readonly device: GPUDevice | undefined;
  readonly limitsOf: (device: Readonly<Record<LimitName, number>>, defaults: DeviceDefaults) => PlannerLimits;
}

/**
 * A device, and what plans may use of it.
 *
 * @returns `undefined` where there is no adapter
 * @throws FastRpbError codes `"unavailable"` where an adapter refuses the device or nobody answers, `"aborted"`
 */
export async function openSession(options: OpenOptions): Promise<OpenSession | undefined> {
  const open = options.device ? borrowDevice(options.caller, options.device) : await openDevice(options);
  if (!open) return undefined;
  return { open, limits: options.limitsOf(deviceLimits(open.device), adapterDefaults(open.adapterInfo)) };
}

export function createGpuBackend(session: OpenSession, onCompile: (progress: CompileProgress) => void): GpuBackend {
  return new GpuBackend(session, onCompile);
}
