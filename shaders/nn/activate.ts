/**
 * An activation of each element, or the gradient of one: out[i] = f(x[i]), or out[i] = dOut[i] · f′(x[i]).
 *
 * The functions: nn/activation.ts. Layout and lanes: nn/elements.ts.
 * Bindings: 0 x (of the gradient of ReLU its result will do), then dOut for the gradient, then out, and params.
 */
import type { Kernel } from "../wgsl/kernel.ts";
import { type ActivationKind, activationFunction, activationSlope } from "./activation.ts";
import { elementOf, type ElementsSpec, overElements } from "./elements.ts";

export interface ActivateKernelSpec extends ElementsSpec {
  readonly kind: ActivationKind;
  readonly gradient: boolean;
}

export function activateKernel(spec: ActivateKernelSpec): Kernel {
  const { kind, gradient } = spec;
  const names = { id: "nn/activate", label: `${kind}${gradient ? " gradient" : ""}` };
  const float = elementOf(spec);
  if (!gradient) {
    return overElements(names, spec, { x: "read", out: "read_write" }, activationFunction(kind, float), "  out[at] = activate(x[at]);\n");
  }
  const access = { x: "read", dOut: "read", out: "read_write" } as const;
  return overElements(names, spec, access, activationSlope(kind, float), "  out[at] = dOut[at] * activation_slope(x[at]);\n");
}
