/** Variable lengths: of each batch row, tokens at or beyond its length have no influence, and their output is zero. */
import type { KernelBinding } from "./kernel.ts";

interface WithLengths {
  readonly variableLengths: boolean;
}

/** Binding `lengths: [B]`, where there are such. */
export function lengthBinding({ variableLengths }: WithLengths): readonly Omit<KernelBinding, "binding">[] {
  return variableLengths ? [{ name: "lengths", access: "read", element: "u32" }] : [];
}

/** The parameter that {@link lengthFunction} needs: heads of a batch row. */
export function lengthParams({ variableLengths }: WithLengths): readonly string[] {
  return variableLengths ? ["heads"] : [];
}

/** `fn length_of(bh) -> u32` where there are lengths. */
export function lengthFunction({ variableLengths }: WithLengths): string {
  return variableLengths ? "\nfn length_of(bh: u32) -> u32 { return min(lengths[bh / params.heads], N); }\n" : "";
}
