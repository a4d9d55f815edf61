import type { ToeplitzSpec } from "../../spec/operations.ts";
import { float64Array } from "../memory.ts";
import { COMPLEX_MULTIPLY_FLOPS, FLOAT_BYTES, fftFlops, type CpuOperation, type FftOf } from "../operation.ts";
import { circulantLength, spectrumCostBytes, spectrumStorageBytes } from "./spectrum.ts";

/** out_i = Σ_j w[j − i + N − 1] v_j for `v: [batch, heads, N, channels]`. */
export function toeplitzOperation(spec: ToeplitzSpec, fftOf: FftOf): CpuOperation {
  const { batch, heads, length, channels } = spec;
  const sliceSize = length * channels;
  const bytes = FLOAT_BYTES * batch * heads * sliceSize;
  const multiply = createToeplitz(spec, fftOf);
  return {
    label: "toeplitz",
    bytes: { v: bytes, spectrum: spectrumStorageBytes(spec), out: bytes },
    bytesMinimum: 2 * bytes + spectrumCostBytes(spec),
    flops: toeplitzFlops(spec),
    run(binding) {
      const v = binding("v").floats;
      const spectra = binding("spectrum").doubles;
      const out = binding("out").floats;
      for (let slice = 0; slice < batch * heads; slice++) {
        const start = slice * sliceSize;
        multiply(v.subarray(start, start + sliceSize), spectra, slice % heads, (index, value) => {
          out[start + index] = value;
        });
      }
    },
  };
}

/** The product of one head's matrix with `v: [N, channels]`; `store` receives every element of the result, in float64. */
export type Toeplitz = (v: Float32Array, spectra: Float64Array, head: number, store: (index: number, value: number) => void) => void;

export function createToeplitz({ length, channels }: ToeplitzSpec, fftOf: FftOf): Toeplitz {
  const size = circulantLength(length);
  const fft = fftOf(size);
  const sequence = float64Array("cpu toeplitz", 2 * size);
  return (v, spectra, head, store) => {
    const spectrum = spectra.subarray(2 * size * head, 2 * size * (head + 1));
    for (let channel = 0; channel < channels; channel += 2) {
      // The matrix is real, so two real channels go through as the parts of one complex sequence.
      const paired = channel + 1 < channels;
      sequence.fill(0);
      for (let n = 0; n < length; n++) {
        sequence[2 * n] = v[n * channels + channel]!;
        if (paired) sequence[2 * n + 1] = v[n * channels + channel + 1]!;
      }
      fft.transform(sequence, "forward");
      multiplyInPlace(sequence, spectrum);
      fft.transform(sequence, "inverse");
      for (let n = 0; n < length; n++) {
        store(n * channels + channel, sequence[2 * n]! / size);
        if (paired) store(n * channels + channel + 1, sequence[2 * n + 1]! / size);
      }
    }
  };
}

export function toeplitzFlops(spec: ToeplitzSpec): number {
  const size = circulantLength(spec.length);
  const sequences = spec.batch * spec.heads * Math.ceil(spec.channels / 2);
  return sequences * (2 * fftFlops(size) + size * COMPLEX_MULTIPLY_FLOPS);
}

function multiplyInPlace(sequence: Float64Array, spectrum: Float64Array): void {
  for (let i = 0; i < sequence.length; i += 2) {
    const ar = sequence[i]!;
    const ai = sequence[i + 1]!;
    const br = spectrum[i]!;
    const bi = spectrum[i + 1]!;
    sequence[i] = ar * br - ai * bi;
    sequence[i + 1] = ar * bi + ai * br;
  }
}
