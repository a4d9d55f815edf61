/**
 * Sums of chunks of rows of gradients that go to the same row of the table, so that a token with many positions is not summed one by one: of CHUNK
 * entries of the order (nn/token-order.ts), or of as many such sums. Chunks that do not lie within one run stay as they are.
 *
 * Layout: indices [tokens], order [entries], rows [entries, width], or of "sums" those of the chunks → sums [chunks, width]. Lane → (chunk, vector),
 * vectors fastest, `count` of them. Bindings: 0 indices, 1 order, 2 dOut or parts, 3 sums, 4 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { storeVector, vectorElement } from "../wgsl/rows.ts";
import { wgsl } from "../wgsl/wgsl.ts";
import { ENTRIES, ORDER_PARAMS, orderBindings } from "./token-order.ts";
import { rowSums, tokenRowDeclarations, type TokenRowsSpec, tokenSums } from "./token-rows.ts";

export interface TokenSumsSpec extends TokenRowsSpec {
  readonly of: "tokens" | "sums";
}

export function tokenSumsKernel(spec: TokenSumsSpec): Kernel {
  const { width, of } = spec;
  const rows = of === "tokens" ? "dOut" : "parts";
  return makeKernel({
    id: "nn/token-sums",
    label: `embedding gradient: sums of ${of}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      ...orderBindings(),
      { name: rows, access: "read", element: vectorElement(width), rarely: true },
      { name: "sums", access: "read_write", element: vectorElement(width), rarely: true },
    ],
    params: ["count", ...ORDER_PARAMS, `${rows}Base`, "sumsBase"],
    declarations: wgsl`${tokenRowDeclarations(width)}
const SPAN = CHUNK${of === "tokens" ? "" : " * CHUNK"};
${ENTRIES}${of === "tokens" ? tokenSums(width) : rowSums("parts", width)}${storeVector("store_sums", "sums", width, false)}`,
    body: wgsl`  let i = group * LANES + lane;
  if (i >= params.count) { return; }
  let chunk = i / VECTORS;
  let column = i % VECTORS;
  let first = chunk * SPAN;
  if (row_of(order[first]) != row_of(order[first + SPAN - 1u])) { return; }
  store_sums(chunk, column, ${of === "tokens" ? "sum_tokens" : "sum_parts"}(chunk * CHUNK, (chunk + 1u) * CHUNK, column));
`,
  });
}
