import type { PlannerLimits } from "../core/limits.ts";
import type { OperationSpec } from "./specs.ts";
import { planAttention } from "./attention/plan.ts";
import { planFindNonFinite } from "./find-non-finite/plan.ts";
import { loadParts, MissingParts, need } from "./parts.ts";
import type { Program } from "../program/program.ts";

/**
 * Spec + limits → Program. Pure: the same arguments give the same program, and no device is involved.
 *
 * @param caller the public function to name in errors
 * @throws FastRpbError code `"limit"` where the limits are too small for the spec
 * @throws MissingParts where {@link loadProgram} has not been there before
 */
export function planProgram(caller: string, spec: OperationSpec, limits: PlannerLimits): Program {
  switch (spec.operation) {
    case "fft":
      return need("fft").planFft(caller, spec, limits);
    case "complexMultiply":
      return need("complexMultiply").planComplexMultiply(caller, spec, limits);
    case "convolve":
      return need("convolve").planConvolve(caller, spec, limits);
    case "kernelSpectrum":
      return need("convolve").planKernelSpectrum(caller, spec, limits);
    case "spectrum":
      return need("spectrum").planSpectrum(caller, spec, limits);
    case "toeplitz":
      return need("toeplitz").planToeplitz(caller, spec, limits);
    case "attention":
      return planAttention(caller, spec, limits);
    case "findNonFinite":
      return planFindNonFinite(caller, spec, limits);
    case "attentionGradient":
      return need("attentionGradient").planAttentionGradient(caller, spec, limits);
    case "toeplitzGradient":
      return need("toeplitzGradient").planToeplitzGradient(caller, spec, limits);
  }
}

/** The same, after loading what it takes. @throws FastRpbError codes `"limit"`, `"unavailable"` where a part cannot be loaded */
export async function loadProgram(caller: string, spec: OperationSpec, limits: PlannerLimits): Promise<Program> {
  for (;;) {
    try {
      return planProgram(caller, spec, limits);
    } catch (error) {
      if (!(error instanceof MissingParts)) throw error;
      await loadParts(caller, error.parts);
    }
  }
}
