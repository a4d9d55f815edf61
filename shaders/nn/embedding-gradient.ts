/**
 * Gradient of an embedding's table: each row is the sum of the gradients of its tokens, in their order (nn/token-order.ts), 0 where there are none.
 * What lies in whole chunks of the run of a row comes from their sums (nn/token-sums.ts).
 *
 * Layout: order [entries], runs [rows + 1], dOut [entries, width], parts [chunks, width], sums [chunks of chunks, width] → dTable [rows, width].
 * Lane → (row, vector), vectors fastest, `count` of them. Bindings: 0 order, 1 runs, 2 dOut, 3 parts, 4 sums, 5 dTable, 6 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { storeVector, vectorElement } from "../wgsl/rows.ts";
import { wgsl } from "../wgsl/wgsl.ts";
import { rowSums, tokenRowDeclarations, type TokenRowsSpec, tokenSums } from "./token-rows.ts";

export interface EmbeddingGradientSpec extends TokenRowsSpec {
  /** Add to what `dTable` holds. */
  readonly accumulate: boolean;
}

export function embeddingGradientKernel(spec: EmbeddingGradientSpec): Kernel {
  const { width, accumulate } = spec;
  const element = vectorElement(width);
  return makeKernel({
    id: "nn/embedding-gradient",
    label: `embedding gradient of width ${width}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "order", access: "read", element: "u32" },
      { name: "runs", access: "read", element: "u32" },
      { name: "dOut", access: "read", element },
      { name: "parts", access: "read", element, rarely: true },
      { name: "sums", access: "read", element, rarely: true },
      { name: "dTable", access: "read_write", element },
    ],
    params: ["count", "dOutBase", "partsBase", "sumsBase", "dTableBase"],
    declarations: wgsl`${tokenRowDeclarations(width)}
const NO_ROW = 0x80000000u;
${tokenSums(width)}${rowSums("parts", width)}${rowSums("sums", width)}${storeVector("store_dTable", "dTable", width, accumulate)}
// The whole chunks from begin to before end: those after the first, up to before the second, or none at the end.
fn whole_chunks(begin: u32, end: u32) -> vec2u {
  let first = (begin + CHUNK - 1u) / CHUNK;
  let last = end / CHUNK;
  return select(vec2u(), vec2u(first, last), first < last);
}
`,
    body: wgsl`  let i = group * LANES + lane;
  if (i >= params.count) { return; }
  let row = i / VECTORS;
  let column = i % VECTORS;
  let begin = runs[row];
  let end = runs[row + 1u];
#if ${accumulate}
  if (begin == end) { return; }
#endif
  let chunks = whole_chunks(begin, end);
  if (chunks.x == chunks.y) {
    store_dTable(row, column, sum_tokens(begin, end, column));
    return;
  }
  var sum = sum_tokens(begin, chunks.x * CHUNK, column);
  let wide = whole_chunks(chunks.x, chunks.y);
  if (wide.x == wide.y) {
    sum += sum_parts(chunks.x, chunks.y, column);
  } else {
    sum += sum_parts(chunks.x, wide.x * CHUNK, column);
    sum += sum_sums(wide.x, wide.y, column);
    sum += sum_parts(wide.y * CHUNK, chunks.y, column);
  }
  store_dTable(row, column, sum + sum_tokens(chunks.y * CHUNK, end, column));
`,
  });
}
