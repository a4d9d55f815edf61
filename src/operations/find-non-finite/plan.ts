import { findNonFiniteKernel } from "../../../shaders/find-non-finite/find-non-finite.ts";
import { ELEMENT_BYTES } from "../../../shaders/wgsl/kernel.ts";
import { type PlannerLimits, wholeWords } from "../../core/limits.ts";
import type { FindNonFiniteSpec } from "../specs.ts";
import { type Program, ProgramBuilder, sliceBase, sliceBytes } from "../../program/program.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";

const WORD_BYTES = ELEMENT_BYTES.u32;

/** A tensor larger than a binding is looked through in parts. */
export function planFindNonFinite(caller: string, { numbers, storage }: FindNonFiniteSpec, limits: PlannerLimits): Program {
  const program = new ProgramBuilder(caller, "find non-finite", limits);
  const bytes = wholeWords(numbers * ELEMENT_BYTES[storage]);
  const source = program.buffer("source", "input", bytes);
  const found = program.buffer("found", "inout", WORD_BYTES);
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
  return program.finish();
}
