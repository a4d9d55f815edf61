import { findNonFiniteKernel } from "../../../shaders/find-non-finite/find-non-finite.ts";
import type { NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { sliceBytes } from "../../program/ranges.ts";
import { spansOf } from "../../program/slices.ts";
import { WORD_BYTES } from "../../program/units.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import type { FindNonFiniteSpec } from "./spec.ts";

/** Adds the search through `source`, in slices of what a binding holds, for the index of the first number that is not finite: into `found`. */
export function planFindNonFinite(
  program: ProgramBuilder,
  { numbers, storage }: FindNonFiniteSpec,
  { source, found }: NamedHandles<"source" | "found">,
): void {
  const { limits } = program;
  const { bytes } = source;
  const kernel = findNonFiniteKernel({ lanes: elementwiseLanes(limits), storage });
  const most = limits.maxStorageBufferBindingSize - (limits.maxStorageBufferBindingSize % limits.minStorageBufferOffsetAlignment);
  const step = bytes <= limits.maxStorageBufferBindingSize ? bytes : most;
  for (const span of spansOf(bytes, step)) {
    const slice = sliceBytes(limits, span.first, span.first + span.count);
    program.dispatch({
      kernel,
      elements: slice.size / WORD_BYTES,
      params: { firstWord: slice.offset / WORD_BYTES, numbers },
      uses: { source: { buffer: source, slice, reads: slice.size }, found: { buffer: found, reads: WORD_BYTES, writes: WORD_BYTES } },
      flops: 0,
    });
  }
}
