/**
 * Loads and stores of real channels as complex numbers. A Toeplitz matrix is real, so channels 2p and 2p + 1 of a row, which lie side by
 * side, are one complex value: no packing. An odd last channel pairs with zero.
 *
 * Layout: rows [B·H·N, D]; `row` counts from the start of the tensor, the `…Base` parameters are where the binding starts, in elements. Where there is
 * more between the heads than rows, `row` does not count it; where heads stand side by side, it counts them as if they did not.
 */
import { loaded, type Precision, stored, storedElement } from "../wgsl/kernel.ts";
import { isWhole, type RowMargin, type RowPlaces, rowStart, type Strided } from "../wgsl/rows.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

/** Rows of channels. */
export interface ChannelRows extends Strided {
  readonly channels: number;
  /** What is between the heads, if anything. */
  readonly margin?: RowMargin | undefined;
}

/** Where the rows of a binding lie. */
export function channelPlaces({ strides, margin }: ChannelRows, binding: string): RowPlaces | undefined {
  return strides?.[binding] ?? margin;
}

function arePairs(rows: ChannelRows, binding: string): boolean {
  return isWhole(2, rows.channels, channelPlaces(rows, binding));
}

/** Element type of a binding of rows. */
export function pairElement(rows: ChannelRows, binding: string, precision: Precision = "f32"): ReturnType<typeof storedElement> {
  return storedElement(arePairs(rows, binding) ? "pair" : "single", precision);
}

/** `fn load_pair(row, pair) -> vec2f` from the binding `values`, or another of that kind with another name for the function. */
export function loadPair(rows: ChannelRows, precision: Precision = "f32", binding = "values", name = "load_pair"): string {
  const { channels } = rows;
  const value = (index: string) => loaded(pairElement(rows, binding, precision), `${binding}[${index}]`);
  const start = (size: number) => rowStart("row", channels, channelPlaces(rows, binding), size);
  return wgsl`
fn ${name}(row: u32, pair: u32) -> vec2f {
#if ${arePairs(rows, binding)}
  return ${value(`${start(2)} + pair - params.${binding}Base`)};
#else
  let at = ${start(1)} + 2u * pair - params.${binding}Base;
  if (2u * pair + 1u < ${u32(channels)}) { return vec2f(${value("at")}, ${value("at + 1u")}); }
  return vec2f(${value("at")}, 0.0);
#endif
}
`;
}

/** `fn store_pair(row, pair, value)` to the binding `out`. */
export function storePair(rows: ChannelRows, precision: Precision = "f32"): string {
  const { channels } = rows;
  const value = (text: string) => stored(pairElement(rows, "out", precision), text);
  const start = (size: number) => rowStart("row", channels, channelPlaces(rows, "out"), size);
  return wgsl`
fn store_pair(row: u32, pair: u32, value: vec2f) {
#if ${arePairs(rows, "out")}
  out[${start(2)} + pair - params.outBase] = ${value("value")};
#else
  let at = ${start(1)} + 2u * pair - params.outBase;
  out[at] = ${value("value.x")};
  if (2u * pair + 1u < ${u32(channels)}) { out[at + 1u] = ${value("value.y")}; }
#endif
}
`;
}
