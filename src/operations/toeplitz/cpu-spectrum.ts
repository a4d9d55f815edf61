import { elementCount } from "../../core/check.ts";
import type { FftOf } from "../../math/fft.ts";
import type { CpuComputation } from "../operation.ts";
import { createToeplitz } from "./cpu-product.ts";
import { type SpectrumSpec, weightsShape } from "./spec.ts";

/** `weights: [heads, 2N − 1]` or `[heads, 2H − 1, 2W − 1]` to the transform of each head's circulant. */
export function spectrumCpu(spec: SpectrumSpec, fftOf: FftOf): CpuComputation {
  const { heads, exponential, causal } = spec;
  const toeplitz = createToeplitz(spec, fftOf);
  const size = elementCount(weightsShape(spec).slice(1));
  return {
    spectrumBytes: toeplitz.bytesOf(heads),
    flops: heads * toeplitz.prepareFlops,
    run(memoryOf) {
      const weights = memoryOf("weights").floats;
      const spectra = memoryOf("spectrum").doubles;
      for (let head = 0; head < heads; head++) {
        const own = weights.subarray(head * size, (head + 1) * size);
        const spectrum = spectra.subarray(head * toeplitz.floats, (head + 1) * toeplitz.floats);
        toeplitz.prepare(exponential ? exponentials(own, causal ? spec.length : size) : own, spectrum);
      }
    },
  };
}

/** exp(w − max w), with the maximum over the first `count`: in a causal sequence the offsets up to 0 come first. */
function exponentials(weights: Float32Array, count: number): Float64Array {
  let top = -Infinity;
  for (let i = 0; i < count; i++) top = Math.max(top, weights[i]!);
  return Float64Array.from(weights, (w) => Math.exp(w - top));
}
