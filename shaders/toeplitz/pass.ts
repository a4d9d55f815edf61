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
import type { Declarations, Precision } from "../wgsl/kernel.ts";
import { stockhamColumn, stockhamDeclarations, type StockhamShape, type StockhamTransform } from "../fft/stockham.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";
import type { ChannelRows } from "./channel-pairs.ts";

/** A pass, with the transform of its columns: of length A, or of the rows. */
export interface ToeplitzPassSpec extends StockhamTransform, ChannelRows {
  /** Tokens of a head, `N`. */
  readonly length: number;
  /** Rows of the matrix of tokens, `A`. */
  readonly a: number;
  /** Columns of the matrix of tokens, `B`. */
  readonly b: number;
  /** Whether to multiply by Tᵀ instead of T. */
  readonly transposed: boolean;
  readonly variableLengths: boolean;
  /** How values and out are stored. */
  readonly storage: Precision;
}

/** The first parameters of every pass. */
export const PASS_PARAMS = ["columns", "pairs", "firstPair", "firstHead"] as const;

/** The constants of a pass, and what its transform needs. */
export function passDeclarations(spec: ToeplitzPassSpec): Declarations {
  return [
    wgsl`const N = ${u32(spec.length)};
const A = ${u32(spec.a)};
const B = ${u32(spec.b)};`,
    ...stockhamDeclarations(spec.shape),
  ];
}

/** Statements for a lane's column over a: `b`, `pair`, `row` of its first token, `work_start` of its first point in the first branch. */
export function columnOverA(shape: StockhamShape): string {
  return `${stockhamColumn(shape)}
  let c = column % params.pairs;
  let b = column / params.pairs % B;
  let h = column / params.pairs / B;
  let pair = params.firstPair + c;
  let row = (params.firstHead + h) * N;
  let work_start = (h * 2u * A * B + b) * params.pairs + c;`;
}

/** Statements for a lane's column over b: `line` = (h, branch, place among its A rows), `bh`. */
export function columnOverB(shape: StockhamShape): string {
  return `${stockhamColumn(shape)}
  let c = column % params.pairs;
  let line = column / params.pairs;
  let bh = params.firstHead + line / (2u * A);`;
}
