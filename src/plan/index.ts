import type { PlannerLimits } from "../spec/limits.ts";
import type { OperationSpec } from "../spec/operations.ts";
import { planAttentionGradient } from "./attention-gradient.ts";
import { planAttention } from "./attention.ts";
import { planComplexMultiply } from "./complex-multiply.ts";
import { planConvolve, planKernelSpectrum } from "./convolve.ts";
import { planFft } from "./fft.ts";
import { planFindNonFinite } from "./find-non-finite.ts";
import type { Program } from "./program.ts";
import { planSpectrum } from "./toeplitz-spectrum.ts";
import { planToeplitzGradient } from "./toeplitz-gradient.ts";
import { planToeplitz } from "./toeplitz.ts";

/**
 * Spec + limits → Program. Pure: the same arguments give the same program, and no device is involved.
 *
 * @param caller the public function to name in errors
 * @throws FastRpbError code `"limit"` where the limits are too small for the spec
 */
export function planProgram(caller: string, spec: OperationSpec, limits: PlannerLimits): Program {
  switch (spec.operation) {
    case "fft":
      return planFft(caller, spec, limits);
    case "complexMultiply":
      return planComplexMultiply(caller, spec, limits);
    case "convolve":
      return planConvolve(caller, spec, limits);
    case "kernelSpectrum":
      return planKernelSpectrum(caller, spec, limits);
    case "spectrum":
      return planSpectrum(caller, spec, limits);
    case "toeplitz":
      return planToeplitz(caller, spec, limits);
    case "attention":
      return planAttention(caller, spec, limits);
    case "attentionGradient":
      return planAttentionGradient(caller, spec, limits);
    case "findNonFinite":
      return planFindNonFinite(caller, spec, limits);
    case "toeplitzGradient":
      return planToeplitzGradient(caller, spec, limits);
  }
}
