/** The weights of a multiplicative bias, which stand behind the spectra of all heads: for sums that transforms cannot do. */
import { KEPT } from "../../../shaders/toeplitz/exponentials.ts";
import { elementCount } from "../../core/check.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import type { BindingUse, Handle } from "../../program/builder.ts";
import { sliceBytes } from "../../program/ranges.ts";
import type { Span } from "../../program/slices.ts";
import { FLOAT_BYTES } from "../../program/units.ts";
import { headSpectrumBytes } from "./layout.ts";
import { type RelativePositions, weightsShape } from "./spec.ts";

type Positions = RelativePositions & { readonly heads: number };

/** Weights of a head. */
export function headWeights(spec: Positions): number {
  return elementCount(weightsShape(spec).slice(1));
}

/** Numbers of the record of a head. */
export function keptNumbers(spec: Positions): number {
  return KEPT.weights + headWeights(spec);
}

/** The records of some heads as a binding, for kernels that count from that of head `origin`. */
export function keptUse(
  limits: PlannerLimits,
  spec: Positions,
  spectrum: Handle,
  { first, count }: Span,
  origin = 0,
): Required<Omit<BindingUse, "reads" | "writes">> {
  const start = spec.heads * headSpectrumBytes(spec, limits);
  const bytes = keptNumbers(spec) * FLOAT_BYTES;
  const slice = sliceBytes(limits, start + first * bytes, start + (first + count) * bytes);
  return { buffer: spectrum, slice, start: slice.offset - start - origin * bytes };
}
