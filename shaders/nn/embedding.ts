/**
 * Rows of a table by their indices: out_n = table_{i_n}, NaN where there is no such row.
 *
 * Layout: indices [tokens], table [rows, width] → out [tokens, width]. Lane → (token, vector), vectors fastest; a dispatch has `count` of them from
 * `firstToken` on. Bindings: 0 indices, 1 table, 2 out, 3 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { NON_FINITE } from "../wgsl/non-finite.ts";
import { loadVector, storeVector, vectorElement, vectorsOf } from "../wgsl/rows.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface EmbeddingKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  /** Numbers of a row. */
  readonly width: number;
}

export function embeddingKernel(spec: EmbeddingKernelSpec): Kernel {
  const { width } = spec;
  return makeKernel({
    id: "nn/embedding",
    label: `embedding of width ${width}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "indices", access: "read", element: "u32" },
      { name: "table", access: "read", element: vectorElement(width) },
      { name: "out", access: "read_write", element: vectorElement(width) },
    ],
    params: ["count", "firstToken", "rows", "indicesBase", "tableBase", "outBase"],
    declarations: wgsl`const VECTORS = ${u32(vectorsOf(width))};
${NON_FINITE}${loadVector("load_table", "table", width)}${storeVector("store_out", "out", width, false)}`,
    body: wgsl`  let i = group * LANES + lane;
  if (i >= params.count) { return; }
  let token = params.firstToken + i / VECTORS;
  let column = i % VECTORS;
  let index = indices[token - params.indicesBase];
  var row = vec4f(of_bits(NO_NUMBER));
  if (index < params.rows) { row = load_table(index, column); }
  store_out(token, column, row);
`,
  });
}
