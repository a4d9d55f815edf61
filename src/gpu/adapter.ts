/** What the planner takes from who an adapter says it is, where it was not tuned. */
import { type Choices, DEFAULT_CHOICES } from "../core/choices.ts";
import { type DeviceDefaults, SLOW_GPU, SOFTWARE_GPU } from "../core/limits.ts";

/**
 * Mesa's llvmpipe: re and im go through workgroup memory together, which halves the barriers, and a group takes one column where two would leave
 * no room for that; half of the time, measured (bench/RESULTS.md). Other software GPUs get what hardware gets: tests
 * on them are about the plans that hardware runs.
 */
const LLVMPIPE_CHOICES: Choices = Object.freeze({ ...DEFAULT_CHOICES, columns: 1, exchange: "whole" });

export function adapterDefaults(info: GPUAdapterInfo | undefined): DeviceDefaults {
  return {
    speed: info?.isFallbackAdapter ? SOFTWARE_GPU : SLOW_GPU,
    choices: info?.device?.includes("llvmpipe") ? LLVMPIPE_CHOICES : DEFAULT_CHOICES,
  };
}
