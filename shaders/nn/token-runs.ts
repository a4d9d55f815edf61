/**
 * Where the tokens of each row of a table start in the order of their indices (nn/token-order.ts), by bisection.
 *
 * Layout: indices [tokens], order [entries] → runs [rows + 1], the last being all entries. One lane per row, and one more; `count` of them.
 * Bindings: 0 indices, 1 order, 2 runs, 3 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { wgsl } from "../wgsl/wgsl.ts";
import { ENTRIES, ORDER_PARAMS, orderBindings } from "./token-order.ts";

export interface TokenRunsSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
}

export function tokenRunsKernel(spec: TokenRunsSpec): Kernel {
  return makeKernel({
    id: "nn/token-runs",
    label: "token order: runs",
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [...orderBindings(), { name: "runs", access: "read_write", element: "u32" }],
    params: ["count", ...ORDER_PARAMS],
    declarations: ENTRIES,
    body: wgsl`  let row = group * LANES + lane;
  if (row >= params.count) { return; }
  var begin = 0u;
  var end = params.entries;
  while (begin < end) {
    let middle = (begin + end) / 2u;
    if (row_of(order[middle]) < row) { begin = middle + 1u; } else { end = middle; }
  }
  runs[row] = begin;
`,
  });
}
