import { type Backward, cpuOnDemand, layout, type Operation, task, type TaskNode, type TensorLayouts } from "../operation.ts";
import { columnSums } from "../reductions/operation.ts";
import { columnSumsSpec } from "../reductions/spec.ts";
import { planAccumulate, planActivation, planActivationGradient, planCombine, planCopy } from "./plan.ts";
import {
  type AccumulateSpec,
  activationGradientSpec,
  type ActivationGradientSpec,
  type ActivationSpec,
  type AddSpec,
  type CopySpec,
  type MultiplySpec,
  multiplySpec,
  slopeSource,
} from "./spec.ts";

function combinedTensors({ size, period }: AddSpec | MultiplySpec): TensorLayouts {
  return { x: layout("input", [size]), y: layout("input", [period]), out: layout("output", [size]) };
}

/** What adds up `from` [size] over the repetitions of `y`, into `dY`. */
function sumOverRepeats({ size, period }: AddSpec | MultiplySpec, from: string): TaskNode {
  return { task: task(columnSums, columnSumsSpec({ rows: size / period, columns: period })), values: { x: from, out: "dY" } };
}

/** The sum: `x`, `y` → `out`. */
export const add: Operation<AddSpec> = {
  name: "add",
  label: () => "add",
  tensors: combinedTensors,
  plan: planCombine,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).combineCpu),
  backward(spec, wanted): Backward {
    const repeats = spec.period < spec.size && wanted.includes("y");
    return { nodes: repeats ? [sumOverRepeats(spec, "dOut")] : [], gradients: { x: "dOut", y: repeats ? "dY" : "dOut" } };
  },
};

/** The product: `x`, `y` → `out`. */
export const multiply: Operation<MultiplySpec> = {
  name: "multiply",
  label: () => "multiply",
  tensors: combinedTensors,
  plan: planCombine,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).combineCpu),
  backward(spec, wanted): Backward {
    const { size, period } = spec;
    const repeats = period < size;
    const products = repeats ? "dOut times x" : "dY";
    const nodes: TaskNode[] = [];
    if (wanted.includes("x")) nodes.push({ task: task(multiply, spec), values: { x: "dOut", y: "y", out: "dX" } });
    if (wanted.includes("y")) {
      nodes.push({ task: task(multiply, multiplySpec({ size, period: size })), values: { x: "dOut", y: "x", out: products } });
      if (repeats) nodes.push(sumOverRepeats(spec, products));
    }
    return { nodes, gradients: { x: "dX", y: "dY" } };
  },
};

/** ReLU or GELU: `x` → `out`. */
export const activation: Operation<ActivationSpec> = {
  name: "activation",
  label: ({ kind }) => kind,
  tensors: ({ size }) => ({ x: layout("input", [size]), out: layout("output", [size]) }),
  plan: planActivation,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).activationCpu),
  backward(spec): Backward {
    const source = slopeSource(spec);
    const values = { [source]: source, dOut: "dOut", dX: "dX" };
    return { nodes: [{ task: task(activationGradient, activationGradientSpec(spec)), values }], gradients: { x: "dX" } };
  },
};

/** The gradient of an activation: `x`, or of ReLU `out`, and `dOut` → `dX`. */
export const activationGradient: Operation<ActivationGradientSpec> = {
  name: "activation gradient",
  label: ({ kind }) => `${kind} gradient`,
  tensors: (spec) => ({
    [slopeSource(spec)]: layout("input", [spec.size]),
    dOut: layout("input", [spec.size]),
    dX: layout("output", [spec.size]),
  }),
  plan: planActivationGradient,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).activationGradientCpu),
};

/** Adds `x` to `out`. */
export const accumulate: Operation<AccumulateSpec> = {
  name: "accumulate",
  label: () => "accumulate",
  tensors: ({ size }) => ({ x: layout("input", [size]), out: layout("inout", [size]) }),
  plan: planAccumulate,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).accumulateCpu),
};

/** The same numbers: `x` → `out`. */
export const copy: Operation<CopySpec> = {
  name: "copy",
  label: () => "copy",
  tensors: ({ size }) => ({ x: layout("input", [size]), out: layout("output", [size]) }),
  plan: planCopy,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).copyCpu),
  backward: () => ({ nodes: [], gradients: { x: "dOut" } }),
};
