import { complexMultiplyKernel } from "../../../shaders/complex-multiply/complex-multiply.ts";
import { elementCount } from "../../core/check.ts";
import type { NamedHandles, ProgramBuilder } from "../../program/builder.ts";
import { firstBytes, sliceBytes } from "../../program/ranges.ts";
import { spansOf } from "../../program/slices.ts";
import { COMPLEX_BYTES } from "../../program/units.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import type { ComplexMultiplySpec } from "./spec.ts";

/** Operations of an element: the product, and a factor. */
const FLOPS = 8;

/**
 * Adds the product of `a` and `b` into `out`, in slices of what a binding holds. An operand that repeats is bound as a whole in each; its size is
 * known when it comes, so the cost is that of one of full shape.
 */
export function planComplexMultiply(program: ProgramBuilder, spec: ComplexMultiplySpec, { a, b, out }: NamedHandles<"a" | "b" | "out">): void {
  const { limits } = program;
  const elements = elementCount(spec.shape);
  const bytes = elements * COMPLEX_BYTES;
  const kernel = complexMultiplyKernel({ lanes: elementwiseLanes(limits), conjugate: spec.conjugate, scale: spec.scale });
  const alignment = Math.max(limits.minStorageBufferOffsetAlignment / COMPLEX_BYTES, 1);
  const most = Math.floor(limits.maxStorageBufferBindingSize / COMPLEX_BYTES);
  const step = elements <= most ? elements : most - (most % alignment);
  for (const { first, count } of spansOf(elements, step)) {
    const slice = sliceBytes(limits, first * COMPLEX_BYTES, (first + count) * COMPLEX_BYTES);
    program.dispatch({
      kernel,
      elements: count,
      params: { firstFactor: spec.repeats ? first : 0 },
      uses: {
        a: { buffer: a, slice, reads: count * COMPLEX_BYTES },
        b: { buffer: b, slice: spec.repeats ? firstBytes(Math.min(bytes, most * COMPLEX_BYTES)) : slice, reads: count * COMPLEX_BYTES },
        out: { buffer: out, slice, writes: count * COMPLEX_BYTES },
      },
      flops: count * FLOPS,
    });
  }
}
