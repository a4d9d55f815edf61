/**
 * Which keys a query sees: all, causal those j ≤ i, and in a window of w only those with |i − j| < w. For tiles of rows, whose first is `first`, and
 * of others, whose first is `tile_first`; rows are queries and others keys, or the other way round. A kernel with a window declares WINDOW, which is w.
 */
import { u32, wgsl } from "../../wgsl/wgsl.ts";

/** What decides it. */
export interface Sequence {
  readonly causal: boolean;
  /** Of how many keys the window is, where there is one. */
  readonly window?: number | undefined;
  /** Others of a head, which a kernel declares as M, where they are not as many as its own rows. */
  readonly otherRows?: number | undefined;
}

/** WGSL expression of the others of a head. */
export function othersOf({ otherRows }: Pick<Sequence, "otherRows">): string {
  return otherRows === undefined ? "N" : "M";
}

/** The declaration of M, where the others are not N. */
export function othersConstant({ otherRows }: Pick<Sequence, "otherRows">): string {
  return otherRows === undefined ? "" : `\nconst M = ${u32(otherRows)};`;
}

type Side = "queries" | "keys";

/** The declaration of WINDOW, where there is one. */
export function windowConstant({ window }: Pick<Sequence, "window">): string {
  return window === undefined ? "" : `\nconst WINDOW = ${u32(window)};`;
}

/** WGSL expressions of the first other that any of the rows sees, and of where such others end, for rows within the sequence. */
export function othersSeen({ causal, window, otherRows }: Sequence, rows: Side): readonly [from: string, to: string] {
  if (otherRows !== undefined) return ["0u", "M"];
  const first = window === undefined ? "0u" : "max(first, WINDOW - 1u) - (WINDOW - 1u)";
  const last = window === undefined ? "tokens" : "min(tokens, first + ROWS + WINDOW - 1u)";
  return [causal && rows === "keys" ? "first" : first, causal && rows === "queries" ? "min(tokens, first + ROWS)" : last];
}

/** Makes the WGSL condition that a row sees an other, or is seen by it; `undefined` where all of them do. */
export type Visible = (row: string, other: string) => string;

/** {@link Visible} for tiles of rows and others. By &, where && would make a branch of every term of a sum, which takes compilers minutes. */
export function visible({ causal, window }: Sequence, rows: Side): Visible | undefined {
  if (!causal && window === undefined) return undefined;
  return (row, other) => {
    const [query, key] = rows === "queries" ? [row, other] : [other, row];
    const near = `(${query} < ${key} + WINDOW)`;
    if (causal) return window === undefined ? `${key} <= ${query}` : `(${key} <= ${query}) & ${near}`;
    return `(${key} < ${query} + WINDOW) & ${near}`;
  };
}

/** Statement that says whether there are rows and others in a tile that do not see one another, `diagonal`; none where all do. */
export function diagonalTile({ causal, window }: Sequence, rows: Side): string {
  const conditions = [
    causal && rows === "queries" && "tile_first + OTHERS > first + 1u",
    causal && rows === "keys" && "tile_first + 1u < first + ROWS",
    window !== undefined && !(causal && rows === "queries") && "tile_first + OTHERS > first + WINDOW",
    window !== undefined && !(causal && rows === "keys") && "tile_first + WINDOW < first + ROWS",
  ].filter((condition) => condition !== false);
  return conditions.length === 0
    ? ""
    : `
    let diagonal = ${conditions.join(" || ")};
`;
}

/** WGSL expression of which of the four queries in the vector `rows`, WGSL too, see a key that lies before `end`. */
export function queriesThatSee({ causal, window }: Sequence, rows: string, key: string): string {
  if (window === undefined) return causal ? `vec4u(${key}) <= ${rows}` : `${key} < end`;
  const ahead = causal ? rows : `min(${rows} + (WINDOW - 1u), vec4u(end - 1u))`;
  return wgsl`(vec4u(${key}) <= ${ahead}) & (${rows} < vec4u(${key} + WINDOW))`;
}
