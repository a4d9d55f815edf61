/**
 * A step of the exponential moving average of parameters: average ← decay · average + (1 − decay) · parameters.
 *
 * Layout: as in nn/update.ts. Bindings: 0 parameters, 1 average, 2 health; then params.
 */
import type { Kernel } from "../wgsl/kernel.ts";
import { wgsl } from "../wgsl/wgsl.ts";
import type { ElementsSpec } from "./elements.ts";
import { overArrays, blend } from "./update.ts";

export interface AverageKernelSpec extends ElementsSpec {
  readonly decay: number;
}

export function averageKernel(spec: AverageKernelSpec): Kernel {
  return overArrays(
    "average",
    spec,
    { parameters: "read", average: "read_write" },
    [],
    wgsl`  let old = average[i];
  let latest = parameters[i];
  average[i] = ${blend("old", "latest", spec.decay)};
`,
  );
}
