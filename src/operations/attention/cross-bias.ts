/**
 * FastRPB of cross-attention: its N × M matrix is part of a square one, of as many rows and columns as the longer side has. Where values or
 * gradients are fewer, zeros stand for the others; where results are fewer, the others are left out.
 */
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { planToeplitzGradient, type ToeplitzGradientTensors } from "../toeplitz/gradient.ts";
import type { ToeplitzTensors } from "../toeplitz/pairs.ts";
import { planToeplitz } from "../toeplitz/plan.ts";
import { addFitted, fittedScratch } from "./fit-rows.ts";
import { type AttentionShape, biasSpec, keyLengthOf } from "./spec.ts";

/** Adds the product of the bias and the values into `out`. @throws FastRpbError code `"limit"` */
export function addCrossBias(program: ProgramBuilder, shape: AttentionShape, { v, spectrum, out }: ToeplitzTensors, scratch: number): void {
  const [length, keyLength] = [shape.length, keyLengthOf(shape)];
  const { whole, pad, cut, left } = squared(program, shape, { v: [v, keyLength], out: [out, length] }, scratch);
  pad("v");
  planToeplitz(program, biasSpec(shape), { ...whole, spectrum }, left);
  cut("out");
}

/** Adds the gradients of the values into `dv`, and of the weights into `dWeights`. @throws FastRpbError code `"limit"` */
export function addCrossBiasGradient(
  program: ProgramBuilder,
  shape: AttentionShape,
  { v, spectrum, dOut, dv, dWeights }: ToeplitzGradientTensors,
  scratch: number,
): void {
  const [length, keyLength] = [shape.length, keyLengthOf(shape)];
  const { whole, pad, cut, left } = squared(program, shape, { v: [v, keyLength], dOut: [dOut, length], dv: [dv, keyLength] }, scratch);
  pad("v");
  pad("dOut");
  planToeplitzGradient(program, biasSpec(shape), { ...whole, spectrum, dWeights }, left);
  cut("dv");
}

/** Tensors of rows of values, and how many of them a head has. */
type SideRows<Name extends string> = Readonly<Record<Name, readonly [buffer: Handle, length: number]>>;

/** The tensors of the square product: the same, or scratch where a head has fewer rows; `pad` fills that of an input, `cut` takes from that of an output. */
function squared<Name extends string>(program: ProgramBuilder, shape: AttentionShape, sides: SideRows<Name>, scratch: number) {
  const { batch, heads, valueDim: width, storage: precision } = shape;
  const square = Math.max(shape.length, keyLengthOf(shape));
  const names = Object.keys(sides) as Name[];
  const short = names.filter((name) => sides[name][1] < square);
  const { rows, left } = fittedScratch(program, shape, square, Object.fromEntries(short.map((name) => [name, width])), scratch);
  const whole = Object.fromEntries(names.map((name) => [name, rows[name] ?? sides[name][0]])) as Readonly<Record<Name, Handle>>;
  const fit = (name: Name, padding: boolean) => {
    if (!rows[name]) return;
    const own = { buffer: sides[name][0], heads: 1, length: sides[name][1] };
    const fitted = { buffer: rows[name], heads: 1, length: square };
    const [from, to] = padding ? [own, fitted] : [fitted, own];
    addFitted(program, { units: batch * heads, width, precision }, from, to);
  };
  return { whole, pad: (name: Name) => fit(name, true), cut: (name: Name) => fit(name, false), left };
}
