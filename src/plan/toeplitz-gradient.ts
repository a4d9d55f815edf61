/** Plans for the gradient of a Toeplitz product. */
import type { PlannerLimits } from "../spec/limits.ts";
import type { ToeplitzGradientSpec } from "../spec/operations.ts";
import { notYet, type Program } from "./program.ts";

export function planToeplitzGradient(caller: string, _spec: ToeplitzGradientSpec, _limits: PlannerLimits): Program {
  throw notYet(caller, "the gradient of a Toeplitz product");
}
