/**
 * FastRPB of cross-attention: its N × M matrix is part of a square one, of as many rows and columns as the longer side has. Where values or
 * gradients are fewer, zeros stand for the others; where results are fewer, the others are left out.
 */
import type { ProgramBuilder } from "../../program/builder.ts";
import type { Handles, Operation } from "../operation.ts";
import { around } from "./around.ts";
import { addBias, addBiasGradient, type AttentionGradientTensors, type AttentionTensors } from "./bias.ts";
import { addFitted, fittedScratch } from "./fit-rows.ts";
import { type AttentionShape, type AttentionSpec, keyLengthOf } from "./spec.ts";

/** The tensors of the product and its gradient: `v` and `dv` have rows of keys, the others of queries. */
const INPUTS = ["v", "dOut"] as const;
const OUTPUTS = ["out", "dv"] as const;

/** An attention whose specs have FastRPB and keys of another length, from one that adds to what is there. */
export function withCrossBias(attention: Operation<AttentionSpec>): Operation<AttentionSpec> {
  return around(attention, (plan, program, shape, tensors, scratch) => {
    addCrossBias(program, shape, tensors, scratch);
    plan(program, shape, tensors, scratch);
  });
}

/** Adds the product of the bias and the values into `out`, or the gradients into `dv` and `dBias`. @throws FastRpbError code `"limit"` */
function addCrossBias(program: ProgramBuilder, shape: AttentionShape, tensors: Handles, scratch: number): void {
  const { batch, heads, length, valueDim: width, storage: precision } = shape;
  const keyLength = keyLengthOf(shape);
  const square = Math.max(length, keyLength);
  const lengths = { v: keyLength, dOut: length, out: length, dv: keyLength };
  const isShort = (name: keyof typeof lengths) => tensors[name] !== undefined && lengths[name] < square;
  const [inputs, outputs] = [INPUTS.filter(isShort), OUTPUTS.filter(isShort)];
  const dims = Object.fromEntries([...inputs, ...outputs].map((name) => [name, width]));
  const { copies: rows, left } = fittedScratch(program, shape, square, dims, scratch);
  // Token by token, the rows of a token's heads stand side by side.
  const [units, rowHeads] = shape.layout === "bhnd" ? [batch * heads, 1] : [batch, heads];
  const fitted = { units, width, precision };
  const own = (name: keyof typeof lengths) => ({ buffer: tensors[name]!, heads: 1, length: lengths[name] * rowHeads });
  const whole = (name: keyof typeof lengths) => ({ buffer: rows[name]!, heads: 1, length: square * rowHeads });
  for (const name of inputs) addFitted(program, fitted, own(name), whole(name));
  const squareShape = { ...shape, length: square, keyLength: undefined };
  const all = { ...tensors, ...rows };
  if (tensors["dOut"]) addBiasGradient(program, squareShape, all as AttentionGradientTensors, left);
  else addBias(program, squareShape, all as AttentionTensors, left);
  for (const name of outputs) addFitted(program, fitted, whole(name), own(name));
}
