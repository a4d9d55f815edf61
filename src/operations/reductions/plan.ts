import { columnSumsKernel } from "../../../shaders/nn/column-sums.ts";
import type { BindingUse, Handle, NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { FLOAT_BYTES } from "../../program/units.ts";
import { chooseRowChunks, chunkSpans, type Matrices, type RowChunks, wholeRowChunks } from "./chunks.ts";
import type { ColumnSumsSpec } from "./spec.ts";

/** Adds the sums of the columns of each matrix of `x` into `out`. */
export function planColumnSums(program: ProgramBuilder, spec: ColumnSumsSpec, tensors: NamedHandles<"x" | "out">, scratch: number): void {
  planMatrixSums(program, spec, tensors, scratch);
}

/** What sums over the tokens of sequences depend on, where they are for the mean. */
export interface OverTokens {
  readonly length: number;
  readonly lengths?: BindingUse | undefined;
}

/** Adds the sums of the columns of each matrix of `x` [matrices, rows, columns] into `out` [matrices, columns], or with `tokens` their means. */
export function planMatrixSums(
  program: ProgramBuilder,
  shape: Matrices,
  { x, out }: NamedHandles<"x" | "out">,
  scratch: number,
  tokens?: OverTokens,
): void {
  const chosen = chooseRowChunks(program, shape, 1, scratch);
  const { chunks } = chosen;
  const { matrices, columns } = shape;
  const cut = tokens?.lengths !== undefined;
  if (chunks === 1) return planChunkSums(program, shape, chosen, { x, out }, tokens && { ...tokens, cut, mean: true });
  const sums = program.temporary("sums of chunks", matrices * chunks * columns * FLOAT_BYTES);
  planChunkSums(program, shape, chosen, { x, out: sums }, tokens && cut ? { ...tokens, cut, mean: false } : undefined);
  planSumsOfChunks(program, { ...shape, rows: chunks }, sums, out, tokens);
}

/** Adds the second step: the sums over chunks, `sums` [matrices, chunks, columns] → `out` [matrices, columns]. */
export function planSumsOfChunks(program: ProgramBuilder, shape: Matrices, sums: Handle, out: Handle, tokens?: OverTokens): void {
  planChunkSums(program, shape, wholeRowChunks(program, shape), { x: sums, out }, tokens && { ...tokens, cut: false, mean: true });
}

function planChunkSums(
  program: ProgramBuilder,
  shape: Matrices,
  chosen: RowChunks,
  { x, out }: NamedHandles<"x" | "out">,
  tokens: (OverTokens & { readonly cut: boolean; readonly mean: boolean }) | undefined,
): void {
  const { columns } = shape;
  const ofTokens = tokens && { length: tokens.length, variableLengths: tokens.lengths !== undefined, cut: tokens.cut, mean: tokens.mean };
  const kernel = columnSumsKernel({ ...chosen.kernel, tokens: ofTokens });
  for (const { groups, params, slice, rows, sums } of chunkSpans(program, x, shape, chosen)) {
    program.dispatch({
      kernel,
      groups,
      params: { ...params, heads: 1 },
      uses: {
        x: { buffer: x, slice, reads: rows * columns * FLOAT_BYTES },
        out: { buffer: out, writes: sums * FLOAT_BYTES },
        lengths: tokens?.lengths,
      },
      flops: rows * columns,
    });
  }
}
