import type { BindingUse, Handle } from "../../program/builder.ts";
import type { Slice } from "../../program/ranges.ts";

/** The weights of some heads, and the place of their spectra. */
export interface SpectrumHeads {
  readonly first: number;
  readonly count: number;
  /** The weights, or their exponentials: the range is that of these heads, but for what alignment adds. */
  readonly weights: BindingUse;
  /** Of the first head, among the elements of that range. */
  readonly firstWeight: number;
  /** Bytes that are read, if each weight that counts is read once. */
  readonly reads: number;
  /** Where the spectra of these heads go. */
  readonly spectrum: { readonly buffer: Handle; readonly slice: Slice };
}

/** A way from weights to spectra. */
export interface SpectrumMethod {
  /** Scratch for a head. */
  readonly headBytes: number;
  /** Adds the spectra of some heads, with scratch for them and no more. */
  add(heads: SpectrumHeads, scratch: number): void;
}
