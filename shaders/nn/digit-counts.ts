/**
 * How many entries of each chunk have each value of a digit (nn/token-order.ts).
 *
 * Layout: indices [tokens], order [entries], the entries so far → counts [digits, chunks]. A workgroup does a chunk, a lane an entry.
 * Bindings: 0 indices, 1 order unless the digit is the first, then counts and params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { wgsl } from "../wgsl/wgsl.ts";
import { DIGIT_PARAMS, digitDeclarations, type DigitKernelSpec, entryAndDigit, orderBindings } from "./token-order.ts";

export function digitCountsKernel(spec: DigitKernelSpec): Kernel {
  const body = wgsl`  let i = group * LANES + lane;
  if (i < params.entries) {
${entryAndDigit(spec)}
    atomicAdd(&tallies[digit], 1u);
  }
  workgroupBarrier();
  if (lane < DIGITS) { counts[lane * params.chunks + group] = atomicLoad(&tallies[lane]); }
`;
  return makeKernel({
    id: "nn/digit-counts",
    label: "token order: counts of digits",
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [...orderBindings(spec.first), { name: "counts", access: "read_write", element: "u32" }],
    params: DIGIT_PARAMS,
    declarations: [digitDeclarations(spec), { name: "tallies", element: "atomic<u32>", count: spec.digits }],
    body,
  });
}
