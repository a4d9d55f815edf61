import { cpuOnDemand, layout, type Operation } from "../operation.ts";
import { planComplexMultiply } from "./plan.ts";
import type { ComplexMultiplySpec } from "./spec.ts";

/** The complex pointwise product: `a`, `b` → `out`. Where `b` repeats, its size is known when it comes, and the layout is the largest. */
export const complexMultiply: Operation<ComplexMultiplySpec> = {
  name: "complex multiply",
  label: () => "complex multiply",
  tensors: ({ shape }) => ({
    a: layout("input", shape, "complex64"),
    b: layout("input", shape, "complex64"),
    out: layout("output", shape, "complex64"),
  }),
  plan: planComplexMultiply,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).complexMultiplyCpu),
};
