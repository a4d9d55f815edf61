/**
 * Gradient of the mean squared error of n numbers: dx_i = 2 dLoss / n · (x_i − y_i).
 *
 * Layout: x, y, dx, flat, as vectors where their size is a multiple of 4; dLoss [1]. One lane per element of the `count` that are bound.
 * Bindings: 0 x, 1 y, 2 dLoss, 3 dx, 4 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import type { SquaredErrorSpec } from "./squared-error.ts";
import { wgsl } from "../wgsl/wgsl.ts";

export function squaredErrorGradientKernel(spec: SquaredErrorSpec): Kernel {
  const element = spec.vectors ? "vec4f" : "f32";
  return makeKernel({
    id: "nn/squared-error-gradient",
    label: "squared error gradient",
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "x", access: "read", element },
      { name: "y", access: "read", element },
      { name: "dLoss", access: "read", element: "f32" },
      { name: "dx", access: "read_write", element },
    ],
    params: ["count", "size"],
    declarations: "",
    body: wgsl`  let i = group * LANES + lane;
  if (i >= params.count) { return; }
  dx[i] = 2.0 * dLoss[0] / f32(params.size) * (x[i] - y[i]);
`,
  });
}
