/**
 * How the kernels of softmax attention lay out a workgroup and its memory. A workgroup has ROWS rows of its own and goes through the other side,
 * OTHERS rows at a time: queries through keys, or keys through queries. Nothing larger than such a tile exists of the N × N matrix.
 *
 * Lane → (row_group, other_group), other groups fastest. A lane has the 4·rowVectors rows from first_row on, and of the others of a tile four
 * from 4·other_group on, and four more 4·OTHER_GROUPS further ({@link otherOffset}): a patch of scores in registers, as vectors of four rows
 * `s<v>_<p>`. For a product of weights and rows, it has the same rows, and the columns other_group + c·OTHER_GROUPS in units of four:
 * `sum<v>_<c>_<r>`.
 *
 * In workgroup memory rows are transposed by fours: number 4c + x of a lane's rows 4v to 4v + 3 is in `own<4v+x>` at c, and likewise in `other<p>`, so
 * that a score takes few numbers at a time, and one index, checked once, serves a whole patch. Their pitch is odd: lanes that read
 * different rows read different banks. For products, `other<p>` holds row p of a lane's others, and `weights<v>_<p>` weights.
 */
import type { HeadShape } from "../head-shape.ts";
import { type Declarations, workgroupBytes, type WorkgroupVariable } from "../../wgsl/kernel.ts";
import { type Strided, vectorArray, vectorsOf } from "../../wgsl/rows.ts";
import { othersConstant, type Sequence, windowConstant } from "./visible.ts";
import { f32, range, u32, wgsl } from "../../wgsl/wgsl.ts";

/** How a workgroup shares out its own rows and a tile of others. */
export interface SoftmaxTile {
  /** Groups of own rows, a lane having one. */
  readonly rowGroups: number;
  /** Groups of others, a lane having one. */
  readonly otherGroups: number;
  /** Rows of a lane, in fours. */
  readonly rowVectors: 1 | 2;
  /** Others of a lane, in whole fours. */
  readonly patchOthers: 4 | 8;
  /** Numbers of a row that stand in workgroup memory, in fours, at most. */
  readonly depth: number;
}

/** The sizes and choices that all kernels of softmax attention depend on. */
export interface SoftmaxKernelSpec extends HeadShape, Sequence, Strided {
  /** A factor on the products of queries and keys. */
  readonly scale: number;
  /** Of a bias in the logits, the grid of the tokens, [1, N] of a sequence: attention/softmax/logit-bias.ts. */
  readonly biasGrid?: readonly [height: number, width: number] | undefined;
  /** Of a bias in the logits of cross-attention, its queries and keys. */
  readonly biasBetween?: readonly [queries: number, keys: number] | undefined;
  readonly variableLengths: boolean;
  /** Whether keys have a mask; values that are not seen are zero then. Left out where they have none. */
  readonly keyMask?: true | undefined;
  /** Whether workgroups go through a split of the others each, and leave partial results: attention/softmax/splits.ts. */
  readonly split: boolean;
  readonly tile: SoftmaxTile;
}

/** Below the largest float, after rounding. */
export const LARGEST_SCALE = 3e38;

/**
 * What scores are products of queries and keys in units of: with a power of two below 1 on one side they reach beyond the floats, and what they lose
 * does not count in an exponent. A scale that is larger still would not be one in these units.
 */
export function scoreUnit(scale: number): number {
  return scale < 2 ** 60 ? 2 ** -24 : 1;
}

/** The factor of scores in exponents. */
export function scoreScale(scale: number): number {
  return scale / scoreUnit(scale);
}

/** Lanes of the workgroup of a tile. */
export function softmaxLanes({ rowGroups, otherGroups }: SoftmaxTile): number {
  return rowGroups * otherGroups;
}

/** Own rows of the workgroup of a tile. */
export function softmaxRows({ rowGroups, rowVectors }: SoftmaxTile): number {
  return 4 * rowVectors * rowGroups;
}

/** Others in a tile. */
export function softmaxOthers({ otherGroups, patchOthers }: SoftmaxTile): number {
  return patchOthers * otherGroups;
}

/** How far other `p` of a lane's patch is from 4·other_group. */
export function otherOffset({ otherGroups }: Pick<SoftmaxTile, "otherGroups">, p: number): number {
  return 4 * otherGroups * Math.floor(p / 4) + (p % 4);
}

/** Every vector of four rows with every other of a patch: the names of what there is for both end in `name`. */
export function patch({ rowVectors, patchOthers }: SoftmaxTile): readonly { readonly v: number; readonly p: number; readonly name: string }[] {
  return range(rowVectors).flatMap((v) => range(patchOthers).map((p) => ({ v, p, name: `${v}_${p}` })));
}

/** vec4f of a row in workgroup memory at a time: rows are cut into equal pieces. */
export function pieceDepth({ depth }: Pick<SoftmaxTile, "depth">, width: number): number {
  return Math.ceil(vectorsOf(width) / Math.ceil(vectorsOf(width) / depth));
}

/** vec4f from one row to the next in workgroup memory, for pieces of `depth` vec4f. */
export function piecePitch(depth: number): number {
  return depth | 1;
}

/** The columns of a product of weights and rows, and among how many workgroups they are shared out. */
export interface ProductColumns {
  /** Numbers of a row. */
  readonly width: number;
  readonly columnTiles: number;
}

