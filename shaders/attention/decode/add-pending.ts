/**
 * Adds to the results of the next M tokens what the last M values add to them by the bias: pending_{i+t} += block_t, i the tokens so far. Where these
 * are all tokens so far, nothing has been put there before, and nothing is read. Tokens beyond the longest sequence are left out.
 *
 * This is the online convolution by blocks (van der Hoeven 2002, relaxed multiplication; for sequence models Oncescu et al. 2024): after i tokens,
 * M the largest power of two that divides i, the last M values go to the next M results; so each pair of tokens in two blocks is met once.
 *
 * Layout: states [B·H, state] (DecodeStateLayout), history [B·H, 2, N, E], of which the second half are pending, block [heads of the dispatch, M, E].
 * Lane → (head, t, four values), the values fastest.
 * Bindings: 0 states, 1 history, 2 block, 3 params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { loadVector, storeVector, vectorElement } from "../../wgsl/rows.ts";
import { wgsl } from "../../wgsl/wgsl.ts";
import { blockRow, type BlockRowsKernelSpec } from "./take-values.ts";

export function addPendingKernel(spec: BlockRowsKernelSpec): Kernel {
  const { valueDim } = spec;
  const { params, constants, statements } = blockRow(spec);
  return makeKernel({
    id: "attention/decode/add-pending",
    label: `decode: what ${spec.block} values add to the next`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "states", access: "read", element: "vec4f" },
      { name: "history", access: "read_write", element: vectorElement(valueDim) },
      { name: "block", access: "read", element: vectorElement(valueDim) },
    ],
    params,
    declarations: wgsl`${constants}
${loadVector("load_history", "history", valueDim)}${loadVector("load_block", "block", valueDim)}
${storeVector("store_history", "history", valueDim, false)}`,
    body: wgsl`${statements}
  if (position + t >= N) { return; }
  let row = bh * 2u * N + N + position + t;
  var pending = load_block(head * M + t, column);
  if (position > M) { pending += load_history(row, column); }
  store_history(row, column, pending);
`,
  });
}
