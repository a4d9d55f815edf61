/**
 * A step of gradient descent with momentum, as PyTorch does it: with the clipped gradient g and the rate r,
 *
 *   g ← g + λ p,   b ← μ b + g,   p ← p − r b,   or with Nesterov's momentum p ← p − r (g + μ b);   without momentum p ← p − r g.
 *
 * `rates` has r at `rateIndex`, which is times the factor of the group.
 * Layout: as in nn/update.ts. Bindings: 0 gradients, 1 parameters, then momentum (b) where there is one, norm where it is clipped, rates, health;
 * params.
 */
import type { Kernel } from "../wgsl/kernel.ts";
import { f32, wgsl } from "../wgsl/wgsl.ts";
import { decays, overParameters, type UpdateKernelSpec } from "./update.ts";

export interface SgdKernelSpec extends UpdateKernelSpec {
  /** μ: 0 where there is no momentum. */
  readonly momentum: number;
  readonly nesterov: boolean;
}

export function sgdKernel(spec: SgdKernelSpec): Kernel {
  const { momentum, nesterov } = spec;
  const kept = momentum !== 0;
  return overParameters(
    "sgd",
    spec,
    kept ? ["momentum"] : [],
    wgsl`  let old = parameters[i];
  let slope = gradient${decays(spec) ? " + decay * old" : ""};
#if ${kept}
  let running = ${f32(momentum)} * momentum[i] + slope;
  momentum[i] = running;
  parameters[i] = old - rate * ${nesterov ? `(slope + ${f32(momentum)} * running)` : "running"};
#else
  parameters[i] = old - rate * slope;
#endif
`,
  );
}
