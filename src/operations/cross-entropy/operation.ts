import { cpuOnDemand, layout, type Operation, task } from "../operation.ts";
import { planCrossEntropy, planCrossEntropyGradient } from "./plan.ts";
import type { CrossEntropyGradientSpec, CrossEntropySpec, MeanSquaredErrorGradientSpec, MeanSquaredErrorSpec } from "./spec.ts";
import { planMeanSquaredError, planMeanSquaredErrorGradient } from "./squared-error.ts";

/** Gives the mean over the rows that count, how many count and how many of them are right, and for the gradient (m, l) of each row. */
export const crossEntropy: Operation<CrossEntropySpec> = {
  name: "cross-entropy",
  label: ({ rows, classes }) => `cross-entropy ${rows} × ${classes}`,
  tensors: ({ rows, classes }) => ({
    logits: layout("input", [rows, classes]),
    targets: layout("input", [rows], "u32"),
    loss: layout("output", [1]),
    counts: layout("output", [2], "u32"),
    statistics: layout("output", [rows, 2]),
  }),
  plan: planCrossEntropy,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).crossEntropyCpu),
  backward(spec, wanted) {
    if (!wanted.includes("logits")) return { nodes: [], gradients: {} };
    const values = Object.fromEntries(["logits", "targets", "statistics", "counts", "dLoss", "dLogits"].map((name) => [name, name]));
    const gradient = task(crossEntropyGradient, Object.freeze({ ...spec, operation: "crossEntropyGradient" }));
    return { nodes: [{ task: gradient, values }], gradients: { logits: "dLogits" } };
  },
};

const crossEntropyGradient: Operation<CrossEntropyGradientSpec> = {
  name: "cross-entropy gradient",
  label: ({ rows, classes }) => `cross-entropy gradient ${rows} × ${classes}`,
  tensors: ({ rows, classes }) => ({
    logits: layout("input", [rows, classes]),
    targets: layout("input", [rows], "u32"),
    statistics: layout("input", [rows, 2]),
    counts: layout("input", [2], "u32"),
    dLoss: layout("input", [1]),
    dLogits: layout("output", [rows, classes]),
  }),
  plan: planCrossEntropyGradient,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).crossEntropyGradientCpu),
};

export const meanSquaredError: Operation<MeanSquaredErrorSpec> = {
  name: "mean squared error",
  label: ({ size }) => `mean squared error ${size}`,
  tensors: ({ size }) => ({ x: layout("input", [size]), y: layout("input", [size]), loss: layout("output", [1]) }),
  plan: planMeanSquaredError,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).meanSquaredErrorCpu),
  backward({ size }, wanted) {
    const gradient = task(meanSquaredErrorGradient, Object.freeze({ operation: "meanSquaredErrorGradient", size }));
    const others = { x: { y: "y", dx: "dX" }, y: { y: "x", dx: "dY" } } as const;
    const names = (["x", "y"] as const).filter((name) => wanted.includes(name));
    return {
      nodes: names.map((x) => ({ task: gradient, values: { x, ...others[x], dLoss: "dLoss" } })),
      gradients: Object.fromEntries(names.map((name) => [name, others[name].dx])),
    };
  },
};

const meanSquaredErrorGradient: Operation<MeanSquaredErrorGradientSpec> = {
  name: "mean squared error gradient",
  label: ({ size }) => `mean squared error gradient ${size}`,
  tensors: ({ size }) => ({
    x: layout("input", [size]),
    y: layout("input", [size]),
    dLoss: layout("input", [1]),
    dx: layout("output", [size]),
  }),
  plan: planMeanSquaredErrorGradient,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).meanSquaredErrorGradientCpu),
};
