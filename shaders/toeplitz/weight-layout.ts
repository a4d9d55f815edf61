/** Where the weights of relative positions lie: one for every offset, or one for both of its signs. */
import { u32 } from "../wgsl/wgsl.ts";

/** The weights of a head. */
export interface WeightLayout {
  /** How many there are. */
  readonly count: number;
  /** Place of that of a token and itself. */
  readonly diagonal: number;
  /** From one offset to the next, along each axis. */
  readonly strides: readonly number[];
  /** One weight for both signs of an offset along an axis. */
  readonly symmetric: boolean;
  /** Of cross-attention, positions of queries and of keys: there are weights for the offsets between these only. */
  readonly between?: readonly [queries: number, keys: number];
}

/** WGSL expression of what distances before (−) or after (+) a token are below: `N`, but for cross-attention. */
export function distances({ between }: WeightLayout, sign: "+" | "-"): string {
  return between ? u32(between[sign === "-" ? 0 : 1]) : "N";
}

/** WGSL expression of the place of the weight `distance` before (−) or after (+) the place `from` along an axis. */
export function weightPlace({ strides, symmetric }: WeightLayout, axis: number, from: string, sign: "+" | "-", distance: string): string {
  const stride = strides[axis]!;
  return `${from} ${symmetric ? "+" : sign} ${distance}${stride === 1 ? "" : ` * ${u32(stride)}`}`;
}
