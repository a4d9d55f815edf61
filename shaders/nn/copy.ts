/**
 * The same numbers in another place: out[i] = x[i].
 *
 * Layout and lanes: nn/elements.ts. Bindings: 0 x, 1 out, 2 params.
 */
import type { Kernel } from "../wgsl/kernel.ts";
import { type ElementsSpec, overElements } from "./elements.ts";

export function copyKernel(spec: ElementsSpec): Kernel {
  return overElements({ id: "nn/copy", label: "copy" }, spec, { x: "read", out: "read_write" }, "", "  out[at] = x[at];\n");
}
