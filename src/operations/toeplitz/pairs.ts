/** Tensors of Toeplitz products, and the bindings of them for a group of channel pairs. */
import { ELEMENT_BYTES } from "../../../shaders/wgsl/kernel.ts";
import type { StockhamShape } from "../../../shaders/fft/stockham.ts";
import type { BindingUse, Handle } from "../../program/builder.ts";
import type { PairGroup } from "./layout.ts";
import type { TensorStrides, ToeplitzProduct } from "./outside.ts";

/** The tensors of a Toeplitz product. */
export type ToeplitzTensors = {
  readonly v: Handle;
  readonly spectrum: Handle;
  /** The tensor `lengths`, where lengths vary. */
  readonly lengths?: Handle;
  readonly out: Handle;
};

/** Variants of a Toeplitz product with the same spectra. */
export interface ToeplitzVariant {
  /** Whether the product is that of the transposed matrices. */
  readonly transposed?: boolean;
  /** Index of the spectrum of head 0, where the heads are some of those that have one. */
  readonly firstSpectrum?: number;
  /** Where the tokens of `v` and `out` lie, if not head by head. */
  readonly strides?: TensorStrides | undefined;
}

/** With at most so many pairs of channels, neighbouring rows lie closer than a memory sector: lanes run along them. */
const FEW_PAIRS = 2;

/** What neighbouring lanes take where a workgroup transforms channels of so many pairs. */
export function lanesFor(pairs: number): StockhamShape["lanes"] {
  return pairs <= FEW_PAIRS ? "points" : "columns";
}

/** The rows of a group in `v` or in the output as a binding: a pair is two channels, or the odd last one. */
export function rowsUse(spec: ToeplitzProduct, group: PairGroup, buffer: Handle, moves: "reads" | "writes"): BindingUse {
  const channels = Math.min(2 * (group.firstPair + group.pairs), spec.channels) - 2 * group.firstPair;
  return { buffer, slice: group.rows, [moves]: group.heads * spec.length * channels * ELEMENT_BYTES[spec.storage] };
}

/**
 * The spectra of a group as a binding. That of a head serves all its pairs: from memory it comes once.
 *
 * @param headBytes bytes of the spectrum of a head
 * @param reads bytes that are read of it
 */
export function spectrumUse(
  { heads }: ToeplitzProduct,
  group: PairGroup,
  buffer: Handle,
  { firstSpectrum = 0 }: ToeplitzVariant,
  headBytes: number,
  reads = headBytes,
): BindingUse {
  const slice = group.spectrum;
  return { buffer, slice, start: (slice?.offset ?? 0) - firstSpectrum * headBytes, reads: Math.min(group.heads, heads) * reads };
}
