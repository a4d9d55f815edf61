import { findNonFiniteKernel } from "../../../shaders/find-non-finite/find-non-finite.ts";
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { sliceBase, sliceBytes } from "../../program/ranges.ts";
import { WORD_BYTES } from "../../program/units.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import type { FindNonFiniteSpec } from "./spec.ts";

/** A tensor larger than a binding is looked through slice by slice. */
export function planFindNonFinite(
  program: ProgramBuilder,
  { numbers, storage }: FindNonFiniteSpec,
  { source, found }: { readonly source: Handle; readonly found: Handle },
): void {
  const { limits } = program;
  const { bytes } = source;
  const kernel = findNonFiniteKernel({ lanes: elementwiseLanes(limits), storage });
  const most = limits.maxStorageBufferBindingSize - (limits.maxStorageBufferBindingSize % limits.minStorageBufferOffsetAlignment);
  const step = bytes <= limits.maxStorageBufferBindingSize ? bytes : most;
  for (let first = 0; first < bytes; first += step) {
    const slice = sliceBytes(limits, first, Math.min(bytes, first + step));
    const count = slice.size / WORD_BYTES;
    program.dispatch({
      kernel,
      groups: Math.ceil(count / kernel.workgroupSize[0]),
      params: { firstWord: sliceBase(kernel, "source", slice), count, numbers },
      uses: { source: { buffer: source, slice, reads: slice.size }, found: { buffer: found, reads: WORD_BYTES, writes: WORD_BYTES } },
      flops: 0,
    });
  }
}
