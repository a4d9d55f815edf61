/**
 * FastRPB of cross-attention: its N × M matrix is part of a square one, of as many rows and columns as the longer side has. Where values or
 * gradients are fewer, zeros stand for the others; where results are fewer, the others are left out.
 */
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { addFitted, fittedScratch } from "./fit-rows.ts";
import { type AttentionShape, keyLengthOf } from "./spec.ts";

/** The tensors of a product or its gradient, of which `v` and `dv` are of keys, `dOut` and `out` of queries, and others of neither. */
type ProductTensors = Readonly<Partial<Record<"v" | "dOut" | "out" | "dv", Handle>>>;

/**
 * Adds what a square product or its gradient takes, and these in between.
 *
 * @param add adds it, with tensors of as many rows on both sides, and so much of the scratch
 * @throws FastRpbError code `"limit"`
 */
export function addSquare<Tensors extends ProductTensors>(
  program: ProgramBuilder,
  shape: AttentionShape,
  tensors: Tensors,
  scratch: number,
  add: (tensors: Tensors, scratch: number) => void,
): void {
  const { batch, heads, length, valueDim: width, storage: precision } = shape;
  const keyLength = keyLengthOf(shape);
  const square = Math.max(length, keyLength);
  const lengths = { v: keyLength, dOut: length, out: length, dv: keyLength };
  const short = (["v", "dOut", "out", "dv"] as const).filter((name) => tensors[name] && lengths[name] < square);
  const { rows, left } = fittedScratch(program, shape, square, Object.fromEntries(short.map((name) => [name, width])), scratch);
  const fit = (padded: boolean) => {
    for (const name of short) {
      const own = { buffer: tensors[name]!, heads: 1, length: lengths[name] };
      const whole = { buffer: rows[name]!, heads: 1, length: square };
      const isInput = name === "v" || name === "dOut";
      if (isInput === padded)
        addFitted(program, { units: batch * heads, width, precision }, ...(isInput ? ([own, whole] as const) : ([whole, own] as const)));
    }
  };
  fit(true);
  add({ ...tensors, ...rows }, left);
  fit(false);
}
