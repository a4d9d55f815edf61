/**
 * Adds an array to another: out[i] += x[i].
 *
 * Layout and lanes: nn/elements.ts. Bindings: 0 x, 1 out, 2 params.
 */
import type { Kernel } from "../wgsl/kernel.ts";
import { type ElementsSpec, overElements } from "./elements.ts";

export function accumulateKernel(spec: ElementsSpec): Kernel {
  return overElements({ id: "nn/accumulate", label: "accumulate" }, spec, { x: "read", out: "read_write" }, "", "  out[at] += x[at];\n");
}
