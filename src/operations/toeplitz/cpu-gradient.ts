import { elementCount } from "../../core/check.ts";
import type { FftOf } from "../../math/fft.ts";
import { float64Array } from "../../math/memory.ts";
import type { CpuComputation } from "../operation.ts";
import { createToeplitz } from "./cpu-product.ts";
import { slices } from "./cpu.ts";
import { productOf } from "./outside.ts";
import { type ToeplitzGradientSpec, weightsShape } from "./spec.ts";

/** dv = Wᵀ dOut, and dWeights[h, o] = Σ_i dOut_i·v_{i+o} over the batch and the channels. */
export function toeplitzGradientCpu(spec: ToeplitzGradientSpec, fftOf: FftOf): CpuComputation {
  const product = productOf(spec);
  const { batch, heads, channels } = product;
  const weights = elementCount(weightsShape(spec).slice(1));
  const toeplitz = createToeplitz(product, fftOf);
  const { floats, multiplyFlops } = toeplitz;
  return {
    bytes: { spectrum: toeplitz.bytesOf(heads) },
    flops: 2 * batch * heads * channels * multiplyFlops,
    run(memoryOf) {
      const [v, dOut, dv, dWeights] = [memoryOf("v").floats, memoryOf("dOut").floats, memoryOf("dv").floats, memoryOf("dWeights").floats];
      const spectra = memoryOf("spectrum").doubles;
      const sliceOf = slices(product, memoryOf);
      dv.fill(0);
      const weightSums = float64Array("cpu toeplitz", weights);
      const sum = float64Array("cpu toeplitz", floats);
      for (let head = 0; head < heads; head++) {
        const spectrum = spectra.subarray(head * floats, (head + 1) * floats);
        sum.fill(0);
        for (let b = 0; b < batch; b++) {
          const { start, end, rows } = sliceOf(b * heads + head);
          const g = dOut.subarray(start, end);
          const store = (index: number, value: number) => {
            dv[start + index] = value;
          };
          toeplitz.multiply(g, rows, channels, spectrum, store, true);
          toeplitz.correlate(g, v.subarray(start, end), rows, channels, sum);
        }
        weightSums.fill(0);
        toeplitz.restore(sum, (index, value) => {
          weightSums[index]! += value;
        });
        dWeights.set(weightSums, head * weights);
      }
    },
  };
}
