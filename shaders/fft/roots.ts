/**
 * Rotations by roots of unity, from tables made in float64: WGSL guarantees sin and cos only to 2⁻¹¹.
 *
 * A root exp(−2πi·t) is kept as q quarter turns and the rest of the angle, |θ| ≤ π/4, as w − 1 = (cos θ − 1, sin θ). The quarter turns
 * are exact, and z + z(w − 1) rounds once at full size and otherwise only in proportion to |w − 1|: half the error variance of the plain
 * product z·w, which is most of the error of an FFT. q stands in the two lowest bits of cos θ − 1.
 *
 * Small orders have a full table. Large ones are split, i = c·2^s + f: with the entries h = W^{c·2^s} − 1 (in two floats, h + l) and
 * g = W^f − 1 (small), W^i − 1 = h + (l + g + h·g): as exact as a full table, and small enough to stay in cache.
 */
import { u32, wgsl } from "../wgsl/wgsl.ts";

/** Where roots of one order stand in a table. */
export type RootTable =
  | { readonly kind: "full"; readonly offset: number }
  | {
      readonly kind: "split";
      /** The number s: the fine table has 2^s entries. */
      readonly fineBits: number;
      /** Where the coarse table begins, of two entries for each c: h, l. */
      readonly coarseOffset: number;
      readonly fineOffset: number;
    };

/** `fn turn_by(z, entry)`: z times the root of a table entry. It needs COMPLEX. */
export const TURN_BY = wgsl`
// −i z
fn rotate(z: vec2f) -> vec2f { return vec2f(z.y, -z.x); }

// z (−i)^quarters (1 + w)
fn turn(z: vec2f, quarters: u32, w: vec2f) -> vec2f {
  let half_turned = select(z, -z, (quarters & 2u) != 0u);
  let turned = select(half_turned, rotate(half_turned), (quarters & 1u) != 0u);
  return turned + complex_multiply(turned, w);
}

fn turn_by(z: vec2f, entry: vec2f) -> vec2f { return turn(z, bitcast<u32>(entry.x) & 3u, entry); }
`;

/** `fn turn_root(z, i)`: z times exp(−2πi·i/order), from the binding `tables: array<vec2f>`. It needs {@link TURN_BY}. */
export function rootFunction(table: RootTable, name: "turn_root" | "turn_x" | "turn_y" = "turn_root"): string {
  if (table.kind === "full") {
    return wgsl`
fn ${name}(z: vec2f, index: u32) -> vec2f { return turn_by(z, tables[${u32(table.offset)} + index]); }
`;
  }
  return wgsl`
fn ${name}(z: vec2f, index: u32) -> vec2f {
  let coarse = ${u32(table.coarseOffset)} + 2u * (index >> ${u32(table.fineBits)});
  let g = tables[${u32(table.fineOffset)} + (index & ${u32(2 ** table.fineBits - 1)})];
  let h = tables[coarse];
  return turn(z, bitcast<u32>(h.x) & 3u, h + (tables[coarse + 1u] + (g + complex_multiply(h, g))));
}
`;
}

/**
 * Entries of the twiddle table of an axis, as far as a stage: for every stage but the first (R − 1)·N_s, entry (r − 1)·N_s + k at
 * exp(−2πi·rk/(N_s·R)). For fused butterflies R/2·N_s: their roots for each k, as they are.
 */
export function twiddleCount(radices: readonly number[], fused = false, stages = radices.length): number {
  let before = 1;
  let count = 0;
  for (const [stage, radix] of radices.slice(0, stages).entries()) {
    if (stage > 0) count += (fused ? radix / 2 : radix - 1) * before;
    before *= radix;
  }
  return count;
}
