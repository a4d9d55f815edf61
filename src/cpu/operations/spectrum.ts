import { weightsShape, type RelativePositions, type SpectrumSpec } from "../../spec/operations.ts";
import { elementCount } from "../../spec/check.ts";
import { nextSmooth } from "../../spec/smooth.ts";
import { createGrid, gridFloats } from "../grid.ts";
import { FLOAT_BYTES, type CpuOperation, type FftOf } from "../operation.ts";

/** Sizes of a circulant that holds the Toeplitz matrix as its corner: its 2N − 1 diagonals must not fall together. Even: rows split in two. */
export function circulantPeriods({ length, grid }: RelativePositions): readonly number[] {
  return grid ? [nextSmooth(2 * grid[0] - 1), 2 * nextSmooth(grid[1])] : [2 * nextSmooth(length)];
}

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
  const { heads, length, causal } = spec;
  const [height, width] = spec.grid ?? [1, length];
  const periods = circulantPeriods(spec);
  const [rows, columns] = [elementCount(periods.slice(0, -1)), periods.at(-1)!];
  const grid = createGrid(periods, true, fftOf);
  const weightBytes = FLOAT_BYTES * elementCount(weightsShape(spec));
  return {
    label: "spectrum",
    bytes: { weights: weightBytes, spectrum: spectrumStorageBytes(spec) },
    bytesMinimum: weightBytes + spectrumCostBytes(spec),
    flops: heads * grid.prepareFlops,
    run(binding) {
      const weights = binding("weights").floats;
      const spectra = binding("spectrum").doubles.fill(0);
      let index = 0;
      for (let head = 0; head < heads; head++) {
        const circulant = spectra.subarray(head * grid.floats, (head + 1) * grid.floats);
        // The weight of the offset (dy, dx), from query to key, moves a value by (−dy, −dx).
        for (let dy = 1 - height; dy < height; dy++) {
          const row = grid.pitch * (dy > 0 ? rows - dy : -dy);
          for (let dx = 1 - width; dx < width; dx++, index++) {
            if (!causal || dx <= 0) circulant[row + (dx > 0 ? columns - dx : -dx)] = weights[index]!;
          }
        }
        grid.prepare(circulant);
      }
    },
  };
}
