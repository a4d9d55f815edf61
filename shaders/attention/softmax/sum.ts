/**
 * Adds up the gradients that the splits of the others have made of rows: out_i = Σ_s part_is (+ out_i, where the part of a bias has been put
 * before), over the splits s that row i sees; in their order, so that the same numbers come out every time.
 *
 * Layout: partials, rows of `width` numbers as attention/softmax/query-gradient.ts and key-gradient.ts leave them; out [B·H, N, width].
 * Lane → (head, row, four numbers), numbers fastest.
 * Bindings: 0 partials, 1 out, 2 lengths where there are such; then params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { lengthBinding } from "../../wgsl/lengths.ts";
import { loadVector, storeVector, type Strided, vectorElement } from "../../wgsl/rows.ts";
import { splitRowsDeclarations, splitRowsParams, type SplitRowsSpec, splitRowsStart } from "./splits.ts";
import { wgsl } from "../../wgsl/wgsl.ts";

export interface SoftmaxSumSpec extends SplitRowsSpec, Strided {
  /** What was split: keys for the gradient of queries, queries for those of keys and values. */
  readonly others: "keys" | "queries";
  /** Add to what `out` holds instead of overwriting it. */
  readonly accumulate: boolean;
}

export function softmaxSumKernel(spec: SoftmaxSumSpec): Kernel {
  const { width, others, accumulate, strides = {} } = spec;
  const body = wgsl`${splitRowsStart(spec, others)}
#if ${accumulate}
  if (row >= tokens) { return; }
#endif
  var sum = vec4f();
  for (var split = begin; split < end; split++) { sum += load_partials(part_row + split * params.blockRows, column); }
  store_out(bh * N + row, column, sum);
`;
  return makeKernel({
    id: "attention/softmax/sum",
    label: `softmax attention ${others === "keys" ? "query" : "key or value"} gradient splits${accumulate ? " + bias" : ""}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "partials", access: "read", element: vectorElement(width) },
      { name: "out", access: "read_write", element: vectorElement(width, "f32", strides["out"]) },
      ...lengthBinding(spec),
    ],
    params: [...splitRowsParams(spec), "partialsBase", "outBase"],
    declarations: wgsl`${splitRowsDeclarations(spec)}${loadVector("load_partials", "partials", width)}${storeVector("store_out", "out", width, accumulate, "f32", strides["out"])}`,
    body,
  });
}
