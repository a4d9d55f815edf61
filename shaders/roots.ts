/**
 * Roots of unity from tables made in float64: WGSL guarantees sin and cos only to 2⁻¹¹, a table to half a unit in the last place.
 *
 * `root(i)` is exp(−2πi·i/order), 0 ≤ i < order. Small orders have a full table. Large ones are split, i = c·2^s + f, with
 *   w = W^{c·2^s}, stored as the sum of two floats, and W^f − 1:   root = w_hi + (w_lo + w_hi (W^f − 1)).
 * W^f − 1 is small, so the product's rounding error is too, and the result is as exact as a full table would be.
 */
import { u32, wgsl } from "./wgsl.ts";

export type RootTable =
  | { readonly kind: "full"; readonly offset: number }
  | {
      readonly kind: "split";
      /** s: the fine table has 2^s entries. */
      readonly fineBits: number;
      /** Two entries for each c: w_hi, w_lo. */
      readonly coarseOffset: number;
      readonly fineOffset: number;
    };

/** `fn root(index: u32) -> vec2f`, reading the binding `tables: array<vec2f>`. Needs {@link COMPLEX}. */
export function rootFunction(table: RootTable): string {
  if (table.kind === "full") {
    return wgsl`
fn root(index: u32) -> vec2f {
  return tables[${u32(table.offset)} + index];
}
`;
  }
  return wgsl`
fn root(index: u32) -> vec2f {
  let coarse = ${u32(table.coarseOffset)} + 2u * (index >> ${u32(table.fineBits)});
  let fine = tables[${u32(table.fineOffset)} + (index & ${u32(2 ** table.fineBits - 1)})];
  let high = tables[coarse];
  return high + (tables[coarse + 1u] + complex_multiply(high, fine));
}
`;
}
