import { float64Array } from "../../math/memory.ts";
import { elementCount } from "../../core/check.ts";
import { type ToeplitzGradientSpec, weightsShape } from "../specs.ts";
import { FLOAT_BYTES, type CpuOperation, type FftOf } from "../cpu.ts";
import { createToeplitz } from "./cpu-product.ts";
import { spectrumCostBytes, spectrumStorageBytes } from "./cpu-spectrum.ts";
import { lengthsBytes, tokenCounts } from "./cpu.ts";

/** dv = Wᵀ dOut, and dWeights[h, o] = Σ_i dOut_i·v_{i+o} over the batch and the channels. */
export function toeplitzGradientOperation(spec: ToeplitzGradientSpec, fftOf: FftOf): CpuOperation {
  const { batch, heads, length, channels } = spec;
  const sliceSize = length * channels;
  const bytes = FLOAT_BYTES * batch * heads * sliceSize;
  const weights = elementCount(weightsShape(spec).slice(1));
  const weightBytes = FLOAT_BYTES * heads * weights;
  const toeplitz = createToeplitz(spec, fftOf);
  const { floats, multiplyFlops } = toeplitz;
  return {
    label: "toeplitz gradient",
    bytes: { v: bytes, spectrum: spectrumStorageBytes(spec), ...lengthsBytes(spec), dOut: bytes, dv: bytes, dWeights: weightBytes },
    bytesMinimum: 3 * bytes + spectrumCostBytes(spec) + weightBytes,
    flops: 2 * batch * heads * channels * multiplyFlops,
    run(binding) {
      const [v, dOut, dv, dWeights] = [binding("v").floats, binding("dOut").floats, binding("dv").floats, binding("dWeights").floats];
      const spectra = binding("spectrum").doubles;
      const tokensOf = tokenCounts(spec, binding);
      if (spec.variableLengths) dv.fill(0);
      const sum = float64Array("cpu toeplitz", floats);
      for (let head = 0; head < heads; head++) {
        const spectrum = spectra.subarray(head * floats, (head + 1) * floats);
        sum.fill(0);
        for (let b = 0; b < batch; b++) {
          const slice = b * heads + head;
          const start = slice * sliceSize;
          const tokens = tokensOf(slice);
          const g = dOut.subarray(start, start + sliceSize);
          const store = (index: number, value: number) => {
            dv[start + index] = value;
          };
          toeplitz.multiply(g, tokens, channels, spectrum, store, true);
          toeplitz.correlate(g, v.subarray(start, start + sliceSize), tokens, channels, sum);
        }
        toeplitz.restore(sum, (index, value) => {
          dWeights[head * weights + index] = value;
        });
      }
    },
  };
}
