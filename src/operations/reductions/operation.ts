import { cpuOnDemand, layout, type Operation } from "../operation.ts";
import { planColumnSums } from "./plan.ts";
import type { ColumnSumsSpec } from "./spec.ts";

/** The sums of the columns of matrices: `x` → `out`; the gradient of what is repeated along leading axes. */
export const columnSums: Operation<ColumnSumsSpec> = {
  name: "column sums",
  label: () => "column sums",
  tensors: ({ matrices, rows, columns }) => ({ x: layout("input", [matrices, rows, columns]), out: layout("output", [matrices, columns]) }),
  plan: planColumnSums,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).columnSumsCpu),
};
