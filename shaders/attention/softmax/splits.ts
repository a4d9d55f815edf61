/**
 * Others that are split over workgroups (Dao et al. 2023, "Flash-Decoding"), where rows alone are too few workgroups, or their workgroups too
 * long: split s of the others, those from s·splitOthers on, makes partial results of its own, which another kernel brings together.
 *
 * Of the row tiles from `firstTile` on so many as `tiles` are done at a time, and their partial results stand as [heads of the dispatch, splits,
 * tiles, ROWS], of which row r of a head's sequence is row `part_rows` + r. Workgroup → (bh, split, row tile), row tile fastest, so that
 * neighbours read the same others. Splits have whole tiles of rows: a split that any row of a tile sees, every one sees. The others are left
 * out, and nothing is read of them, because nothing has been written. In a window, s·splitOthers is counted from the first other that any row of
 * the tile sees.
 */
import type { HeadShape } from "../head-shape.ts";
import { lengthFunction, lengthParams, tokensOf } from "../../wgsl/lengths.ts";
import { vectorsOf } from "../../wgsl/rows.ts";
import { othersConstant, othersSeen, type Sequence, windowConstant } from "./visible.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";

/** Parameters of a kernel that works in splits, if it does. */
export function splitParams({ split }: { readonly split: boolean }): readonly string[] {
  return split ? ["splits", "splitOthers", "firstTile", "tiles"] : [];
}

/** Statements that say which `row_tile`, `bh` and others from `split_first` on are those of the workgroup at `place`, WGSL. */
export function splitStart(place: string, longestLast: boolean): string {
  const nth = `${place} % params.tiles`;
  return `  let part = ${place} / params.tiles;
  let local_tile = ${longestLast ? `params.tiles - 1u - ${nth}` : nth};
  let row_tile = params.firstTile + local_tile;
  let bh = params.firstHead + part / params.splits;
  let split_first = part % params.splits * params.splitOthers;
  let part_rows = (part * params.tiles + local_tile - row_tile) * ROWS;`;
}

/** WGSL expression of what is added to a row of the sequence of head `bh` to have the row of the result. */
export function resultRows({ split }: { readonly split: boolean }): string {
  return split ? "part_rows" : "bh * N";
}

/** What a kernel depends on that brings the results of splits together. */
export interface SplitRowsSpec extends Pick<HeadShape, "length">, Sequence {
  /** Numbers of a row. */
  readonly width: number;
  /** Whether there may be rows without any weight, because a bias masks what they see, or a mask their window. */
  readonly masked?: boolean | undefined;
  /** Rows of a tile, where there is a window. */
  readonly tileRows?: number | undefined;
  readonly variableLengths: boolean;
  /** Lanes of a workgroup. */
  readonly lanes: number;
}

/** Parameters of such a kernel, besides the bases of bindings. */
export function splitRowsParams(spec: SplitRowsSpec): readonly string[] {
  return ["count", "firstHead", "splits", "splitOthers", "firstRow", "blockRows", ...lengthParams(spec)];
}

/** Declarations of such a kernel. */
export function splitRowsDeclarations(spec: SplitRowsSpec): string {
  return wgsl`const N = ${u32(spec.length)};
const VECTORS = ${u32(vectorsOf(spec.width))};${windowConstant(spec)}${othersConstant(spec)}${spec.tileRows === undefined ? "" : `\nconst ROWS = ${u32(spec.tileRows)};`}
${lengthFunction(spec)}`;
}

/**
 * Statements that start such a kernel: a lane has vector `column` of `row` of head `bh`. Its partial results are those of the splits from `begin`
 * to before `end`, none beyond the sequence; that of the first split is row `part_row`, and from one to the next it is params.blockRows.
 *
 * @param others what was split
 */
export function splitRowsStart(spec: SplitRowsSpec, others: "keys" | "queries"): string {
  const { causal, window } = spec;
  const all = `(${spec.otherRows === undefined ? "tokens" : "M"} + params.splitOthers - 1u) / params.splitOthers`;
  const [from, to] = othersSeen(spec, others === "keys" ? "queries" : "keys");
  const windowed = ["0u", `(${to} - (${from}) + params.splitOthers - 1u) / params.splitOthers`] as const;
  const wide =
    others === "keys"
      ? (["0u", causal ? "row / params.splitOthers + 1u" : all] as const)
      : ([causal ? "row / params.splitOthers" : "0u", all] as const);
  const [begin, end] = window === undefined ? wide : windowed;
  return `  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let column = index % VECTORS;
  let rows = min(params.blockRows, N - params.firstRow);
  let head = index / VECTORS / rows;
  let local_row = index / VECTORS % rows;
  let row = params.firstRow + local_row;
  let bh = params.firstHead + head;
  let tokens = ${tokensOf(spec)};${window === undefined ? "" : "\n  let first = row / ROWS * ROWS;"}
  let begin = ${begin};
  let end = select(${end}, 0u, row >= tokens);
  let part_row = head * params.splits * params.blockRows + local_row;`;
}

/**
 * Statements that raise `maximum` to that of another split, `part.x`, and say by which factor what has been summed so far shrinks, `kept`, and
 * what comes from this split, `added`. They need SCALE, that of scores, and EXPONENTIAL.
 */
export const RUNNING_MAXIMUM = `    let rise = part.x - maximum;
    let factor = exponential(max(SCALE * -abs(rise), -100.0));
    let kept = select(1.0, factor, rise > 0.0);
    let added = select(factor, 1.0, rise > 0.0);
    maximum = max(maximum, part.x);`;
