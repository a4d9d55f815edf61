import { STATISTICS } from "../../../shaders/nn/norm-rows.ts";
import { type Backward, cpuOnDemand, layout, type Operation, task, type TaskNode, type TensorLayouts } from "../operation.ts";
import { columnSums } from "../reductions/operation.ts";
import { columnSumsSpec } from "../reductions/spec.ts";
import { planNorm, planNormGradient, planNormWeightGradient } from "./plan.ts";
import { type NormGradientSpec, normGradientSpec, type NormSpec, type NormWeightGradientSpec, normWeightGradientSpec } from "./spec.ts";

const NAMES = { layer: "layer norm", rms: "rms norm" } as const;

/** What the gradients read besides the weight. */
function rowTensors({ kind, rows, width }: NormGradientSpec | NormWeightGradientSpec): TensorLayouts {
  return {
    x: layout("input", [rows, width]),
    statistics: layout("input", [rows, STATISTICS[kind]]),
    dOut: layout("input", [rows, width]),
  };
}

/** Layer norm, or RMS norm: `x`, `weight`, `bias` → `out`, `statistics`. */
export const norm: Operation<NormSpec> = {
  name: "norm",
  label: ({ kind, width }) => `${NAMES[kind]} ${width}`,
  tensors: ({ kind, rows, width, bias }) => ({
    x: layout("input", [rows, width]),
    weight: layout("input", [width]),
    ...(bias && { bias: layout("input", [width]) }),
    out: layout("output", [rows, width]),
    statistics: layout("output", [rows, STATISTICS[kind]]),
  }),
  plan: planNorm,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).normCpu),
  backward(spec, wanted): Backward {
    const { rows, width } = spec;
    const shared = { x: "x", statistics: "statistics", dOut: "dOut" };
    const bias = wanted.includes("bias");
    const nodes: TaskNode[] = [];
    if (wanted.includes("x")) nodes.push({ task: task(normGradient, normGradientSpec(spec)), values: { ...shared, weight: "weight", dX: "dX" } });
    if (wanted.includes("weight")) {
      const values = { ...shared, dWeight: "dWeight", ...(bias && { dBias: "dBias" }) };
      nodes.push({ task: task(normWeightGradient, normWeightGradientSpec({ ...spec, bias })), values });
    } else if (bias) nodes.push({ task: task(columnSums, columnSumsSpec({ rows, columns: width })), values: { x: "dOut", out: "dBias" } });
    return { nodes, gradients: { x: "dX", weight: "dWeight", bias: "dBias" } };
  },
};

/** The gradient of {@link norm} in x. */
export const normGradient: Operation<NormGradientSpec> = {
  name: "norm gradient",
  label: ({ kind, width }) => `${NAMES[kind]} gradient ${width}`,
  tensors: (spec) => ({ ...rowTensors(spec), weight: layout("input", [spec.width]), dX: layout("output", [spec.rows, spec.width]) }),
  plan: planNormGradient,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).normGradientCpu),
};

/** The gradients of {@link norm} in weight and bias. */
export const normWeightGradient: Operation<NormWeightGradientSpec> = {
  name: "norm weight gradient",
  label: ({ kind, width }) => `${NAMES[kind]} weight gradient ${width}`,
  tensors: (spec) => ({
    ...rowTensors(spec),
    dWeight: layout("output", [spec.width]),
    ...(spec.bias && { dBias: layout("output", [spec.width]) }),
  }),
  plan: planNormWeightGradient,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).normWeightGradientCpu),
};
