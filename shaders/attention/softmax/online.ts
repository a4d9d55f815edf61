/**
 * How the kernels of softmax attention begin, and online softmax in the tiles of attention/softmax/tiles.ts (Milakov and Gimelshein 2018): running
 * maxima of the rows, and their sums over lanes.
 */
import { tokensOf } from "../../wgsl/lengths.ts";
import { seenToo } from "./key-mask.ts";
import { splitStart } from "./splits.ts";
import { othersSeen, queriesThatSee } from "./visible.ts";
import { otherOffset, patch, type SoftmaxKernelSpec, type SoftmaxTile } from "./tiles.ts";
import { LOWEST, range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

type Sequence = Pick<SoftmaxKernelSpec, "causal" | "window" | "otherRows" | "biasGrid" | "variableLengths" | "keyMask" | "split">;

/** Statements that start a kernel: which rows and columns are the workgroup's, and which are the lane's. */
export function softmaxStart(sequence: Pick<Sequence, "variableLengths" | "split">, columnTiles: number, longestLast: boolean): string {
  const place = columnTiles === 1 ? "group" : "group / COLUMN_TILES";
  return wgsl`#if ${columnTiles > 1}
  let column_tile = group % COLUMN_TILES;
#endif
#if ${sequence.split}
${splitStart(place, longestLast)}
#elif ${longestLast}
  let row_tile = ROW_TILES - 1u - ${place} % ROW_TILES;
#else
  let row_tile = ${place} % ROW_TILES;
#endif
#if ${!sequence.split}
  let bh = params.firstHead + ${place} / ROW_TILES;
#endif
  let tokens = ${tokensOf(sequence)};
  let first = row_tile * ROWS;
  let row_group = lane / OTHER_GROUPS;
  let other_group = lane % OTHER_GROUPS;
  let first_row = first + row_group * PATCH_ROWS;
`;
}

/** {@link softmaxStart} of a kernel whose rows are queries, and others keys: {@link othersBetween} those that any of the queries sees. */
export function overKeys(sequence: Sequence, columnTiles: number): string {
  return wgsl`${softmaxStart(sequence, columnTiles, sequence.causal)}
${othersBetween(sequence, "queries")}
`;
}

/**
 * Statements that say where the workgroup's others end, `end`, and of a split where they begin, `begin`; a split without any is left at once.
 *
 * @param rows what the workgroup's rows are
 */
export function othersBetween(sequence: Sequence, rows: "queries" | "keys"): string {
  const [from, to] = othersSeen(sequence, rows);
  if (!sequence.split) return `  let end = select(${to}, 0u, first >= tokens);`;
  // In a window, splits are counted from the first other that any of the rows sees.
  const [begin, splitEnd] = sequence.window === undefined ? [`max(${from}, split_first)`, "split_first"] : [`${from} + split_first`, "begin"];
  return `  let begin = ${begin};
  let end = select(min(${to}, ${splitEnd} + params.splitOthers), 0u, first >= tokens);
  if (begin >= end) { return; }`;
}

/** WGSL expression of where the others of {@link othersBetween} begin. */
export function firstOther(sequence: Sequence, rows: "queries" | "keys"): string {
  return sequence.split ? "begin" : othersSeen(sequence, rows)[0];
}

/**
 * `fn weight(difference)`: exp(SCALE / SCORE_UNIT · difference), for differences from the maximum; where that was summed in another order, they may be above 0.
 * What is left out lies at the lowest float: its difference may be beyond the floats. By the GPU's own exp2, which is as exact as the
 * products in the exponent are.
 */
export const SOFTMAX_WEIGHT = wgsl`
fn weight(difference: vec4f) -> vec4f { return exp2(clamp(SCALE_TO_2 * difference, vec4f(-200.0), vec4f())); }
`;

/** WGSL expression of which of the four rows of vector `v` see `key<p>`. */
export function seesKey(sequence: Sequence, v: number, p: number): string {
  return queriesThatSee(sequence, `vec4u(first_row + ${u32(4 * v)}) + vec4u(0u, 1u, 2u, 3u)`, `key${p}`);
}

/** Whether there may be rows that see no key of a tile that others see, or with a bias no key at all. */
function isSparse({ window, biasGrid }: Pick<Sequence, "window" | "biasGrid">): boolean {
  return window !== undefined || biasGrid !== undefined;
}

/** Whether there may be rows without any weight. Where neither window nor bias leave out keys, a row that sees none weighs those of its mask alike. */
export function mayBeEmpty({ window, biasGrid, keyMask }: Pick<Sequence, "window" | "biasGrid" | "keyMask">): boolean {
  return biasGrid !== undefined || (window !== undefined && keyMask === true);
}

/** WGSL expression of a sum over its total weight, 0 where there is none. */
export function quotient(sequence: Pick<Sequence, "window" | "biasGrid" | "keyMask">, sum: string, total: string): string {
  return mayBeEmpty(sequence) ? `select(vec4f(), ${sum} / ${total}, ${total} > 0.0)` : `${sum} / ${total}`;
}

/** WGSL expression of the weights `<v>_<p>` of a tile: none for what is masked, also in rows that have seen nothing yet. */
export function tileWeight(sequence: Pick<Sequence, "window" | "biasGrid">, v: number, name: string): string {
  const weight = `weight(s${name} - maximum${v})`;
  return !isSparse(sequence) ? weight : `select(vec4f(), ${weight}, s${name} > vec4f(${LOWEST}))`;
}

/**
 * Statements that raise `maximum<v>` to the maxima of the scores `s<v>_<p>` of the tile, among the keys that a row sees, and say by which
 * factor what has been summed so far shrinks (`factor<v>`). Other scores become the lowest float. They hold one barrier.
 */
export function raiseMaximum(spec: Sequence & Pick<SoftmaxKernelSpec, "tile">): string {
  const { tile, keyMask } = spec;
  const vectors = range(tile.rowVectors);
  const others = range(tile.patchOthers);
  const isSeen = (p: number) => (keyMask ? `\n    let seen${p} = is_seen(bh, key${p});` : "");
  return wgsl`${unroll(others, (p) => `    let key${p} = tile_first + 4u * other_group + ${u32(otherOffset(tile, p))};${isSeen(p)}`)}
${unroll(patch(tile), ({ v, p, name }) => {
  return `    s${name} = select(vec4f(${LOWEST}), s${name}, ${seenToo(spec, seesKey(spec, v, p), `seen${p}`)});`;
})}
${unroll(vectors, (v) => `    shared${v}[lane] = ${others.slice(1).reduce((largest, p) => `max(${largest}, s${v}_${p})`, `s${v}_0`)};`)}
    workgroupBarrier();
${unroll(vectors, (v) => `    var largest${v} = maximum${v};`)}
    for (var i = row_group * OTHER_GROUPS; i < (row_group + 1u) * OTHER_GROUPS; i++) {
${unroll(vectors, (v) => `      largest${v} = max(largest${v}, shared${v}[i]);`)}
    }
${unroll(
  vectors,
  (v) => `    let factor${v} = weight(maximum${v} - largest${v});
    maximum${v} = largest${v};`,
)}`;
}

/** WGSL expression of the sum of `<name><v>_<p>` over the others of a patch. */
export function sumOfPatch({ patchOthers }: SoftmaxTile, name: string, v: number): string {
  const terms = range(patchOthers).map((p) => `${name}${v}_${p}`);
  return terms.reduce((sum, term) => `(${sum} + ${term})`);
}

/** Statements that replace `<names><v>` of each lane by the sums over the lanes of a row. They hold barriers. */
export function sumOverOthers({ rowVectors }: SoftmaxTile, names: readonly string[]): string {
  const vectors = range(rowVectors);
  return unroll(
    names,
    (name) => wgsl`  workgroupBarrier();
${unroll(vectors, (v) => `  shared${v}[lane] = ${name}${v};`)}
  workgroupBarrier();
${unroll(vectors, (v) => `  ${name}${v} = vec4f();`)}
  for (var i = row_group * OTHER_GROUPS; i < (row_group + 1u) * OTHER_GROUPS; i++) {
${unroll(vectors, (v) => `    ${name}${v} += shared${v}[i];`)}
  }`,
  );
}
