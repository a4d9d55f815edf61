/** The FastRPB part of attention, which goes first, into the result: what follows adds to it. */
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { planToeplitzGradient } from "../toeplitz/gradient.ts";
import { planToeplitz } from "../toeplitz/plan.ts";
import { type AttentionShape, biasSpec } from "./spec.ts";

/** What attention is of, and where it goes. */
export type AttentionTensors = {
  readonly q: Handle;
  readonly k: Handle;
  readonly v: Handle;
  /** With a bias. */
  readonly spectrum?: Handle;
  /** With variable lengths. */
  readonly lengths?: Handle;
  readonly out: Handle;
};

/** What the gradient of attention is of, and where it goes. */
export type AttentionGradientTensors = Omit<AttentionTensors, "out"> & {
  readonly dOut: Handle;
  readonly dq: Handle;
  readonly dk: Handle;
  readonly dv: Handle;
  /** With a bias. */
  readonly dBias?: Handle;
};

/** Adds the FastRPB product into `out`, where there is such a bias. @returns whether there is, so that what follows adds to it */
export function addBias(program: ProgramBuilder, shape: AttentionShape, { v, spectrum, lengths, out }: AttentionTensors, scratch: number): boolean {
  if (shape.bias !== "fastrpb") return false;
  planToeplitz(program, biasSpec(shape), { v, spectrum: spectrum!, ...(lengths && { lengths }), out }, scratch);
  return true;
}

/** Adds the gradients of the values through the bias, and of its weights. @returns whether there is such a bias, so that what follows adds to `dv` */
export function addBiasGradient(
  program: ProgramBuilder,
  shape: AttentionShape,
  { v, spectrum, lengths, dOut, dv, dBias }: AttentionGradientTensors,
  scratch: number,
): boolean {
  if (shape.bias !== "fastrpb") return false;
  const tensors = { v, spectrum: spectrum!, ...(lengths && { lengths }), dOut, dv, dWeights: dBias! };
  planToeplitzGradient(program, biasSpec(shape), tensors, scratch);
  return true;
}
