/** Products where there are other tokens than those with positions: images with channels, and tokens outside the bias. */
import { ELEMENT_BYTES } from "../../../shaders/wgsl/kernel.ts";
import type { BoundStrides, RowMargin, RowStrides } from "../../../shaders/wgsl/rows.ts";
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
  /** Where the tokens of tensors lie whose heads stand side by side. */
  readonly strides?: TensorStrides | undefined;
}

/** By tensor, where its tokens lie if not head by head. */
export type TensorStrides = ReadonlyMap<Handle, RowStrides>;

/** Where the rows of a product lie in each of these tensors, by binding; `undefined` where all lie head by head. */
export function boundStrides(
  { strides, margin, length, channels }: ToeplitzProduct,
  tensors: Readonly<Record<string, Handle>>,
): BoundStrides | undefined {
  if (!strides) return undefined;
  const places = (tensor: Handle): RowStrides => {
    const own = strides.get(tensor)!;
    if (!margin) return own;
    return { ...own, rows: length, before: own.before + (margin.before / channels) * own.token };
  };
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, places(tensor)]));
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
  const { batch, heads, channels, margin, storage, strides } = product;
  if (!margin) return;
  const headBytes = headNumbers(product) * ELEMENT_BYTES[storage];
  const kernel = toeplitzOutsideKernel({ lanes: elementwiseLanes(program.limits), channels, margin, storage, strides: strides?.get(out) });
  forSlices(program, "one head of v", batch * heads, [strides ? 0 : headBytes], (first, count, [slice]) => {
    const elements = count * margin.around;
    program.dispatch({
      kernel,
      elements,
      uses: { out: { buffer: out, slice, start: (slice?.offset ?? 0) - first * headBytes, writes: elements * ELEMENT_BYTES[storage] } },
      flops: 0,
    });
  });
}
