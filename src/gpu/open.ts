import type { CompileProgress, OpenSession } from "../core/backend.ts";
import type { DeviceDefaults, LimitName, PlannerLimits, Speed } from "../core/limits.ts";
import { adapterDefaults } from "./adapter.ts";
import { GpuBackend } from "./backend.ts";
import { borrowDevice, deviceLimits, openDevice, type OpenDeviceOptions } from "./device.ts";

export interface OpenOptions extends OpenDeviceOptions {
  /** The caller's own device, instead of one from `gpu`. */
  readonly device: GPUDevice | undefined;
  readonly limitsOf: (device: Readonly<Record<LimitName, number>>, defaults: DeviceDefaults) => PlannerLimits;
  /** What is known of an adapter's speed from earlier. */
  readonly speedOf: (adapterInfo: GPUAdapterInfo | undefined) => Speed | undefined;
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
  const defaults = adapterDefaults(open.adapterInfo);
  const speed = options.speedOf(open.adapterInfo) ?? defaults.speed;
  return { open, limits: options.limitsOf(deviceLimits(open.device), { ...defaults, speed }) };
}

export function createGpuBackend(session: OpenSession, onCompile: (progress: CompileProgress) => void): GpuBackend {
  return new GpuBackend(session, onCompile);
}
