import { float64Array } from "../../math/memory.ts";
import type { ToeplitzSpec } from "../../spec/operations.ts";
import { createGrid } from "../grid.ts";
import { FLOAT_BYTES, type CpuOperation, type FftOf } from "../operation.ts";
import { circulantPeriods, spectrumCostBytes, spectrumStorageBytes } from "./spectrum.ts";

/** out_i = Σ_j W_ij v_j for `v: [batch, heads, N, channels]`. */
export function toeplitzOperation(spec: ToeplitzSpec, fftOf: FftOf): CpuOperation {
  const { batch, heads, length, channels } = spec;
  const sliceSize = length * channels;
  const bytes = FLOAT_BYTES * batch * heads * sliceSize;
  const { multiply, flops } = createToeplitz(spec, fftOf);
  return {
    label: "toeplitz",
    bytes: { v: bytes, spectrum: spectrumStorageBytes(spec), out: bytes },
    bytesMinimum: 2 * bytes + spectrumCostBytes(spec),
    flops: batch * heads * flops,
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

export interface Toeplitz {
  /** The product of one head's matrix with `v: [N, channels]`; `store` receives every element of the result, in float64. */
  multiply(v: Float32Array, spectra: Float64Array, head: number, store: (index: number, value: number) => void): void;
  /** Of one product. */
  readonly flops: number;
}

export function createToeplitz(spec: ToeplitzSpec, fftOf: FftOf): Toeplitz {
  const { length, channels } = spec;
  const [height, width] = spec.grid ?? [1, length];
  const grid = createGrid(circulantPeriods(spec), true, fftOf);
  const data = float64Array("cpu toeplitz", grid.floats);
  return {
    multiply(v, spectra, head, store) {
      const spectrum = spectra.subarray(head * grid.floats, (head + 1) * grid.floats);
      for (let channel = 0; channel < channels; channel++) {
        data.fill(0);
        for (let y = 0, index = channel; y < height; y++) {
          for (let x = 0; x < width; x++, index += channels) data[y * grid.pitch + x] = v[index]!;
        }
        grid.convolve(data, spectrum);
        for (let y = 0, index = channel; y < height; y++) {
          for (let x = 0; x < width; x++, index += channels) store(index, data[y * grid.pitch + x]!);
        }
      }
    },
    flops: channels * grid.convolveFlops,
  };
}
