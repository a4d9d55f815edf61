import type { SpectrumSpec } from "../../spec/operations.ts";
import { nextSmooth } from "../../spec/smooth.ts";
import { COMPLEX_BYTES, FLOAT_BYTES, fftFlops, type CpuOperation, type FftOf } from "../operation.ts";

/** Size of a circulant that holds the N×N Toeplitz matrix as its corner: its 2N − 1 diagonals must not fall together. */
export function circulantLength(length: number): number {
  return nextSmooth(2 * length - 1);
}

/** Bytes of the spectra as stored here, in float64: [heads, circulantLength] complex. */
export function spectrumStorageBytes(spec: { readonly heads: number; readonly length: number }): number {
  return 2 * Float64Array.BYTES_PER_ELEMENT * spec.heads * circulantLength(spec.length);
}

/** What the spectra would take as complex64: the number that costs are counted in. */
export function spectrumCostBytes(spec: { readonly heads: number; readonly length: number }): number {
  return COMPLEX_BYTES * spec.heads * circulantLength(spec.length);
}

/** `weights: [heads, 2N − 1]` to the transform of each head's circulant. */
export function spectrumOperation(spec: SpectrumSpec, fftOf: FftOf): CpuOperation {
  const { heads, length } = spec;
  const diagonals = 2 * length - 1;
  const size = circulantLength(length);
  const fft = fftOf(size);
  const weightBytes = FLOAT_BYTES * heads * diagonals;
  return {
    label: "spectrum",
    bytes: { weights: weightBytes, spectrum: spectrumStorageBytes(spec) },
    bytesMinimum: weightBytes + spectrumCostBytes(spec),
    flops: heads * fftFlops(size),
    run(binding) {
      const weights = binding("weights").floats;
      const spectra = binding("spectrum").doubles;
      spectra.fill(0);
      for (let head = 0; head < heads; head++) {
        const circulant = spectra.subarray(2 * size * head, 2 * size * (head + 1));
        // W_ij = w[j − i + N − 1] = c[(i − j) mod size]
        for (let index = 0; index < diagonals; index++) {
          const lag = length - 1 - index;
          circulant[2 * (lag < 0 ? lag + size : lag)] = weights[head * diagonals + index]!;
        }
        fft.transform(circulant, "forward");
      }
    },
  };
}
