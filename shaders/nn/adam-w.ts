/**
 * A step of AdamW (Loshchilov, Hutter 2019), as PyTorch does it: with the clipped gradient g,
 *
 *   m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²,   p ← p − r λ p − r/(1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε).
 *
 * `rates` has r, 1 − β₁ᵗ and √(1 − β₂ᵗ), of float32, from `rateIndex` on; r is times the factor of the group.
 * Layout: as in nn/update.ts. Bindings: 0 gradients, 1 parameters, 2 mean (m), 3 square (v), then norm where it is clipped, rates, health; params.
 */
import type { Kernel } from "../wgsl/kernel.ts";
import { f32, u32, wgsl } from "../wgsl/wgsl.ts";
import { blend, decays, overParameters, type UpdateKernelSpec } from "./update.ts";

export interface AdamWKernelSpec extends UpdateKernelSpec {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

export function adamWKernel(spec: AdamWKernelSpec): Kernel {
  const { beta1, beta2, epsilon, rateIndex } = spec;
  return overParameters(
    "adam-w",
    spec,
    ["mean", "square"],
    wgsl`  let old_mean = mean[i];
  let old_square = square[i];
  let old = parameters[i];
  let m = ${blend("old_mean", "gradient", beta1)};
  let v = ${blend("old_square", "(gradient * gradient)", beta2)};
  let change = (rate / rates[${u32(rateIndex + 1)}]) * m / (sqrt(v) / rates[${u32(rateIndex + 2)}] + ${f32(epsilon)});
  mean[i] = m;
  square[i] = v;
  parameters[i] = old - ${decays(spec) ? "rate * decay * old - " : ""}change;
`,
  );
}
