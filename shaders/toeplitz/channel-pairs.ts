/**
 * Loads and stores of real channels as complex numbers. A Toeplitz matrix is real, so channels 2p and 2p + 1 of a row, which lie side by
 * side, are one complex value: no packing. An odd last channel pairs with zero.
 *
 * Layout: rows [B·H·N, D]; `row` counts from the start of the tensor, the `…Base` parameters are where the binding starts, in elements.
 */
import { loaded, type Precision, stored, storedElement } from "../wgsl/kernel.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

/** Element type of a binding of rows with `channels` channels. */
export function pairElement(channels: number, precision: Precision = "f32"): ReturnType<typeof storedElement> {
  return storedElement(channels % 2 === 0 ? "pair" : "single", precision);
}

/** `fn load_pair(row, pair) -> vec2f` from the binding `values`, or another of that kind with another name for the function. */
export function loadPair(channels: number, precision: Precision = "f32", binding = "values", name = "load_pair"): string {
  const value = (index: string) => loaded(pairElement(channels, precision), `${binding}[${index}]`);
  return wgsl`
fn ${name}(row: u32, pair: u32) -> vec2f {
#if ${channels % 2 === 0}
  return ${value(`row * ${u32(Math.floor(channels / 2))} + pair - params.${binding}Base`)};
#else
  let at = row * ${u32(channels)} + 2u * pair - params.${binding}Base;
  if (2u * pair + 1u < ${u32(channels)}) { return vec2f(${value("at")}, ${value("at + 1u")}); }
  return vec2f(${value("at")}, 0.0);
#endif
}
`;
}

/** `fn store_pair(row, pair, value)` to the binding `out`. */
export function storePair(channels: number, precision: Precision = "f32"): string {
  const value = (text: string) => stored(pairElement(channels, precision), text);
  return wgsl`
fn store_pair(row: u32, pair: u32, value: vec2f) {
#if ${channels % 2 === 0}
  out[row * ${u32(Math.floor(channels / 2))} + pair - params.outBase] = ${value("value")};
#else
  let at = row * ${u32(channels)} + 2u * pair - params.outBase;
  out[at] = ${value("value.x")};
  if (2u * pair + 1u < ${u32(channels)}) { out[at + 1u] = ${value("value.y")}; }
#endif
}
`;
}
