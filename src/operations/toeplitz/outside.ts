/** Products where there are other tokens than those with positions: images with channels, and tokens outside the bias. */
import { ELEMENT_BYTES } from "../../../shaders/wgsl/kernel.ts";
import type { RowMargin } from "../../../shaders/wgsl/rows.ts";
import { toeplitzOutsideKernel } from "../../../shaders/toeplitz/outside.ts";
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { forSlices } from "../../program/slices.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import { positionCount, type ToeplitzSpec } from "./spec.ts";

/**
 * A product as it is done: a row for every position, with the numbers of all its tokens side by side, because a token of an image's channel is a few
 * more channels of its position. What is between the heads besides rows is the margin.
 */
export interface ToeplitzProduct extends Omit<ToeplitzSpec, "outside" | "gridChannels"> {
  readonly margin?: RowMargin | undefined;
}

/** The rows of a product. */
export function productOf({ outside, gridChannels = 1, ...spec }: Omit<ToeplitzSpec, "operation">): ToeplitzProduct {
  const rows = positionCount({ ...spec, outside, gridChannels });
  const product: ToeplitzProduct = { ...spec, operation: "toeplitz", length: rows, channels: gridChannels * spec.channels };
  if (!outside) return product;
  const tokens = outside.first + outside.last;
  return { ...product, margin: { rows, before: outside.first * spec.channels, around: tokens * spec.channels, tokens } };
}

/** Numbers of a head of the values, margin and all. */
export function headNumbers({ length, channels, margin }: ToeplitzProduct): number {
  return length * channels + (margin?.around ?? 0);
}

/** How many rows of a product count where so many tokens do. */
export function countedRows({ length, margin, variableLengths }: ToeplitzProduct, tokens: number): number {
  return variableLengths ? Math.min(length, Math.max(0, tokens - (margin?.tokens ?? 0))) : length;
}

/** Adds zeros in the rows of the result that belong to tokens outside, if there are such. */
export function addOutside(program: ProgramBuilder, product: ToeplitzProduct, out: Handle): void {
  const { batch, heads, channels, margin, storage } = product;
  if (!margin) return;
  const headBytes = headNumbers(product) * ELEMENT_BYTES[storage];
  const kernel = toeplitzOutsideKernel({ lanes: elementwiseLanes(program.limits), channels, margin, storage });
  forSlices(program, "one head of v", batch * heads, [headBytes], (first, count, [slice]) => {
    const elements = count * margin.around;
    program.dispatch({
      kernel,
      elements,
      uses: { out: { buffer: out, slice, start: (slice?.offset ?? 0) - first * headBytes, writes: elements * ELEMENT_BYTES[storage] } },
      flops: 0,
    });
  });
}