/** vec4f of columns that a workgroup does. */
export function columnVectors({ width, columnTiles }: ProductColumns): number {
  return Math.ceil(vectorsOf(width) / columnTiles);
}

/** vec4f of columns that a lane does. */
export function laneColumns({ otherGroups }: Pick<SoftmaxTile, "otherGroups">, product: ProductColumns): number {
  return Math.ceil(columnVectors(product) / otherGroups);
}

/** vec4f of columns of a workgroup, with those that only fill up the lanes. */
export function filledColumns(tile: SoftmaxTile, product: ProductColumns): number {
  const columns = laneColumns(tile, product);
  return columns === 1 ? columnVectors(product) : columns * tile.otherGroups;
}

/** The choices that the layout of a kernel's workgroup memory depends on. */
export interface SoftmaxKernelLayout {
  readonly tile: SoftmaxTile;
  readonly otherRows?: number | undefined;
  /** The products of own rows and others that it computes, by the numbers of their rows. */
  readonly scores: readonly { readonly width: number }[];
  /** The products of weights and others that it computes. */
  readonly products: readonly ProductColumns[];
  /** Whether the lanes of a row bring a maximum together while it runs, or sums at the end. */
  readonly shares: boolean;
  /** Whose statistics stand in workgroup memory. */
  readonly statistics: "own" | "other" | "none";
}

/** vec4f of each `other<p>`: the most that a score or a product asks for. */
function otherSize({ tile, scores, products }: SoftmaxKernelLayout): number {
  const pieces = scores.map(({ width }) => tile.otherGroups * piecePitch(pieceDepth(tile, width)));
  return Math.max(...pieces, ...products.map((product) => filledColumns(tile, product)));
}

/** Rows of each `other<p>` that fit there at a time, for a product: a divisor of all. */
export function productRows(layout: SoftmaxKernelLayout, product: ProductColumns): number {
  const columns = filledColumns(layout.tile, product);
  const size = otherSize(layout);
  return range(layout.tile.otherGroups)
    .map((i) => layout.tile.otherGroups - i)
    .find((rows) => layout.tile.otherGroups % rows === 0 && rows * columns <= size)!;
}

/** The variable that holds row `r` of each lane's own: memory of weights, which come when own rows have been read, where there are such. */
export function ownName({ tile, products }: SoftmaxKernelLayout, r: number): string {
  return products.length === 0 ? `own${r}` : `weights${patch(tile)[r]!.name}`;
}

function weightPitch({ rowGroups }: SoftmaxTile): number {
  return rowGroups | 1;
}

function variables(layout: SoftmaxKernelLayout): readonly WorkgroupVariable[] {
  const { tile, scores } = layout;
  const vectors = range(tile.rowVectors);
  const ownSize = tile.rowGroups * Math.max(...scores.map(({ width }) => piecePitch(pieceDepth(tile, width))));
  const weightSize = layout.products.length > 0 ? tile.otherGroups * weightPitch(tile) : 0;
  const sizes = new Map(weightSize > 0 ? patch(tile).map(({ name }) => [`weights${name}`, weightSize]) : []);
  for (const r of range(4 * tile.rowVectors)) sizes.set(ownName(layout, r), Math.max(ownSize, weightSize));
  const statistics = { own: softmaxRows(tile), other: softmaxOthers(tile), none: 0 }[layout.statistics];
  return [
    ...[...sizes].map(([name, size]) => vectorArray(name, size)),
    ...range(tile.patchOthers).map((p) => vectorArray(`other${p}`, otherSize(layout))),
    ...(layout.shares ? vectors.map((v) => vectorArray(`shared${v}`, softmaxLanes(tile))) : []),
    ...(statistics > 0 ? [vectorArray("statistics_tile", statistics)] : []),
  ];
}

/** Bytes of workgroup memory of a layout. */
export function softmaxBytes(layout: SoftmaxKernelLayout): number {
  return workgroupBytes(variables(layout));
}

/** Declarations of a kernel of softmax attention: constants, COLUMN_TILES where columns are shared out, workgroup variables. */
export function softmaxDeclarations(
  { tile, length, otherRows, scale, window, columnTiles }: SoftmaxKernelSpec & { readonly columnTiles?: number },
  layout: SoftmaxKernelLayout,
): Declarations {
  return [
    wgsl`const N = ${u32(length)};
const ROWS = ${u32(softmaxRows(tile))};
const ROW_TILES = ${u32(Math.ceil(length / softmaxRows(tile)))};
const PATCH_ROWS = ${u32(4 * tile.rowVectors)};
const OTHERS = ${u32(softmaxOthers(tile))};
const OTHER_GROUPS = ${u32(tile.otherGroups)};
const WEIGHT_PITCH = ${u32(weightPitch(tile))};${windowConstant({ window })}${othersConstant({ otherRows })}`,
    ...variables(layout),
    ...(columnTiles === undefined ? [] : [`const COLUMN_TILES = ${u32(columnTiles)};`]),
    wgsl`const SCALE = ${f32(scale)};
const SCORE_UNIT = ${f32(scoreUnit(scale))};
const SCALE_TO_2 = ${f32(Math.min(scoreScale(scale) * Math.LOG2E, LARGEST_SCALE))};`,
  ];
}
