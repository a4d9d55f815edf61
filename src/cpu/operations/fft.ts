import type { FftSpec } from "../../spec/operations.ts";
import { float64Array } from "../memory.ts";
import { COMPLEX_BYTES, fftFlops, type CpuOperation, type FftOf } from "../operation.ts";

/** Transforms `x: [outer, length, inner]`, complex, along the middle axis. */
export function fftOperation(spec: FftSpec, fftOf: FftOf): CpuOperation {
  const { outer, length, inner, direction, scale } = spec;
  const bytes = COMPLEX_BYTES * outer * length * inner;
  const fft = fftOf(length);
  const line = float64Array("cpu fft", 2 * length);
  return {
    label: "fft",
    bytes: { x: bytes, out: bytes },
    bytesMinimum: 2 * bytes,
    flops: outer * inner * fftFlops(length),
    run(binding) {
      const x = binding("x").floats;
      const out = binding("out").floats;
      for (let block = 0; block < outer; block++) {
        for (let column = 0; column < inner; column++) {
          const start = 2 * (block * length * inner + column);
          for (let n = 0; n < length; n++) {
            line[2 * n] = x[start + 2 * n * inner]!;
            line[2 * n + 1] = x[start + 2 * n * inner + 1]!;
          }
          fft.transform(line, direction);
          for (let n = 0; n < length; n++) {
            out[start + 2 * n * inner] = scale * line[2 * n]!;
            out[start + 2 * n * inner + 1] = scale * line[2 * n + 1]!;
          }
        }
      }
    },
  };
}
