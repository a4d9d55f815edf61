import type { FftOf } from "../../math/fft.ts";
import type { CpuComputation, CpuMemory } from "../operation.ts";
import { createToeplitz } from "./cpu-product.ts";
import type { ToeplitzSpec } from "./spec.ts";

/** out_i = Σ_j W_ij v_j for `v: [batch, heads, N, channels]`. */
export function toeplitzCpu(spec: ToeplitzSpec, fftOf: FftOf): CpuComputation {
  const { batch, heads, length, channels } = spec;
  const sliceSize = length * channels;
  const { bytesOf, multiply, multiplyFlops, floats } = createToeplitz(spec, fftOf);
  return {
    spectrumBytes: bytesOf(heads),
    flops: batch * heads * channels * multiplyFlops,
    run(memoryOf) {
      const v = memoryOf("v").floats;
      const spectra = memoryOf("spectrum").doubles;
      const out = memoryOf("out").floats;
      const tokensOf = tokenCounts(spec, memoryOf);
      if (spec.variableLengths) out.fill(0);
      for (let slice = 0; slice < batch * heads; slice++) {
        const start = slice * sliceSize;
        const head = slice % heads;
        const spectrum = spectra.subarray(head * floats, (head + 1) * floats);
        multiply(v.subarray(start, start + sliceSize), tokensOf(slice), channels, spectrum, (index, value) => {
          out[start + index] = value;
        });
      }
    },
  };
}

/** How many tokens count in a slice of [batch, heads]. */
export function tokenCounts(
  { heads, length, variableLengths }: Pick<ToeplitzSpec, "heads" | "length" | "variableLengths">,
  memoryOf: (name: string) => CpuMemory,
): (slice: number) => number {
  const lengths = variableLengths ? memoryOf("lengths").words : undefined;
  return (slice) => Math.min(length, lengths?.[Math.floor(slice / heads)] ?? length);
}
