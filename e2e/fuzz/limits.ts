/** Devices to plan for: caps on what the device at hand offers. */
import type { RuntimeOptions } from "../../src/index.ts";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { Draw } from "./draw-numbers.ts";

type Caps = NonNullable<RuntimeOptions["limits"]>;

export type LimitsChoice = "default" | "compatibility" | "adapter" | (Caps & { readonly workspaceBytes?: number });

/** Of WebGPU's compatibility mode: what it guarantees of compute is smaller in this alone. */
const COMPATIBILITY_INVOCATIONS = 128;

export function runtimeLimits(choice: LimitsChoice): Pick<RuntimeOptions, "limits" | "workspaceBytes"> {
  if (choice === "adapter") return {};
  if (choice === "default") return { limits: DEFAULT_LIMITS };
  if (choice === "compatibility") {
    return {
      limits: {
        ...DEFAULT_LIMITS,
        maxComputeInvocationsPerWorkgroup: COMPATIBILITY_INVOCATIONS,
        maxComputeWorkgroupSizeX: COMPATIBILITY_INVOCATIONS,
      },
    };
  }
  const { workspaceBytes, ...limits } = choice;
  return { limits, ...(workspaceBytes !== undefined && { workspaceBytes }) };
}

/** Whether a script's limits are those of a seed. */
export function isDrawn(name: string | undefined): name is string {
  return name !== undefined && !["default", "compatibility", "adapter"].includes(name);
}

/** Limits by the name that a script gives them. */
export function namedLimits(name: string | undefined): Pick<RuntimeOptions, "limits" | "workspaceBytes"> {
  if (name === undefined || name === "adapter") return {};
  if (name === "default" || name === "compatibility") return runtimeLimits(name);
  const seed = Number(name);
  if (!Number.isSafeInteger(seed) || seed < 1) throw new TypeError(`LIMITS is "default", "compatibility", "adapter" or a seed, got ${name}`);
  const drawn = runtimeLimits(drawSmallLimits(new Draw(seed)));
  console.log(`limits of seed ${seed}: ${JSON.stringify(drawn)}`);
  return drawn;
}

/** Half of the draws are real devices, the others smaller than any, in one respect or in several. */
export function drawLimits(draw: Draw): LimitsChoice {
  return draw.chance(0.5) ? draw.pick(["default", "compatibility", "adapter"]) : drawSmallLimits(draw);
}

function drawSmallLimits(draw: Draw): LimitsChoice {
  const all: LimitsChoice = {
    maxComputeWorkgroupStorageSize: draw.pick([1024, 4096, 8192]),
    ...lanes(draw),
    maxComputeWorkgroupsPerDimension: draw.pick([4, 16, 64]),
    maxStorageBufferBindingSize: draw.pick([2 ** 23, 2 ** 18, 100_004, 2 ** 16]),
    minStorageBufferOffsetAlignment: 256,
    workspaceBytes: draw.pick([2 ** 20, 2 ** 18, 200_012, 2 ** 17]),
  };
  const groups: readonly (readonly (keyof typeof all)[])[] = [
    ["maxComputeWorkgroupStorageSize"],
    ["maxComputeInvocationsPerWorkgroup", "maxComputeWorkgroupSizeX"],
    ["maxComputeWorkgroupsPerDimension"],
    ["maxStorageBufferBindingSize", "minStorageBufferOffsetAlignment"],
    ["workspaceBytes"],
  ];
  const chosen = groups.filter(() => draw.chance(0.4));
  if (chosen.length === 0) chosen.push(draw.pick(groups));
  return Object.fromEntries(chosen.flat().map((name) => [name, all[name]]));
}

function lanes(draw: Draw): Caps {
  const most = draw.pick([32, 48, 64, 100]);
  return { maxComputeInvocationsPerWorkgroup: most, maxComputeWorkgroupSizeX: most };
}
