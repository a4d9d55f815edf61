import type { BindingUse, Handle } from "../../program/builder.ts";
import type { Slice } from "../../program/ranges.ts";

/** The weights of some heads, and the place of their spectra. */
export interface SpectrumHeads {
  readonly first: number;
  readonly count: number;
  /** The weights, or their exponentials: the range is that of these heads, but for what alignment adds. */
  readonly weights: BindingUse;
  /** Index of the first head's first weight in that range. */
  readonly firstWeight: number;
  /** Bytes that are read, if each weight that counts is read once. */
  readonly reads: number;
  /** The range that the spectra of these heads are written to, but for what alignment adds. */
  readonly spectrum: { readonly buffer: Handle; readonly slice: Slice };
}

/** A way to transform weights. */
export interface SpectrumMethod {
  /** Bytes of scratch for a head. */
  readonly headBytes: number;
  /** Adds the spectra of some heads, with scratch for them and no more. */
  add(heads: SpectrumHeads, scratch: number): void;
}
