import { float64Array } from "../../math/memory.ts";
import { elementCount } from "../../core/check.ts";
import type { ConvolveSpec, KernelAxis, KernelSpectrumSpec } from "../specs.ts";
import { nextSmooth } from "../../math/smooth.ts";
import { createGrid, gridFloats } from "../toeplitz/cpu-grid.ts";
import { COMPLEX_BYTES, FLOAT_BYTES, type CpuOperation, type FftOf } from "../cpu.ts";

/** What a convolution and its spectrum have in common. */
type Kernels = Pick<KernelSpectrumSpec, "dtype" | "circular" | "kernels" | "axes">;

/** `kernel: [kernels, …axes]` to the spectrum of each, in float64. */
export function kernelSpectrumOperation(spec: KernelSpectrumSpec, fftOf: FftOf): CpuOperation {
  const { kernels, axes } = spec;
  const floats = floatsOf(spec);
  const grid = createGrid(periods(spec), spec.dtype === "f32", fftOf);
  const points = elementCount(axes.map((axis) => axis.kernel));
  const kernelBytes = bytesOf(spec) * kernels * points;
  return {
    label: "kernelSpectrum",
    bytes: { kernel: kernelBytes, spectrum: spectrumStorageBytes(spec) },
    bytesMinimum: kernelBytes + spectrumCostBytes(spec),
    flops: kernels * grid.prepareFlops,
    run(binding) {
      const kernel = binding("kernel").floats;
      const spectra = binding("spectrum").doubles.fill(0);
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
export function convolveOperation(spec: ConvolveSpec, fftOf: FftOf): CpuOperation {
  const { dtype, mode, shape, outputShape, repeats, kernels, axes, inner } = spec;
  const kernelsOfSpec = { dtype, circular: mode === "circular", kernels, axes };
  const floats = floatsOf(spec);
  const grid = createGrid(periods(kernelsOfSpec), dtype === "f32", fftOf);
  const data = float64Array("cpu convolve", grid.floats);
  const [inputBytes, outputBytes] = [bytesOf(spec) * elementCount(shape), bytesOf(spec) * elementCount(outputShape)];
  return {
    label: "convolve",
    bytes: { x: inputBytes, spectrum: spectrumStorageBytes(kernelsOfSpec), out: outputBytes },
    bytesMinimum: inputBytes + spectrumCostBytes(kernelsOfSpec) + outputBytes,
    flops: repeats * kernels * inner * grid.convolveFlops,
    run(binding) {
      const x = binding("x").floats;
      const spectra = binding("spectrum").doubles;
      const out = binding("out").floats;
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

/** In float64: a spectrum for each kernel. */
function spectrumStorageBytes(spec: Kernels): number {
  return Float64Array.BYTES_PER_ELEMENT * spec.kernels * gridFloats(periods(spec), spec.dtype === "f32");
}

/** What the spectra would take as complex64: the number that costs are counted in. */
function spectrumCostBytes(spec: Kernels): number {
  return FLOAT_BYTES * spec.kernels * gridFloats(periods(spec), spec.dtype === "f32");
}

function periods({ circular, axes }: Kernels): readonly number[] {
  return axes.map(({ period }) => (circular ? period : nextSmooth(period)));
}

function floatsOf({ dtype }: { readonly dtype: "f32" | "complex64" }): number {
  return dtype === "f32" ? 1 : 2;
}

function bytesOf({ dtype }: { readonly dtype: "f32" | "complex64" }): number {
  return dtype === "f32" ? FLOAT_BYTES : COMPLEX_BYTES;
}

/** Rows and columns; `one` stands for the rows where there is only one axis. */
function sizes<T extends KernelAxis>(axes: readonly T[], of: (axis: T) => number, one = 1): readonly [rows: number, columns: number] {
  return axes.length === 1 ? [one, of(axes[0]!)] : [of(axes[0]!), of(axes[1]!)];
}

/** Copies `count` elements of `floats` floats each, which lie a step apart on either side. */
function copy(
  from: Float32Array | Float64Array,
  fromStart: number,
  fromStep: number,
  to: Float32Array | Float64Array,
  toStart: number,
  toStep: number,
  count: number,
  floats: number,
): void {
  for (let n = 0; n < count; n++) {
    for (let i = 0; i < floats; i++) to[toStart + n * toStep + i] = from[fromStart + n * fromStep + i]!;
  }
}
