/**
 * The least index of a number that is infinite or no number, by its bits: all ones in the exponent. WGSL's arithmetic may take for granted
 * that there are none.
 *
 * Layout: `source` as words, each a float32 or two float16, the lower half first; `found` holds one index, at first the largest u32. One
 * lane per word. A dispatch covers `count` words from `firstWord` on, where the binding starts; of the last one, `numbers` says how much
 * counts. Bindings: 0 source, 1 found, 2 params.
 */
import { type Kernel, makeKernel, type Precision } from "../wgsl/kernel.ts";
import { wgsl } from "../wgsl/wgsl.ts";

export interface FindNonFiniteKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  readonly storage: Precision;
}

export function findNonFiniteKernel(spec: FindNonFiniteKernelSpec): Kernel {
  const { lanes, storage } = spec;
  const half = storage === "f16";
  const body = wgsl`  let i = group * LANES + lane;
  if (i >= params.count) { return; }
  let word = source[i];
#if ${half}
  let first = 2u * (params.firstWord + i);
  if ((word & 0x7c00u) == 0x7c00u) { atomicMin(&found[0], first); }
  if ((word & 0x7c000000u) == 0x7c000000u && first + 1u < params.numbers) { atomicMin(&found[0], first + 1u); }
#else
  if ((word & 0x7f800000u) == 0x7f800000u) { atomicMin(&found[0], params.firstWord + i); }
#endif
`;
  return makeKernel({
    id: "find-non-finite/find-non-finite",
    label: `find non-finite ${storage}`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "source", access: "read", element: "u32" },
      { name: "found", access: "read_write", element: "atomic<u32>" },
    ],
    params: ["firstWord", "count", "numbers"],
    declarations: "",
    body,
  });
}
