/**
 * Sums down the columns of matrices, of each chunk of rows: out[matrix, chunk, c] = Σ_r x[matrix, r, c], or their mean over all rows of the matrix.
 *
 * Layout and lanes: nn/row-chunks.ts; x [matrices, rows, columns], out [matrices, chunks, columns]. Where lengths vary, a matrix is a sequence of N
 * tokens, of which `lengths` says how many count: for the mean, and where x has these tokens as rows also for the sum.
 * Bindings: 0 x, 1 out, 2 lengths where there are such; then params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams, tokensOf } from "../wgsl/lengths.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";
import { elementOf } from "./elements.ts";
import { joinRows, ROW_CHUNK_PARAMS, ROW_CHUNK_START, rowChunkDeclarations, type RowChunksSpec } from "./row-chunks.ts";

export interface ColumnSumsKernelSpec extends RowChunksSpec {
  /** Sequences of so many tokens: whether to divide by how many count, and whether those beyond do not. Left out: plain sums. */
  readonly tokens?: { readonly length: number; readonly variableLengths: boolean; readonly cut: boolean; readonly mean: boolean } | undefined;
}

export function columnSumsKernel(spec: ColumnSumsKernelSpec): Kernel {
  const { tokens } = spec;
  const element = elementOf(spec);
  const lengths = { variableLengths: tokens?.variableLengths ?? false };
  const body = wgsl`${ROW_CHUNK_START}
#if ${tokens !== undefined}
  let tokens = ${tokensOf(lengths, "matrix")};
#endif
#if ${tokens?.cut ?? false}
  end = min(end, tokens);
#endif
  var sum = ${element}();
  if (column < params.columns) {
    let start = matrix * params.rows * params.columns + column - params.xBase;
    let step = HEIGHT * params.columns;
    for (; row + 3u * HEIGHT < end; row += 4u * HEIGHT) {
      let at = start + row * params.columns;
      sum += (x[at] + x[at + step]) + (x[at + 2u * step] + x[at + 3u * step]);
    }
    for (; row < end; row += HEIGHT) { sum += x[start + row * params.columns]; }
  }
${joinRows(["sum"])}
  if (lane < WIDTH && column < params.columns) {
    out[chunk * params.columns + column] = sum_of_lanes[lane]${tokens?.mean ? " / f32(max(tokens, 1u))" : ""};
  }
`;
  return makeKernel({
    id: "nn/column-sums",
    label: tokens ? `${tokens.mean ? "mean" : "sum"} over tokens` : "column sums",
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [{ name: "x", access: "read", element }, { name: "out", access: "read_write", element }, ...lengthBinding(lengths)],
    params: [...ROW_CHUNK_PARAMS, "xBase", ...lengthParams(lengths)],
    declarations: [...(tokens ? [`const N = ${u32(tokens.length)};`] : []), ...rowChunkDeclarations(spec, ["sum"]), lengthFunction(lengths)],
    body,
  });
}
