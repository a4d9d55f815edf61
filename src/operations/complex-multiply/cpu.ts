import { elementCount } from "../../core/check.ts";
import type { ComplexMultiplySpec } from "../specs.ts";
import { COMPLEX_BYTES, COMPLEX_MULTIPLY_FLOPS, type CpuOperation } from "../cpu.ts";

/** out = scale · a · b, or a · conj(b). A shorter `b` lacks leading axes: it repeats with its own length as the period. */
export function complexMultiplyOperation(spec: ComplexMultiplySpec): CpuOperation {
  const size = elementCount(spec.shape);
  const bytes = COMPLEX_BYTES * size;
  return {
    label: "complexMultiply",
    bytes: { a: bytes, b: bytes, out: bytes },
    bytesMinimum: 3 * bytes,
    flops: size * COMPLEX_MULTIPLY_FLOPS,
    run(binding) {
      const a = binding("a").floats;
      const b = binding("b").floats;
      const out = binding("out").floats;
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
