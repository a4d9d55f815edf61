import { cpuOnDemand, layout, type Operation, task } from "../operation.ts";
import { planFft } from "./plan.ts";
import { fftGradientSpec, type FftSpec, fftTensor } from "./spec.ts";

/** FFTs along one to three axes, complex or real: `x` → `out`, or `out` in place. */
export const fft: Operation<FftSpec> = {
  name: "fft",
  label: ({ direction, axes, shape, storage }) => `fft ${direction} ${axes.map((axis) => shape[axis]).join("×")}${storage === "f16" ? ", f16" : ""}`,
  tensors(spec) {
    const [x, out] = [fftTensor(spec, "input"), fftTensor(spec, "output")];
    if (spec.inPlace) return { out: layout("inout", out.shape, out.dtype) };
    return { x: layout("input", x.shape, x.dtype), out: layout("output", out.shape, out.dtype) };
  },
  plan: planFft,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).fftCpu),
  gradient: (spec) => task(fft, fftGradientSpec(spec)),
  tuned({ operation, kind, direction, shape, axes }) {
    const first = Math.min(...axes);
    return { operation, kind, direction, shape: shape.slice(first), axes: axes.map((axis) => axis - first) };
  },
};
