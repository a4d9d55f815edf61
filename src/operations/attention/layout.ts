/** How the tensors of attention lie: head by head, token by token, or queries, keys and values of a token in one row of a packed tensor. */
import type { RowStrides } from "../../../shaders/wgsl/rows.ts";
import type { Handles } from "../operation.ts";

/** The tensors whose rows are those of heads. */
export type AttentionTensor = "q" | "k" | "v" | "out" | "dOut" | "dq" | "dk" | "dv";

/** In which order the tensors of attention have their numbers: the option `layout`. */
export type AttentionLayout = "bhnd" | "bnhd" | "packed";

interface RowShape {
  readonly batch: number;
  readonly heads: number;
  readonly length: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly layout: AttentionLayout;
  readonly keyLength?: number | undefined;
  readonly keyHeads?: number | undefined;
  readonly joined?: JoinedQueries | undefined;
}

/** Heads of queries, and rows of each, where an attention has those of a group one after the other as rows of one head. */
export type JoinedQueries = ReturnType<typeof rowCounts>;

/** Heads of a tensor, and rows of each. */
export function rowCounts(
  { heads, length, keyHeads = heads, keyLength = length }: Pick<RowShape, "heads" | "length" | "keyHeads" | "keyLength">,
  of: AttentionTensor,
): { readonly heads: number; readonly length: number } {
  return /[kv]$/.test(of) ? { heads: keyHeads, length: keyLength } : { heads, length };
}

/** Numbers of a row. */
export function tensorDim({ headDim, valueDim }: Pick<RowShape, "headDim" | "valueDim">, of: AttentionTensor): number {
  return /[qk]$/.test(of) ? headDim : valueDim;
}

/** Numbers of a token in a tensor that holds queries, keys and values. */
export function packedWidth({ heads, headDim, valueDim }: RowShape): number {
  return heads * (2 * headDim + valueDim);
}

/** The shape of a tensor that holds queries, keys and values. */
export function packedShape(shape: RowShape): readonly number[] {
  return Object.freeze([shape.batch, shape.length, packedWidth(shape)]);
}

/** The shape of a tensor by itself. */
export function tensorShape(shape: RowShape, of: AttentionTensor): readonly number[] {
  const { batch, layout } = shape;
  const { heads, length } = rowCounts(shape, of);
  return Object.freeze(layout === "bhnd" ? [batch, heads, length, tensorDim(shape, of)] : [batch, length, heads, tensorDim(shape, of)]);
}

/** Where the rows of a tensor lie, `packed` with others or not; `undefined` where they lie head by head. */
export function rowStrides(shape: RowShape, of: AttentionTensor, packed: boolean): RowStrides | undefined {
  const { headDim, valueDim, layout } = shape;
  if (layout === "bhnd") return undefined;
  // Rows that are joined are counted over all heads as they were.
  const { heads, length } = rowCounts({ ...shape, ...(!/[kv]$/.test(of) && shape.joined) }, of);
  const dim = tensorDim(shape, of);
  const token = packed ? packedWidth(shape) : heads * dim;
  const widths = packed ? [headDim, valueDim] : [dim];
  const unit = ([4, 2] as const).find((size) => widths.every((width) => width % size === 0)) ?? 1;
  const ahead = { q: 0, k: 1, v: 2 }[of.slice(-1)] ?? 0;
  return { rows: length, heads, batch: length * token, token, before: packed ? ahead * heads * headDim : 0, unit };
}

/** Handles by the names of what a packed tensor holds, beside its own. */
export function unpacked({ qkv, dqkv, ...others }: Partial<Handles>): Partial<Handles> {
  return { ...(qkv && { qkv, q: qkv, k: qkv, v: qkv }), ...(dqkv && { dqkv, dq: dqkv, dk: dqkv, dv: dqkv }), ...others };
}
