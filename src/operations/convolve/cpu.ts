import { float64Array } from "../../math/memory.ts";
import { nextSmooth } from "../../math/smooth.ts";
import type { FftOf } from "../../math/fft.ts";
import type { CpuComputation, Floats } from "../operation.ts";
import { createGrid, spectrumBytes } from "../../math/grid.ts";
import type { ConvolveSpec, KernelAxis, KernelSpectrumSpec } from "./spec.ts";

/** What a convolution and its spectrum have in common. */
type Kernels = Pick<KernelSpectrumSpec, "circular" | "axes">;

/** `kernel: [kernels, …axes]` to the spectrum of each, in float64. */
export function kernelSpectrumCpu(spec: KernelSpectrumSpec, fftOf: FftOf): CpuComputation {
  const { kernels, axes } = spec;
  const floats = floatsOf(spec);
  const grid = createGrid(periods(spec), spec.dtype === "f32", fftOf);
  return {
    bytes: { spectrum: spectrumBytes(kernels, grid) },
    flops: kernels * grid.prepareFlops,
    run(memoryOf) {
      const kernel = memoryOf("kernel").floats;
      const spectra = memoryOf("spectrum").doubles.fill(0);
      const [height, width] = sizes(axes, (axis) => axis.kernel);
      for (let index = 0; index < kernels; index++) {
        const spectrum = spectra.subarray(index * grid.floats, (index + 1) * grid.floats);
        for (let y = 0; y < height; y++) {
          const from = floats * (index * height + y) * width;
          for (let i = 0; i < floats * width; i++) spectrum[y * grid.pitch + i] = kernel[from + i]!;
        }
        grid.prepare(spectrum);
      }
    },
  };
}

/** `x`, `out`: [repeats, kernels, …axes, inner]. */
export function convolveCpu(spec: ConvolveSpec, fftOf: FftOf): CpuComputation {
  const { dtype, mode, repeats, kernels, axes, inner } = spec;
  const floats = floatsOf(spec);
  const grid = createGrid(periods({ circular: mode === "circular", axes }), dtype === "f32", fftOf);
  const data = float64Array("cpu convolve", grid.floats);
  return {
    bytes: { spectrum: spectrumBytes(kernels, grid) },
    flops: repeats * kernels * inner * grid.convolveFlops,
    run(memoryOf) {
      const x = memoryOf("x").floats;
      const spectra = memoryOf("spectrum").doubles;
      const out = memoryOf("out").floats;
      const [height, width] = sizes(axes, (axis) => axis.length);
      const [outHeight, outWidth] = sizes(axes, (axis) => axis.output);
      const [offsetY, offsetX] = sizes(axes, (axis) => axis.offset, 0);
      for (let slice = 0; slice < repeats * kernels; slice++) {
        const kernel = slice % kernels;
        const spectrum = spectra.subarray(kernel * grid.floats, (kernel + 1) * grid.floats);
        for (let column = 0; column < inner; column++) {
          data.fill(0);
          for (let y = 0; y < height; y++) {
            const from = floats * ((slice * height + y) * width * inner + column);
            copy(x, from, floats * inner, data, y * grid.pitch, floats, width, floats);
          }
          grid.convolve(data, spectrum);
          for (let y = 0; y < outHeight; y++) {
            const to = floats * ((slice * outHeight + y) * outWidth * inner + column);
            copy(data, (y + offsetY) * grid.pitch + floats * offsetX, floats, out, to, floats * inner, outWidth, floats);
          }
        }
      }
    },
  };
}

function periods({ circular, axes }: Kernels): readonly number[] {
  return axes.map(({ period }) => (circular ? period : nextSmooth(period)));
}

function floatsOf({ dtype }: { readonly dtype: "f32" | "complex64" }): number {
  return dtype === "f32" ? 1 : 2;
}

/** Rows and columns; `one` stands for the rows where there is only one axis. */
function sizes<T extends KernelAxis>(axes: readonly T[], of: (axis: T) => number, one = 1): readonly [rows: number, columns: number] {
  return axes.length === 1 ? [one, of(axes[0]!)] : [of(axes[0]!), of(axes[1]!)];
}

/** Copies `count` elements of `floats` floats each, which lie a step apart on either side. */
function copy(from: Floats, fromStart: number, fromStep: number, to: Floats, toStart: number, toStep: number, count: number, floats: number): void {
  for (let n = 0; n < count; n++) {
    for (let i = 0; i < floats; i++) to[toStart + n * toStep + i] = from[fromStart + n * fromStep + i]!;
  }
}
