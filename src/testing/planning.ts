/** Limits and lengths that the planner's tests share. */
import { DEFAULT_LIMITS, DEFAULT_WORKSPACE_BYTES, HARDWARE_DEFAULTS, type PlannerLimits } from "../core/limits.ts";

const MIB = 2 ** 20;

/** WebGPU's guaranteed limits, some of them changed. */
export function limitsWith(changes: Partial<PlannerLimits> = {}): PlannerLimits {
  return Object.freeze({ ...DEFAULT_LIMITS, workspaceBytes: DEFAULT_WORKSPACE_BYTES, ...HARDWARE_DEFAULTS, ...changes });
}

/** What a desktop GPU offers. */
export const DESKTOP_LIMITS = limitsWith({
  maxBufferSize: 2 ** 32,
  maxStorageBufferBindingSize: 2 ** 32 - 4,
  maxComputeWorkgroupStorageSize: 32768,
  maxComputeInvocationsPerWorkgroup: 1024,
  maxComputeWorkgroupSizeX: 1024,
  minStorageBufferOffsetAlignment: 32,
});

/** Devices, real and too small to be real, by name. */
export const LIMIT_SETS: Readonly<Record<string, PlannerLimits>> = Object.freeze({
  default: limitsWith(),
  desktop: DESKTOP_LIMITS,
  "small workgroups": limitsWith({ maxComputeWorkgroupStorageSize: 4096, maxComputeInvocationsPerWorkgroup: 64, maxComputeWorkgroupSizeX: 64 }),
  "tiny workgroups": limitsWith({ maxComputeWorkgroupStorageSize: 256, maxComputeInvocationsPerWorkgroup: 32, maxComputeWorkgroupSizeX: 32 }),
  "narrow workgroups": limitsWith({ maxComputeWorkgroupSizeX: 48 }),
  "small bindings": limitsWith({ maxStorageBufferBindingSize: MIB, minStorageBufferOffsetAlignment: 256 }),
  "small odd bindings": limitsWith({ maxStorageBufferBindingSize: 300_004, minStorageBufferOffsetAlignment: 64 }),
  "small grids": limitsWith({ maxComputeWorkgroupsPerDimension: 16 }),
  "small workspace": limitsWith({ workspaceBytes: 2 * MIB + 12 }),
  "all small": limitsWith({
    maxBufferSize: 16 * MIB,
    maxStorageBufferBindingSize: MIB,
    maxComputeWorkgroupStorageSize: 4096,
    maxComputeInvocationsPerWorkgroup: 64,
    maxComputeWorkgroupSizeX: 64,
    maxComputeWorkgroupsPerDimension: 16,
    workspaceBytes: MIB,
  }),
});

/** All 2^a 3^b 5^c 7^d from `low` to `high`, in order: made by multiplying, where the library divides. */
export function smoothNumbers(low: number, high: number): number[] {
  let numbers = [1];
  for (const prime of [2, 3, 5, 7]) {
    numbers = numbers.flatMap((n) => {
      const multiples: number[] = [];
      for (let multiple = n; multiple <= high; multiple *= prime) multiples.push(multiple);
      return multiples;
    });
  }
  return numbers.filter((n) => n >= low).sort((a, b) => a - b);
}
