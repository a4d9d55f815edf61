import type { ToeplitzSpec } from "../specs.ts";
import type { CpuStorage } from "../../cpu/storage.ts";
import { FLOAT_BYTES, type CpuOperation, type FftOf } from "../cpu.ts";
import { createToeplitz } from "./cpu-product.ts";
import { spectrumCostBytes, spectrumStorageBytes } from "./cpu-spectrum.ts";

/** out_i = Σ_j W_ij v_j for `v: [batch, heads, N, channels]`. */
export function toeplitzOperation(spec: ToeplitzSpec, fftOf: FftOf): CpuOperation {
  const { batch, heads, length, channels } = spec;
  const sliceSize = length * channels;
  const bytes = FLOAT_BYTES * batch * heads * sliceSize;
  const { multiply, multiplyFlops, floats } = createToeplitz(spec, fftOf);
  return {
    label: "toeplitz",
    bytes: { v: bytes, spectrum: spectrumStorageBytes(spec), ...lengthsBytes(spec), out: bytes },
    bytesMinimum: 2 * bytes + spectrumCostBytes(spec),
    flops: batch * heads * channels * multiplyFlops,
    run(binding) {
      const v = binding("v").floats;
      const spectra = binding("spectrum").doubles;
      const out = binding("out").floats;
      const tokensOf = tokenCounts(spec, binding);
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

type Sequences = Pick<ToeplitzSpec, "batch" | "heads" | "length" | "variableLengths">;

/** The binding `lengths`, where there is one. */
export function lengthsBytes({ batch, variableLengths }: Sequences): Readonly<Record<string, number>> {
  return variableLengths ? { lengths: FLOAT_BYTES * batch } : {};
}

/** How many tokens count in a slice of [batch, heads]. */
export function tokenCounts({ heads, length, variableLengths }: Sequences, binding: (name: string) => CpuStorage): (slice: number) => number {
  const lengths = variableLengths ? binding("lengths").words : undefined;
  return (slice) => Math.min(length, lengths?.[Math.floor(slice / heads)] ?? length);
}
