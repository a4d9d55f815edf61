import { elementCount } from "../../core/check.ts";
import type { FftOf } from "../../math/fft.ts";
import type { CpuComputation, Floats } from "../operation.ts";
import { createToeplitz } from "./cpu-product.ts";
import { type RelativePositions, type SpectrumSpec, weightsShape } from "./spec.ts";

/** `weights: [heads, 2N − 1]` or `[heads, 2H − 1, 2W − 1]` to the transform of each head's circulant. */
export function spectrumCpu(spec: SpectrumSpec, fftOf: FftOf): CpuComputation {
  const { heads, exponential } = spec;
  const toeplitz = createToeplitz(spec, fftOf);
  const size = elementCount(weightsShape(spec).slice(1));
  return {
    bytes: { spectrum: toeplitz.bytesOf(heads) + (exponential ? heads * size * Float64Array.BYTES_PER_ELEMENT : 0) },
    flops: heads * toeplitz.prepareFlops,
    run(memoryOf) {
      const weights = memoryOf("weights").floats;
      const spectra = memoryOf("spectrum").doubles;
      for (let head = 0; head < heads; head++) {
        const own = weights.subarray(head * size, (head + 1) * size);
        const spectrum = spectra.subarray(head * toeplitz.floats, (head + 1) * toeplitz.floats);
        // Kept behind the spectra of all heads.
        if (exponential) spectra.set(own, heads * toeplitz.floats + head * size);
        toeplitz.prepare(exponential ? exponentialsOf(own, spec) : own, spectrum);
      }
    },
  };
}

/** exp(w − max w) of those weights of a head that count, 0 of the others: in a causal sequence the offsets up to 0 come first. */
export function exponentialsOf(weights: Floats, { causal, length }: RelativePositions): Float64Array {
  const count = causal ? length : weights.length;
  let top = -Infinity;
  for (let i = 0; i < count; i++) top = Math.max(top, weights[i]!);
  return Float64Array.from(weights, (w, i) => (i < count && w > -Infinity ? Math.exp(w - top) : 0));
}
