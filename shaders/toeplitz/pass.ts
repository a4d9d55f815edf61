/**
 * What the three passes of a long Toeplitz product share. The tokens of a head are a matrix of rows of B, n = a·B + b.
 *
 * In one dimension M = A·B is the period, and its transform is columns over a, roots, rows over b (the four-step framework, Bailey 1990).
 * On a grid a = y and b = x: A is the period of y and B = W, the length of a row; the rows are padded to the period of x on their own.
 *
 * A pass does a group: whole heads, or some of the pairs of channels of one head. `pairs` of them, from `firstPair` on, of each head from
 * `firstHead` on. work [heads of the group, 2, A, B, pairs] complex: pairs and b run fastest over memory, here as in v, and over the
 * lanes, so that neighbouring lanes touch neighbouring memory however few the channels.
 */
import type { Precision } from "../wgsl/kernel.ts";
import { stockhamDeclarations, type StockhamShape } from "../fft/stockham.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface ToeplitzPassSpec {
  /** Of this pass: transform of length A, or of the rows. */
  readonly shape: StockhamShape;
  /** Offset of each axis's twiddles. */
  readonly twiddles: readonly number[];
  /** N */
  readonly length: number;
  readonly a: number;
  readonly b: number;
  readonly channels: number;
  /** Tᵀ instead of T. */
  readonly transposed: boolean;
  readonly variableLengths: boolean;
  /** Of values and out. */
  readonly storage: Precision;
}

export const PASS_PARAMS = ["columns", "pairs", "firstPair", "firstHead"] as const;

/** Constants, and what the transform needs. */
export function passDeclarations(spec: ToeplitzPassSpec): string {
  return wgsl`const N = ${u32(spec.length)};
const A = ${u32(spec.a)};
const B = ${u32(spec.b)};
${stockhamDeclarations(spec.shape)}`;
}

/** A lane's column over a: `b`, `pair`, `row` of its first token, `work_start` of its first point in the first branch. */
export function columnOverA(shape: StockhamShape): string {
  return `  let column = group * ${u32(shape.columns)} + slot;
  let active_column = column < params.columns;
  let c = column % params.pairs;
  let b = column / params.pairs % B;
  let h = column / params.pairs / B;
  let pair = params.firstPair + c;
  let row = (params.firstHead + h) * N;
  let work_start = (h * 2u * A * B + b) * params.pairs + c;`;
}

/** A lane's column over b: `line` = (h, branch, place among its A rows), `bh`. */
export function columnOverB(shape: StockhamShape): string {
  return `  let column = group * ${u32(shape.columns)} + slot;
  let active_column = column < params.columns;
  let c = column % params.pairs;
  let line = column / params.pairs;
  let bh = params.firstHead + line / (2u * A);`;
}
