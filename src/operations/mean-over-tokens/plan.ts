import { meanOverTokensGradientKernel } from "../../../shaders/nn/mean-over-tokens-gradient.ts";
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { forSlices } from "../../program/slices.ts";
import { FLOAT_BYTES } from "../../program/units.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import { lengthsUse } from "../lengths.ts";
import type { Handles } from "../operation.ts";
import { columnElements } from "../reductions/chunks.ts";
import { planMatrixSums } from "../reductions/plan.ts";
import type { MeanOverTokensGradientSpec, MeanOverTokensSpec } from "./spec.ts";

/** Adds the mean over the tokens of `x`, into `out`: one dispatch of many sequences, or parts of each, and their sums. */
export function planMeanOverTokens(program: ProgramBuilder, spec: MeanOverTokensSpec, tensors: Handles, scratch: number): void {
  const { batch, length, width } = spec;
  const { x, out, lengths } = tensors as { x: Handle; out: Handle; lengths?: Handle };
  planMatrixSums(program, { matrices: batch, rows: length, columns: width }, { x, out }, scratch, { length, lengths: lengthsUse(spec, lengths) });
}

/** Adds the gradient, into `dX`. */
export function planMeanOverTokensGradient(program: ProgramBuilder, spec: MeanOverTokensGradientSpec, tensors: Handles): void {
  const { batch, length, width, variableLengths } = spec;
  const { dOut, dX, lengths } = tensors as { dOut: Handle; dX: Handle; lengths?: Handle };
  const { vectors, elements } = columnElements({ columns: width });
  const kernel = meanOverTokensGradientKernel({ lanes: elementwiseLanes(program.limits), vectors, length, variableLengths });
  const rowBytes = width * FLOAT_BYTES;
  forSlices(program, "a token", batch * length, [rowBytes], (first, count, [slice]) =>
    program.dispatch({
      kernel,
      elements: count * elements,
      params: { first: first * elements, columns: elements, heads: 1 },
      uses: {
        dOut: { buffer: dOut, reads: count * rowBytes },
        dX: { buffer: dX, slice, writes: count * rowBytes },
        lengths: lengthsUse(spec, lengths),
      },
      flops: count * width,
    }),
  );
}
