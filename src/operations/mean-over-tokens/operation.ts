import { lengthsLayout } from "../lengths.ts";
import { type Backward, cpuOnDemand, layout, type Operation, task } from "../operation.ts";
import { planMeanOverTokens, planMeanOverTokensGradient } from "./plan.ts";
import { type MeanOverTokensGradientSpec, meanOverTokensGradientSpec, type MeanOverTokensSpec } from "./spec.ts";

/** The mean over the tokens of each sequence: `x`, `lengths` → `out`. */
export const meanOverTokens: Operation<MeanOverTokensSpec> = {
  name: "mean over tokens",
  label: () => "mean over tokens",
  tensors: (spec) => ({
    x: layout("input", [spec.batch, spec.length, spec.width]),
    ...lengthsLayout(spec),
    out: layout("output", [spec.batch, spec.width]),
  }),
  plan: planMeanOverTokens,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).meanOverTokensCpu),
  backward(spec): Backward {
    const values = { dOut: "dOut", dX: "dX", ...(spec.variableLengths && { lengths: "lengths" }) };
    return { nodes: [{ task: task(meanOverTokensGradient, meanOverTokensGradientSpec(spec)), values }], gradients: { x: "dX" } };
  },
};

/** The gradient of {@link meanOverTokens}: `dOut`, `lengths` → `dX`. */
export const meanOverTokensGradient: Operation<MeanOverTokensGradientSpec> = {
  name: "mean over tokens gradient",
  label: () => "mean over tokens gradient",
  tensors: (spec) => ({
    dOut: layout("input", [spec.batch, spec.width]),
    ...lengthsLayout(spec),
    dX: layout("output", [spec.batch, spec.length, spec.width]),
  }),
  plan: planMeanOverTokensGradient,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).meanOverTokensGradientCpu),
};
