import type { FftOf } from "../../math/fft.ts";
import { readLengths } from "../lengths.ts";
import type { CpuComputation, CpuMemory } from "../operation.ts";
import { createToeplitz } from "./cpu-product.ts";
import { countedRows, headNumbers, productOf, type ToeplitzProduct } from "./outside.ts";
import type { ToeplitzSpec } from "./spec.ts";

/** out_i = Σ_j W_ij v_j for `v: [batch, heads, N, channels]`. */
export function toeplitzCpu(spec: ToeplitzSpec, fftOf: FftOf): CpuComputation {
  const product = productOf(spec);
  const { batch, heads, channels } = product;
  const { bytesOf, multiply, multiplyFlops, floats } = createToeplitz(product, fftOf);
  return {
    bytes: { spectrum: bytesOf(heads) },
    flops: batch * heads * channels * multiplyFlops,
    run(memoryOf) {
      const v = memoryOf("v").floats;
      const spectra = memoryOf("spectrum").doubles;
      const out = memoryOf("out").floats;
      const sliceOf = slices(product, memoryOf);
      out.fill(0);
      for (let slice = 0; slice < batch * heads; slice++) {
        const { start, end, rows } = sliceOf(slice);
        const head = slice % heads;
        const spectrum = spectra.subarray(head * floats, (head + 1) * floats);
        multiply(v.subarray(start, end), rows, channels, spectrum, (index, value) => {
          out[start + index] = value;
        });
      }
    },
  };
}

/** Where the rows of a slice of [batch, heads] lie in a tensor, and how many of them count. */
export function slices(product: ToeplitzProduct, memoryOf: (name: string) => CpuMemory) {
  const { heads, length, channels, margin, variableLengths } = product;
  const lengths = variableLengths ? readLengths(memoryOf("lengths"), length + (margin?.tokens ?? 0)) : undefined;
  return (slice: number): { readonly start: number; readonly end: number; readonly rows: number } => {
    const start = slice * headNumbers(product) + (margin?.before ?? 0);
    return { start, end: start + length * channels, rows: countedRows(product, lengths?.[Math.floor(slice / heads)] ?? 0) };
  };
}
