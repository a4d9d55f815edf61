import { cpuOnDemand, layout, type Operation, task } from "../operation.ts";
import { planConvolve, planKernelSpectrum, spectrumPoints } from "./plan.ts";
import { type ConvolveSpec, type KernelSpectrumSpec, kernelSpectrumSpec } from "./spec.ts";

/** Convolutions: `x`, `spectrum` → `out`. */
export const convolve: Operation<ConvolveSpec> = {
  name: "convolve",
  label: ({ axes }) => `convolve ${axes.map((axis) => axis.length).join("×")}`,
  tensors: ({ shape, outputShape, dtype, mode, kernels, axes }, limits) => ({
    x: layout("input", shape, dtype),
    spectrum: layout("input", [kernels, spectrumPoints(axes, mode === "circular", limits)], "complex64"),
    out: layout("output", outputShape, dtype),
  }),
  plan: planConvolve,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).convolveCpu),
  preparation: (spec) => task(kernelSpectrum, kernelSpectrumSpec(spec)),
  tuned: ({ operation, dtype, axes, inner }) => ({ operation, dtype, axes, inner }),
};

/** The spectra of kernels: `kernel` → `spectrum`. */
export const kernelSpectrum: Operation<KernelSpectrumSpec> = {
  name: "convolve spectrum",
  label: ({ axes }) => `convolve spectrum ${axes.map((axis) => axis.kernel).join("×")}`,
  describe({ kernels, dtype, axes, circular }) {
    const sizes = axes.map((axis) => `${axis.kernel} in a period of ${axis.period}`).join(" × ");
    return `${kernels} ${dtype} kernels of ${sizes} points${circular ? ", circular" : ""}`;
  },
  tensors: ({ kernels, axes, dtype, circular }, limits) => ({
    kernel: layout("input", [kernels, ...axes.map((axis) => axis.kernel)], dtype),
    spectrum: layout("output", [kernels, spectrumPoints(axes, circular, limits)], "complex64"),
  }),
  plan: planKernelSpectrum,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).kernelSpectrumCpu),
  tuned: ({ operation, dtype, axes }) => ({ operation, dtype, axes }),
};
