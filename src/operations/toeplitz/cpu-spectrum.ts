import { weightsShape, type RelativePositions, type SpectrumSpec } from "../specs.ts";
import { elementCount } from "../../core/check.ts";
import { gridFloats } from "./cpu-grid.ts";
import { FLOAT_BYTES, type CpuOperation, type FftOf } from "../cpu.ts";
import { circulantPeriods, createToeplitz } from "./cpu-product.ts";

/** Bytes of the spectra as stored here, in float64: one for each head. */
export function spectrumStorageBytes(spec: RelativePositions & { readonly heads: number }): number {
  return Float64Array.BYTES_PER_ELEMENT * spec.heads * gridFloats(circulantPeriods(spec), true);
}

/** What the spectra would take as complex64: the number that costs are counted in. */
export function spectrumCostBytes(spec: RelativePositions & { readonly heads: number }): number {
  return FLOAT_BYTES * spec.heads * gridFloats(circulantPeriods(spec), true);
}

/** `weights: [heads, 2N − 1]` or `[heads, 2H − 1, 2W − 1]` to the transform of each head's circulant. */
export function spectrumOperation(spec: SpectrumSpec, fftOf: FftOf): CpuOperation {
  const { heads, exponential, causal } = spec;
  const toeplitz = createToeplitz(spec, fftOf);
  const weightBytes = FLOAT_BYTES * elementCount(weightsShape(spec));
  const size = weightBytes / FLOAT_BYTES / heads;
  return {
    label: "spectrum",
    bytes: { weights: weightBytes, spectrum: spectrumStorageBytes(spec) },
    bytesMinimum: weightBytes + spectrumCostBytes(spec),
    flops: heads * toeplitz.prepareFlops,
    run(binding) {
      const weights = binding("weights").floats;
      const spectra = binding("spectrum").doubles;
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
