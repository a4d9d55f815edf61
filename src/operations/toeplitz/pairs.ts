/** What dispatches of Toeplitz products bind, for a group of channel pairs. */
import { ELEMENT_BYTES, type Kernel } from "../../../shaders/wgsl/kernel.ts";
import type { StockhamShape } from "../../../shaders/fft/stockham.ts";
import type { BindingUse, Handle } from "../../program/builder.ts";
import { sliceBase } from "../../program/ranges.ts";
import { COMPLEX_BYTES } from "../../program/units.ts";
import type { PairGroup } from "./layout.ts";
import type { ToeplitzSpec } from "./spec.ts";

/** What a product is of, and where it goes. */
export type ToeplitzTensors = {
  readonly v: Handle;
  readonly spectrum: Handle;
  /** With variable lengths. */
  readonly lengths?: Handle;
  readonly out: Handle;
};

export interface ToeplitzVariant {
  /** The product is that of the transposed matrices. */
  readonly transposed?: boolean;
  /** Where among the spectra that of head 0 is, if the heads are some of those that have one. */
  readonly firstSpectrum?: number;
}

/** Up to so many pairs of channels, neighbouring rows lie closer than a memory sector: lanes run along them. */
const FEW_PAIRS = 2;

/** What a kernel subtracts from the place of a head's spectrum among those of its own heads. */
export function spectrumBase(kernel: Kernel, group: PairGroup, { firstSpectrum = 0 }: ToeplitzVariant, headBytes: number): number {
  return sliceBase(kernel, "spectrum", group.spectrum) - (firstSpectrum * headBytes) / COMPLEX_BYTES;
}

export function lanesFor(pairs: number): StockhamShape["lanes"] {
  return pairs <= FEW_PAIRS ? "points" : "columns";
}

/** What a group reads of v, or writes of the output: a pair is two channels, or the odd last one. */
export function rowsUse(spec: ToeplitzSpec, group: PairGroup, buffer: Handle, moves: "reads" | "writes"): BindingUse {
  const channels = Math.min(2 * (group.firstPair + group.pairs), spec.channels) - 2 * group.firstPair;
  const bytes = group.heads * spec.length * channels * ELEMENT_BYTES[spec.storage];
  return { buffer, ...(group.rows && { slice: group.rows }), [moves]: bytes };
}

/**
 * One head's spectrum serves all its pairs: from memory it comes once.
 *
 * @param headBytes what is read of it
 */
export function spectrumUse(spec: ToeplitzSpec, group: PairGroup, buffer: Handle, headBytes: number): BindingUse {
  const reads = Math.min(group.heads, spec.heads) * headBytes;
  return { buffer, ...(group.spectrum && { slice: group.spectrum }), reads };
}
