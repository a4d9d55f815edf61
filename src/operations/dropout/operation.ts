import { cpuOnDemand, layout, type Operation, task } from "../operation.ts";
import { planDropout } from "./plan.ts";
import type { DropoutSpec } from "./spec.ts";

/** Its gradient is the same of the result's: the mask is computed once more. */
export const dropout: Operation<DropoutSpec> = {
  name: "dropout",
  label: ({ size, rate }) => `dropout ${size} at ${rate}`,
  tensors: ({ size }) => ({ x: layout("input", [size]), clock: layout("input", [4], "u32"), out: layout("output", [size]) }),
  plan: planDropout,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).dropoutCpu),
  backward(spec, wanted) {
    if (!wanted.includes("x")) return { nodes: [], gradients: {} };
    return { nodes: [{ task: task(dropout, spec), values: { x: "dOut", clock: "clock", out: "dX" } }], gradients: { x: "dX" } };
  },
};
