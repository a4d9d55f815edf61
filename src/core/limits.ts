import { checkOptions } from "./check.ts";
import { type Choices, DEFAULT_CHOICES } from "./choices.ts";
import { refuse } from "./errors.ts";

/** The limits that the planner obeys: WebGPU's own names, and WebGPU's guaranteed values as the defaults. */
export const DEFAULT_LIMITS = Object.freeze({
  maxBufferSize: 268435456,
  maxStorageBufferBindingSize: 134217728,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupsPerDimension: 65535,
  minStorageBufferOffsetAlignment: 256,
  minUniformBufferOffsetAlignment: 256,
});

/** Names of the limits that {@link createRuntime}'s `limits` may lower. */
export type LimitName = keyof typeof DEFAULT_LIMITS;

/** How much work a device does at least, in kernels like ours. */
export interface Speed {
  readonly flopsPerSecond: number;
  readonly bytesPerSecond: number;
  /** The share of it that one workgroup has, when others leave the device idle. */
  readonly workgroupShare: number;
  /** How many times as fast some kernels are, by their ids; others do what is said above. */
  readonly paces?: Readonly<Record<string, number>>;
}

/**
 * An old integrated GPU: a tenth of the peak of one with 24 execution units, and half of its memory's. Work is cut by it into dispatches
 * that no operating system takes for a hang, until there is so much of it that measuring the device is worth the time (gpu/speed.ts).
 */
export const SLOW_GPU: Speed = Object.freeze({ flopsPerSecond: 4e10, bytesPerSecond: 5e9, workgroupShare: 0.5 });

/** SwiftShader on two cores: half of what the Toeplitz product and linear attention reach there. */
export const SOFTWARE_GPU: Speed = Object.freeze({ flopsPerSecond: 4e8, bytesPerSecond: 1e9, workgroupShare: 0.5 });

/** What goes by the kind of device rather than by its limits. */
export interface DeviceDefaults {
  readonly speed: Speed;
  /** What is left to the planner. */
  readonly choices: Choices;
}

export const HARDWARE_DEFAULTS: DeviceDefaults = Object.freeze({ speed: SLOW_GPU, choices: DEFAULT_CHOICES });

export type PlannerLimits = Readonly<Record<LimitName, number>> &
  DeviceDefaults & {
    /** Scratch memory that one run may use, in bytes. */
    readonly workspaceBytes: number;
  };

export const LIMIT_NAMES = Object.freeze(Object.keys(DEFAULT_LIMITS) as LimitName[]);

/** Scratch memory that one run may use when the caller names no bound: 256 MiB. */
export const DEFAULT_WORKSPACE_BYTES = 2 ** 28;

/** The smallest multiple of 4 that is at least `bytes`: WebGPU binds, copies and writes buffers in such pieces. */
export function wholeWords(bytes: number): number {
  return 4 * Math.ceil(bytes / 4);
}

/** Limits whose larger value is the stricter one. */
export function isAlignment(name: LimitName): boolean {
  return name.startsWith("min");
}

/**
 * The stricter of the device's limits and the caller's caps.
 * @throws FastRpbError code `"value"` for an unknown name or a value that is no positive integer
 */
export function capLimits(
  caller: string,
  device: Readonly<Record<LimitName, number>>,
  caps: Partial<Record<LimitName, number>>,
  workspaceBytes: number,
  defaults: DeviceDefaults = HARDWARE_DEFAULTS,
): PlannerLimits {
  checkOptions(caller, "options.limits", caps, LIMIT_NAMES);
  for (const [name, value] of Object.entries(caps)) {
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 1)) {
      throw refuse("value", caller, `options.limits.${name}`, "a positive integer", value);
    }
  }
  const limits = {} as Record<LimitName, number>;
  for (const name of LIMIT_NAMES) {
    const cap = caps[name] ?? device[name];
    // An alignment may grow, to a multiple of the device's.
    limits[name] = isAlignment(name) ? Math.ceil(cap / device[name]) * device[name] : Math.min(cap, device[name]);
  }
  return Object.freeze({ ...limits, workspaceBytes, ...defaults });
}
