import { lengthsLayout } from "../lengths.ts";
import { cpuOnDemand, layout, type Operation, task, type TensorLayout } from "../operation.ts";
import { planToeplitzGradient } from "./gradient.ts";
import { headSpectrumPoints } from "./layout.ts";
import { planToeplitz } from "./plan.ts";
import {
  formName,
  isSeparable,
  type RelativePositions,
  separableOffsets,
  spectrumSpec,
  type SpectrumSpec,
  toeplitzGradientSpec,
  type ToeplitzGradientSpec,
  type ToeplitzSpec,
  weightsShape,
} from "./spec.ts";
import { keptNumbers } from "./kept.ts";
import { planSpectrum } from "./spectrum.ts";
import type { PlannerLimits } from "../../core/limits.ts";

type Rows = Pick<ToeplitzSpec, "batch" | "heads" | "length" | "channels" | "storage">;

function rows(role: TensorLayout["role"], { batch, heads, length, channels, storage }: Rows): TensorLayout {
  return layout(role, [batch, heads, length, channels], storage);
}

/** The spectra of all heads, as the product reads them: of a separable bias, weights of all offsets, of a multiplicative one also what is kept of them. */
export function spectrumLayout(
  role: TensorLayout["role"],
  spec: RelativePositions & { readonly heads: number; readonly exponential?: boolean },
  limits: PlannerLimits,
): TensorLayout {
  if (isSeparable(spec)) return layout(role, [spec.heads, separableOffsets(spec)]);
  const points = headSpectrumPoints(spec, limits);
  if (!spec.exponential) return layout(role, [spec.heads, points], "complex64");
  return layout(role, [spec.heads * points + Math.ceil((spec.heads * keptNumbers(spec)) / 2)], "complex64");
}

function sizes({ grid, length }: RelativePositions): string {
  return (grid ?? [length]).join("×");
}

/** The FastRPB product: `v`, `spectrum`, and `lengths` with variable ones → `out`. */
export const toeplitz: Operation<ToeplitzSpec> = {
  name: "toeplitz",
  label: (spec) => `toeplitz ${sizes(spec)}`,
  tensors: (spec, limits) => ({
    v: rows("input", spec),
    spectrum: spectrumLayout("input", spec, limits),
    ...lengthsLayout(spec),
    out: rows("output", spec),
  }),
  plan: planToeplitz,
  ...cpuOnDemand(async () => (await import("./cpu.ts")).toeplitzCpu),
  gradient: (spec) => task(toeplitzGradient, toeplitzGradientSpec(spec)),
  preparation: (spec) => task(spectrum, spectrumSpec(spec)),
};

/** The gradient of the FastRPB product: `v`, `spectrum`, `lengths`, `dOut` → `dv`, `dWeights`. */
export const toeplitzGradient: Operation<ToeplitzGradientSpec> = {
  name: "toeplitz gradient",
  label: (spec) => `toeplitz gradient ${sizes(spec)}`,
  tensors: (spec, limits) => ({
    v: rows("input", spec),
    spectrum: spectrumLayout("input", spec, limits),
    ...lengthsLayout(spec),
    dOut: rows("input", spec),
    dv: rows("output", spec),
    dWeights: layout("output", weightsShape(spec)),
  }),
  plan: planToeplitzGradient,
  ...cpuOnDemand(async () => (await import("./cpu-gradient.ts")).toeplitzGradientCpu),
  preparation: (spec) => task(spectrum, spectrumSpec(spec)),
};

/** The spectra of weights: `weights` → `spectrum`. */
export const spectrum: Operation<SpectrumSpec> = {
  name: "toeplitz spectrum",
  label: (spec) => `toeplitz spectrum ${sizes(spec)}`,
  describe: ({ heads, grid, length, causal, form }) =>
    `${heads} heads and ${grid ? `grid ${grid.join(" × ")}` : `length ${length}`}${causal ? ", causal" : ""}${form ? `, in the form ${formName(form)}` : ""}`,
  tensors: (spec, limits) => ({
    weights: layout("input", weightsShape(spec)),
    spectrum: spectrumLayout("output", spec, limits),
  }),
  plan: planSpectrum,
  ...cpuOnDemand(async () => (await import("./cpu-spectrum.ts")).spectrumCpu),
};
