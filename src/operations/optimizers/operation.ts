import { cpuOnDemand, layout, type Operation, type TensorLayouts } from "../operation.ts";
import { planAdamW, planAverage, planGuard, planRecord, planSgd, planSumOfSquares } from "./plan.ts";
import {
  type AdamWSpec,
  type AverageSpec,
  type GuardSpec,
  HISTORY_SIZE,
  type RecordSpec,
  type SgdSpec,
  type SumOfSquaresSpec,
  type UpdateSpec,
} from "./spec.ts";

const HEALTH_WORDS = 2;
const CLOCK_WORDS = 4;

/** The sum of squares: `x` → `out`. */
export const sumOfSquares: Operation<SumOfSquaresSpec> = {
  name: "sum of squares",
  label: () => "sum of squares",
  tensors: ({ size }) => ({ x: layout("input", [size]), out: layout("output", [1]) }),
  plan: planSumOfSquares,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).sumOfSquaresCpu),
};

/** Whether a step may change anything: `norm`, `loss`, `clock` → `health`. It goes before what changes parameters. */
export const guard: Operation<GuardSpec> = {
  name: "guard",
  label: () => "guard",
  tensors: () => ({
    norm: layout("input", [1]),
    loss: layout("input", [1]),
    clock: layout("input", [CLOCK_WORDS], "u32"),
    health: layout("inout", [HEALTH_WORDS], "u32"),
  }),
  plan: (program, _spec, tensors) => planGuard(program, tensors as Parameters<typeof planGuard>[1]),
  ...cpuOnDemand(async () => (await import("./cpu.ts")).guardCpu),
};

/** The tensors of an optimiser that keeps these arrays. `norm` is the sum of squares of all gradients: a square. */
function updateTensors({ size, clipNorm, rateCount }: UpdateSpec, kept: readonly string[]): TensorLayouts {
  return {
    gradients: layout("input", [size]),
    parameters: layout("inout", [size]),
    ...Object.fromEntries(kept.map((name) => [name, layout("inout", [size])])),
    ...(clipNorm !== undefined && { norm: layout("input", [1]) }),
    rates: layout("input", [rateCount]),
    health: layout("input", [HEALTH_WORDS], "u32"),
  };
}

/** A step of AdamW: `gradients`, `rates`, `health` and, where it clips, `norm` → `parameters`, `mean`, `square`. */
export const adamW: Operation<AdamWSpec> = {
  name: "AdamW",
  label: () => "AdamW",
  tensors: (spec) => updateTensors(spec, ["mean", "square"]),
  plan: planAdamW,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).adamWCpu),
};

/** A step of gradient descent: `gradients`, `rates`, `health` and, where it clips, `norm` → `parameters` and, with momentum, `momentum`. */
export const sgd: Operation<SgdSpec> = {
  name: "gradient descent",
  label: () => "gradient descent",
  tensors: (spec) => updateTensors(spec, spec.momentum === 0 ? [] : ["momentum"]),
  plan: planSgd,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).sgdCpu),
};

/** A step of the exponential moving average: `parameters`, `health` → `average`. */
export const average: Operation<AverageSpec> = {
  name: "average of parameters",
  label: () => "average of parameters",
  tensors: ({ size }) => ({
    parameters: layout("input", [size]),
    average: layout("inout", [size]),
    health: layout("input", [HEALTH_WORDS], "u32"),
  }),
  plan: planAverage,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).averageCpu),
};

/** What a step came to: `loss`, `clock` and, as far as they are there, `counts`, `norm`, `health` → `history`. */
export const record: Operation<RecordSpec> = {
  name: "record",
  label: () => "record",
  tensors: ({ counts, isLast }) => ({
    loss: layout("input", [1]),
    clock: layout("input", [CLOCK_WORDS], "u32"),
    history: layout("inout", [HISTORY_SIZE]),
    ...(counts && { counts: layout("input", [2], "u32") }),
    ...(isLast && { norm: layout("input", [1]), health: layout("input", [HEALTH_WORDS], "u32") }),
  }),
  plan: planRecord,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).recordCpu),
};
