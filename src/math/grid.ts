import { elementCount } from "../core/check.ts";
import type { Fft, FftOf } from "./fft.ts";
import { fftFlops, MULTIPLY_FLOPS } from "./flops.ts";
import { createLineTransform } from "./lines.ts";
import { createRealFft } from "./real-fft.ts";

/**
 * Circular convolutions over one axis or two, in float64. A grid is `[rows, pitch]` floats: each row holds complex numbers, or as many
 * real ones with room for their half spectrum. Real data has real transforms of its own, so that nothing leaks from one sequence to another.
 */
export interface Grid {
  /** Floats in a grid, and in the spectrum of one. */
  readonly floats: number;
  /** Floats from one row to the next. */
  readonly pitch: number;
  /** Grid to spectrum, scaled such that `convolve` needs no factor. */
  prepare(kernel: Float64Array): void;
  /** Convolves the grid with the kernel of that spectrum, in place; `transposed`: correlates. */
  convolve(grid: Float64Array, spectrum: Float64Array, transposed?: boolean): void;
  /** Adds the spectrum of Σ_i g_i x_{i+n}, n modulo the periods, to `sum`; overwrites both grids. */
  correlate(g: Float64Array, x: Float64Array, sum: Float64Array): void;
  /** Back from what {@link prepare} or {@link correlate} gave, in place: the latter `points` times too large. */
  restore(spectrum: Float64Array): void;
  readonly points: number;
  /** Of one `prepare`, and of one `convolve`. */
  readonly prepareFlops: number;
  readonly convolveFlops: number;
}

/** Bytes of so many spectra, in float64. */
export function spectrumBytes(count: number, { floats }: Grid): number {
  return Float64Array.BYTES_PER_ELEMENT * count * floats;
}

function gridPitch(length: number, real: boolean): number {
  return real ? 2 * (Math.floor(length / 2) + 1) : 2 * length;
}

/** @param periods of the columns, if there are two axes, and of the rows */
export function createGrid(periods: readonly number[], real: boolean, fftOf: FftOf): Grid {
  const rows = elementCount(periods.slice(0, -1));
  const length = periods.at(-1)!;
  const pitch = gridPitch(length, real);
  const alongRows = createRowTransform(rows, length, pitch, real, fftOf);
  const alongColumns = createLineTransform({ outer: 1, length: rows, inner: pitch / 2 }, fftOf(rows));
  const points = rows * length;
  const forward = (data: Float64Array) => {
    alongRows(data, "forward");
    alongColumns(data, "forward");
  };
  const inverse = (data: Float64Array) => {
    alongColumns(data, "inverse");
    alongRows(data, "inverse");
  };
  const prepareFlops = (rows * fftFlops(length) + length * fftFlops(rows)) / (real ? 2 : 1);
  return {
    floats: rows * pitch,
    pitch,
    prepare(kernel) {
      forward(kernel);
      for (let i = 0; i < kernel.length; i++) kernel[i]! /= points;
    },
    convolve(grid, spectrum, transposed = false) {
      forward(grid);
      multiply(grid, spectrum, transposed);
      inverse(grid);
    },
    correlate(g, x, sum) {
      forward(g);
      forward(x);
      multiply(x, g, true);
      for (let i = 0; i < sum.length; i++) sum[i]! += x[i]!;
    },
    restore: inverse,
    points,
    prepareFlops,
    convolveFlops: 2 * prepareFlops + (MULTIPLY_FLOPS * rows * pitch) / 2,
  };
}

function createRowTransform(rows: number, length: number, pitch: number, real: boolean, fftOf: FftOf) {
  const row = (data: Float64Array, index: number) => data.subarray(index * pitch, (index + 1) * pitch);
  if (real) {
    const fft = createRealFft(length, fftOf);
    return (data: Float64Array, direction: "forward" | "inverse") => {
      for (let index = 0; index < rows; index++) fft[direction](row(data, index));
    };
  }
  const fft: Fft = fftOf(length);
  return (data: Float64Array, direction: "forward" | "inverse") => {
    for (let index = 0; index < rows; index++) fft.transform(row(data, index), direction);
  };
}

function multiply(data: Float64Array, spectrum: Float64Array, conjugate: boolean): void {
  for (let i = 0; i < data.length; i += 2) {
    const ar = data[i]!;
    const ai = data[i + 1]!;
    const br = spectrum[i]!;
    const bi = conjugate ? -spectrum[i + 1]! : spectrum[i + 1]!;
    data[i] = ar * br - ai * bi;
    data[i + 1] = ar * bi + ai * br;
  }
}
