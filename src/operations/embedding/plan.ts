import { embeddingKernel } from "../../../shaders/nn/embedding.ts";
import { vectorsOf } from "../../../shaders/wgsl/rows.ts";
import type { NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { forSlices } from "../../program/slices.ts";
import { FLOAT_BYTES, WORD_BYTES } from "../../program/units.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import type { EmbeddingSpec } from "./spec.ts";

/** Adds the rows of `table` that `indices` name; the table is bound as a whole. */
export function planEmbedding(
  program: ProgramBuilder,
  { tokens, count, width }: EmbeddingSpec,
  { indices, table, out }: NamedHandles<"indices" | "table" | "out">,
): void {
  const rowBytes = width * FLOAT_BYTES;
  const kernel = embeddingKernel({ lanes: elementwiseLanes(program.limits), width });
  forSlices(program, "one row of an embedding", tokens, [WORD_BYTES, rowBytes], (first, some, [ofIndices, ofOut]) => {
    const elements = some * vectorsOf(width);
    program.dispatch({
      kernel,
      elements,
      params: { firstToken: first, rows: count },
      uses: {
        indices: { buffer: indices, slice: ofIndices, reads: elements * WORD_BYTES },
        table: { buffer: table, reads: some * rowBytes },
        out: { buffer: out, slice: ofOut, writes: some * rowBytes },
      },
      flops: 0,
    });
  });
}
