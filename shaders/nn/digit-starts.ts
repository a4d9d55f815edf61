/**
 * Where the entries of each chunk start among those of the same digit: for each digit the sums of the counts of the chunks before, and of all.
 *
 * Layout: counts [digits, chunks], which become starts; totals [digits]. A workgroup does a digit, its lanes as many chunks at a time.
 * Bindings: 0 counts, 1 totals, 2 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { wgsl } from "../wgsl/wgsl.ts";
import { SCAN_LANES } from "./token-order.ts";

export interface DigitStartsSpec {
  /** Lanes of a workgroup, a power of two. */
  readonly lanes: number;
}

export function digitStartsKernel(spec: DigitStartsSpec): Kernel {
  const body = wgsl`  var sum = 0u;
  for (var first = 0u; first < params.chunks; first += LANES) {
    let at = group * params.chunks + first + lane;
    var own = 0u;
    if (first + lane < params.chunks) { own = counts[at]; }
    scanned[lane] = own;
${SCAN_LANES}
    if (first + lane < params.chunks) { counts[at] = sum + scanned[lane] - own; }
    sum += scanned[LANES - 1u];
    workgroupBarrier();
  }
  if (lane == 0u) { totals[group] = sum; }
`;
  return makeKernel({
    id: "nn/digit-starts",
    label: "token order: starts of digits",
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "counts", access: "read_write", element: "u32" },
      { name: "totals", access: "read_write", element: "u32" },
    ],
    params: ["chunks"],
    declarations: ["", { name: "scanned", element: "u32", count: spec.lanes }],
    body,
  });
}
