/**
 * The sum or the product of two arrays: out[i] = x[i] + y[i mod period], or x[i] · y[i mod period].
 *
 * Layout and lanes: nn/elements.ts; where y repeats it is bound as a whole. Bindings: 0 x, 1 y, 2 out, 3 params.
 */
import type { Kernel } from "../wgsl/kernel.ts";
import { wgsl } from "../wgsl/wgsl.ts";
import { type ElementsSpec, overElements } from "./elements.ts";

export interface CombineArraysKernelSpec extends ElementsSpec {
  readonly kind: "sum" | "product";
  readonly repeats: boolean;
}

export function combineArraysKernel(spec: CombineArraysKernelSpec): Kernel {
  const { kind, repeats } = spec;
  const y = repeats ? "y[i % params.period]" : "y[at]";
  const body = wgsl`  out[at] = x[at] ${kind === "sum" ? "+" : "*"} ${y};
`;
  const names = { id: "nn/combine-arrays", label: kind };
  return overElements(names, spec, { x: "read", y: "read", out: "read_write" }, "", body, ["period"]);
}
