/**
 * Variable lengths: of each batch row, tokens at or beyond its length have no influence, and their output is zero.
 *
 * A length is an integer, or a float32 in its place: each from 1 on is, as bits, more than there are tokens. What the host could not check is cut
 * off at 0 and at all tokens.
 */
import type { KernelBinding } from "./kernel.ts";
import type { RowMargin } from "./rows.ts";
import { u32 } from "./wgsl.ts";

interface WithLengths {
  readonly variableLengths: boolean;
  /** What a head has besides rows: lengths count these tokens too. */
  readonly margin?: RowMargin | undefined;
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
  if (!variableLengths) return "";
  const around = u32(margin?.tokens ?? 0);
  return `
fn length_of(bh: u32) -> u32 {
  let given = lengths[bh / params.heads];
  let most = N + ${around};
  let tokens = select(given, u32(clamp(bitcast<f32>(given), 0.0, f32(most))), given > most);
  return min(max(tokens, ${around}) - ${around}, N);
}
`;
}

/** WGSL expression of the tokens of head `bh` that count: its length, or all `N`. */
export function tokensOf({ variableLengths }: WithLengths, bh = "bh"): string {
  return variableLengths ? `length_of(${bh})` : "N";
}
