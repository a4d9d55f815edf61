/**
 * Loads and stores of real channels as complex numbers. A Toeplitz matrix is real, so channels 2p and 2p + 1 of a row, which lie side by
 * side, are one complex value: no packing. An odd last channel pairs with zero.
 *
 * Layout: rows [B·H·N, D]; `row` counts from the start of the tensor, the `…Base` parameters are where the binding starts, in elements.
 */
import { u32, wgsl } from "./wgsl.ts";

/** Element type of a binding of rows with `channels` channels. */
export function pairElement(channels: number): "f32" | "vec2f" {
  return channels % 2 === 0 ? "vec2f" : "f32";
}

/** `fn load_pair(row, pair) -> vec2f` from the binding `values`. */
export function loadPair(channels: number): string {
  return wgsl`
fn load_pair(row: u32, pair: u32) -> vec2f {
#if ${channels % 2 === 0}
  return values[row * ${u32(Math.floor(channels / 2))} + pair - params.valuesBase];
#else
  let at = row * ${u32(channels)} + 2u * pair - params.valuesBase;
  if (2u * pair + 1u < ${u32(channels)}) { return vec2f(values[at], values[at + 1u]); }
  return vec2f(values[at], 0.0);
#endif
}
`;
}

/** `fn store_pair(row, pair, value)` to the binding `out`. */
export function storePair(channels: number): string {
  return wgsl`
fn store_pair(row: u32, pair: u32, value: vec2f) {
#if ${channels % 2 === 0}
  out[row * ${u32(Math.floor(channels / 2))} + pair - params.outBase] = value;
#else
  let at = row * ${u32(channels)} + 2u * pair - params.outBase;
  out[at] = value.x;
  if (2u * pair + 1u < ${u32(channels)}) { out[at + 1u] = value.y; }
#endif
}
`;
}
