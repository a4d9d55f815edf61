import { elementCount } from "../../core/check.ts";
import type { FftOf } from "../../math/fft.ts";
import { createGrid, spectrumBytes } from "../../math/grid.ts";
import { float64Array } from "../../math/memory.ts";
import { nextSmooth } from "../../math/smooth.ts";
import { axisSizes, type RelativePositions, weightPlaces } from "./spec.ts";

/** Sizes of a circulant that holds the Toeplitz matrix as its corner: its 2N − 1 diagonals must not fall together. Even: rows split in two. */
function circulantPeriods(spec: RelativePositions): readonly number[] {
  const sizes = axisSizes(spec);
  return [...sizes.slice(0, -1).map((size) => nextSmooth(2 * size - 1)), 2 * nextSmooth(sizes.at(-1)!)];
}

/** Toeplitz matrices of relative positions, with the spectra of their circulants. */
export interface Toeplitz {
  /** Floats of a spectrum. */
  readonly floats: number;
  /** Bytes of so many spectra. */
  bytesOf(spectra: number): number;
  /** The spectrum of one head's `weights`, which may be of a type of their own. */
  prepare(weights: ArrayLike<number>, spectrum: Float64Array): void;
  /** W v, or Wᵀ v, for `v: [tokens, channels]`, of which what lies beyond counts as zero; `store` receives every element, in float64. */
  multiply(v: ArrayLike<number>, tokens: number, channels: number, spectrum: Float64Array, store: Store, transposed?: boolean): void;
  /** Adds the spectrum of Σ_i Σ_c g_ic v_{i+o,c} over offsets o, to `sum`. */
  correlate(g: ArrayLike<number>, v: ArrayLike<number>, tokens: number, channels: number, sum: Float64Array): void;
  /** Adds what {@link correlate} added up to its weights, which start at zero; overwrites `sum`. Of a causal matrix, offsets that do not count add nothing. */
  restore(sum: Float64Array, add: Store): void;
  /** Of one product with one channel, and of a preparation. */
  readonly multiplyFlops: number;
  readonly prepareFlops: number;
}

export type Store = (index: number, value: number) => void;

export function createToeplitz(positions: RelativePositions, fftOf: FftOf): Toeplitz {
  const { causal } = positions;
  const [width, height = 1] = [...axisSizes(positions)].reverse() as [number, number?];
  const periods = circulantPeriods(positions);
  const [rows, columns] = [elementCount(periods.slice(0, -1)), periods.at(-1)!];
  const grid = createGrid(periods, true, fftOf);
  const data = float64Array("cpu toeplitz", grid.floats);
  const other = float64Array("cpu toeplitz", grid.floats);

  const fill = (target: Float64Array, v: ArrayLike<number>, tokens: number, channels: number, channel: number) => {
    target.fill(0);
    for (let y = 0, token = 0; y < height; y++) {
      for (let x = 0; x < width && token < tokens; x++, token++) target[y * grid.pitch + x] = v[token * channels + channel]!;
    }
  };
  const placesOf = weightPlaces(positions);
  /** The weight of the offset (dy, dx), from query to key, moves a value by (−dy, −dx): calls with each weight that counts and the place of the offset. */
  const eachOffset = (sign: 1 | -1, visit: (index: number, place: number) => void) => {
    for (let dy = 1 - height; dy < height; dy++) {
      const y = sign * dy;
      const row = grid.pitch * (y < 0 ? rows + y : y);
      for (let dx = 1 - width; dx < (causal ? 1 : width); dx++) {
        const x = sign * dx;
        for (const index of placesOf(dy, dx)) visit(index, row + (x < 0 ? columns + x : x));
      }
    }
  };

  return {
    floats: grid.floats,
    bytesOf: (spectra) => spectrumBytes(spectra, grid),
    prepare(weights, spectrum) {
      spectrum.fill(0);
      eachOffset(-1, (index, place) => {
        spectrum[place]! += weights[index]!;
      });
      grid.prepare(spectrum);
    },
    multiply(v, tokens, channels, spectrum, store, transposed) {
      for (let channel = 0; channel < channels; channel++) {
        fill(data, v, tokens, channels, channel);
        grid.convolve(data, spectrum, transposed);
        for (let y = 0, token = 0; y < height; y++) {
          for (let x = 0; x < width && token < tokens; x++, token++) store(token * channels + channel, data[y * grid.pitch + x]!);
        }
      }
    },
    correlate(g, v, tokens, channels, sum) {
      for (let channel = 0; channel < channels; channel++) {
        fill(data, g, tokens, channels, channel);
        fill(other, v, tokens, channels, channel);
        grid.correlate(data, other, sum);
      }
    },
    restore(sum, add) {
      grid.restore(sum);
      eachOffset(1, (index, place) => add(index, sum[place]! / grid.points));
    },
    multiplyFlops: grid.convolveFlops,
    prepareFlops: grid.prepareFlops,
  };
}
