/**
 * Entries in the order of a digit, and where it is equal, of what they were before (nn/token-order.ts): each goes behind all of lower digits, those of
 * its own in the chunks before, and those in its chunk before it, which are counted one by one.
 *
 * Layout: indices [tokens], order [entries] → ordered [entries]; starts [digits, chunks] and totals [digits] as nn/digit-starts.ts leaves them.
 * A workgroup does a chunk, a lane an entry. Bindings: 0 indices, 1 order unless the digit is the first, then starts, totals, ordered and params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { wgsl } from "../wgsl/wgsl.ts";
import { DIGIT_PARAMS, digitDeclarations, type DigitKernelSpec, entryAndDigit, orderBindings, SCAN_LANES } from "./token-order.ts";

export function digitScatterKernel(spec: DigitKernelSpec): Kernel {
  const body = wgsl`  scanned[lane] = 0u;
  if (lane < DIGITS) { scanned[lane] = totals[lane]; }
  let i = group * LANES + lane;
  var own_entry = 0u;
  var own_digit = DIGITS;
  if (i < params.entries) {
${entryAndDigit(spec)}
    own_entry = entry;
    own_digit = digit;
  }
  chunk_digits[lane] = own_digit;
${SCAN_LANES}
  if (i >= params.entries) { return; }
  var at = starts[own_digit * params.chunks + group];
  if (own_digit > 0u) { at += scanned[own_digit - 1u]; }
  for (var other = 0u; other < lane; other++) { at += select(0u, 1u, chunk_digits[other] == own_digit); }
  ordered[at] = own_entry;
`;
  return makeKernel({
    id: "nn/digit-scatter",
    label: "token order: by a digit",
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      ...orderBindings(spec.first),
      { name: "starts", access: "read", element: "u32" },
      { name: "totals", access: "read", element: "u32" },
      { name: "ordered", access: "read_write", element: "u32" },
    ],
    params: DIGIT_PARAMS,
    declarations: [
      digitDeclarations(spec),
      { name: "scanned", element: "u32", count: spec.lanes },
      { name: "chunk_digits", element: "u32", count: spec.lanes },
    ],
    body,
  });
}
