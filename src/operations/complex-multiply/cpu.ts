import { elementCount } from "../../core/check.ts";
import { MULTIPLY_FLOPS } from "../../math/flops.ts";
import type { CpuComputation } from "../operation.ts";
import type { ComplexMultiplySpec } from "./spec.ts";

/** out = scale · a · b, or a · conj(b). A shorter `b` lacks leading axes: it repeats with its own length as the period. */
export function complexMultiplyCpu(spec: ComplexMultiplySpec): CpuComputation {
  const size = elementCount(spec.shape);
  return {
    flops: size * MULTIPLY_FLOPS,
    run(memoryOf) {
      const a = memoryOf("a").floats;
      const b = memoryOf("b").floats;
      const out = memoryOf("out").floats;
      const sign = spec.conjugate ? -1 : 1;
      const period = b.length;
      for (let i = 0, j = 0; i < 2 * size; i += 2, j = j + 2 === period ? 0 : j + 2) {
        const ar = a[i]!;
        const ai = a[i + 1]!;
        const br = b[j]!;
        const bi = sign * b[j + 1]!;
        out[i] = spec.scale * (ar * br - ai * bi);
        out[i + 1] = spec.scale * (ar * bi + ai * br);
      }
    },
  };
}
