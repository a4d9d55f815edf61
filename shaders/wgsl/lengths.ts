/** Variable lengths: of each batch row, tokens at or beyond its length have no influence, and their output is zero. */
import type { KernelBinding } from "./kernel.ts";
import type { RowPlaces } from "./rows.ts";
import { u32 } from "./wgsl.ts";

interface WithLengths {
  readonly variableLengths: boolean;
  /** What a head has besides rows: lengths count these tokens too. */
  readonly margin?: RowPlaces | undefined;
}

/** The binding `lengths: [B]` of a kernel, or none where all sequences have the full length. */
export function lengthBinding({ variableLengths }: WithLengths): readonly Omit<KernelBinding, "binding">[] {
  return variableLengths ? [{ name: "lengths", access: "read", element: "u32" }] : [];
}

/** The parameter that {@link lengthFunction} needs, or none: heads of a batch row. */
export function lengthParams({ variableLengths }: WithLengths): readonly string[] {
  return variableLengths ? ["heads"] : [];
}

/** `fn length_of(bh) -> u32`, the length of the batch row of a head; no text where all sequences have the full length. */
export function lengthFunction({ variableLengths, margin }: WithLengths): string {
  const length = "lengths[bh / params.heads]";
  const rows = margin?.tokens ? `max(${length}, ${u32(margin.tokens)}) - ${u32(margin.tokens)}` : length;
  return variableLengths ? `\nfn length_of(bh: u32) -> u32 { return min(${rows}, N); }\n` : "";
}

/** WGSL expression of the tokens of head `bh` that count: its length, or all `N`. */
export function tokensOf({ variableLengths }: WithLengths, bh = "bh"): string {
  return variableLengths ? `length_of(${bh})` : "N";
}
