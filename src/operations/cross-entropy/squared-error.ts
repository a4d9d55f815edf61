import { squaredErrorGradientKernel } from "../../../shaders/nn/squared-error-gradient.ts";
import { squaredErrorKernel } from "../../../shaders/nn/squared-error.ts";
import type { NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { sliceBytes } from "../../program/ranges.ts";
import { spansOf } from "../../program/slices.ts";
import { FLOAT_BYTES, sum, WORD_BYTES } from "../../program/units.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import { addMean, mostSums, SUM_BYTES, summingLanes } from "./mean.ts";
import type { MeanSquaredErrorGradientSpec, MeanSquaredErrorSpec } from "./spec.ts";

/** Elements of a lane, where there are enough. */
const LANE_ELEMENTS = 8;

/** Numbers as elements of kernels, and ranges of them that bindings hold. */
function elementRanges({ limits }: ProgramBuilder, size: number) {
  const vectors = size % 4 === 0;
  const bytes = vectors ? 4 * FLOAT_BYTES : FLOAT_BYTES;
  const all = (size * FLOAT_BYTES) / bytes;
  const bound = limits.maxStorageBufferBindingSize;
  // Ranges start where bindings may.
  const most = (bound - (bound % Math.max(limits.minStorageBufferOffsetAlignment, bytes))) / bytes;
  const ranges = spansOf(all, size * FLOAT_BYTES <= bound ? all : most).map(({ first, count }) => ({
    count,
    bytes: count * bytes,
    slice: sliceBytes(limits, first * bytes, (first + count) * bytes),
  }));
  return { vectors, all, ranges };
}

/** Adds the sums of squares of differences, and their mean. */
export function planMeanSquaredError(
  program: ProgramBuilder,
  { size }: MeanSquaredErrorSpec,
  { x, y, loss }: NamedHandles<"x" | "y" | "loss">,
  scratch: number,
): void {
  const { vectors, all, ranges } = elementRanges(program, size);
  const kernel = squaredErrorKernel({ lanes: summingLanes(program.limits, 256), vectors });
  const chunk = Math.max(kernel.workgroupSize[0] * LANE_ELEMENTS, Math.ceil(all / mostSums(program.limits, scratch, ranges.length)));
  const groupsOf = ({ count }: { readonly count: number }) => Math.ceil(count / chunk);
  const groups = sum(ranges, groupsOf);
  const sums = program.temporary("loss sums", groups * SUM_BYTES);
  let firstSum = 0;
  for (const range of ranges) {
    const { count, bytes, slice } = range;
    program.dispatch({
      kernel,
      groups: groupsOf(range),
      params: { count, chunk, firstSum },
      uses: {
        x: { buffer: x, slice, reads: bytes },
        y: { buffer: y, slice, reads: bytes },
        sums: { buffer: sums, writes: groupsOf(range) * SUM_BYTES },
      },
      flops: (3 * bytes) / FLOAT_BYTES,
    });
    firstSum += groupsOf(range);
  }
  addMean(program, sums, groups, { loss, counts: program.temporary("counts", 2 * WORD_BYTES) });
}

/** Adds the gradient of `x`. */
export function planMeanSquaredErrorGradient(
  program: ProgramBuilder,
  { size }: MeanSquaredErrorGradientSpec,
  { x, y, dLoss, dx }: NamedHandles<"x" | "y" | "dLoss" | "dx">,
): void {
  const { vectors, ranges } = elementRanges(program, size);
  const kernel = squaredErrorGradientKernel({ lanes: elementwiseLanes(program.limits), vectors });
  for (const { count, bytes, slice } of ranges) {
    program.dispatch({
      kernel,
      elements: count,
      params: { size },
      uses: {
        x: { buffer: x, slice, reads: bytes },
        y: { buffer: y, slice, reads: bytes },
        dLoss: { buffer: dLoss, reads: FLOAT_BYTES },
        dx: { buffer: dx, slice, writes: bytes },
      },
      flops: (2 * bytes) / FLOAT_BYTES,
    });
  }
}
