/** Rows of heads with as many rows, and as often, as others want them. */
import { fitRowsKernel, fittedLanes } from "../../../shaders/attention/fit-rows.ts";
import { ELEMENT_BYTES, type Precision } from "../../../shaders/wgsl/kernel.ts";
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { forSlices } from "../../program/slices.ts";
import { elementwiseLanes } from "../../program/workgroups.ts";
import { copyScratch } from "./around.ts";
import type { AttentionShape } from "./spec.ts";

/** Rows [units, heads, length, width] of a tensor; either side of a fitting has one head in a unit, or both. */
export interface HeadRows {
  readonly buffer: Handle;
  readonly heads: number;
  readonly length: number;
}

/** Rows of so many numbers, of so many units. */
export interface FittedRows {
  readonly units: number;
  readonly width: number;
  readonly precision: Precision;
}

/** Adds the copy of rows, the last being cut off, or zeros; each head for all of its unit, or the sum of these. */
export function addFitted(program: ProgramBuilder, { units, width, precision }: FittedRows, from: HeadRows, to: HeadRows): void {
  const rowBytes = width * ELEMENT_BYTES[precision];
  const kernel = fitRowsKernel({
    lanes: elementwiseLanes(program.limits),
    width,
    precision,
    fromHeads: from.heads,
    toHeads: to.heads,
    fromRows: from.length,
    toRows: to.length,
  });
  const [fromBytes, toBytes] = [from, to].map(({ heads, length }) => heads * length * rowBytes) as [number, number];
  forSlices(program, "one group of heads", units, [fromBytes, toBytes], (first, count, [rows, out]) => {
    program.dispatch({
      kernel,
      elements: count * to.heads * to.length * fittedLanes(width),
      uses: {
        rows: {
          buffer: from.buffer,
          slice: rows,
          start: (rows?.offset ?? 0) - first * fromBytes,
          reads: count * from.heads * to.heads * Math.min(from.length, to.length) * rowBytes,
        },
        out: { buffer: to.buffer, slice: out, start: (out?.offset ?? 0) - first * toBytes, writes: count * toBytes },
      },
      flops: count * (from.heads - 1) * to.heads * to.length * width,
    });
  });
}

/**
 * Scratch for rows [batch, heads, length, dim] of each of the dimensions, stored as the shape says.
 *
 * @returns their handles, and what they leave of the scratch
 * @throws FastRpbError code `"limit"`
 */
export function fittedScratch(
  program: ProgramBuilder,
  { batch, heads, storage }: AttentionShape,
  length: number,
  dims: Readonly<Record<string, number>>,
  scratch: number,
): ReturnType<typeof copyScratch<string>> {
  const bytes = Object.fromEntries(Object.entries(dims).map(([name, dim]) => [name, batch * heads * length * dim * ELEMENT_BYTES[storage]]));
  return copyScratch(program, bytes, "keyLength or keyHeads, for copies of rows,", scratch);
}
