/** The tensors of attention, and its FastRPB bias, which goes first, into the result: what follows adds to it. */
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { planToeplitzGradient } from "../toeplitz/gradient.ts";
import { planToeplitz } from "../toeplitz/plan.ts";
import type * as CrossBias from "./cross-bias.ts";
import { type AttentionShape, biasSpec } from "./spec.ts";

/** The tensors of attention. */
export type AttentionTensors = {
  readonly q: Handle;
  readonly k: Handle;
  readonly v: Handle;
  /** The spectra of the bias, where there is one. */
  readonly spectrum?: Handle;
  /** The weights of a bias in the logits. */
  readonly bias?: Handle;
  /** The tensor `lengths`, where lengths vary. */
  readonly lengths?: Handle;
  /** The tensor `keyMask`, where keys have a mask. */
  readonly keyMask?: Handle;
  readonly out: Handle;
};

/** The tensors of the gradient of attention. */
export type AttentionGradientTensors = Omit<AttentionTensors, "out"> & {
  readonly dOut: Handle;
  readonly dq: Handle;
  readonly dk: Handle;
  readonly dv: Handle;
  /** The gradient of the weights of the bias, where there is one. */
  readonly dBias?: Handle;
};

let cross: typeof CrossBias | undefined;

/** Loads what the bias of cross-attention takes, which others do without. */
export async function loadCrossBias(): Promise<void> {
  cross ??= await import("./cross-bias.ts");
}

/** Adds the product of a FastRPB bias and the values into `out`. @returns whether there is such a bias, so that what follows adds to `out` */
export function addBias(program: ProgramBuilder, shape: AttentionShape, tensors: AttentionTensors, scratch: number): boolean {
  if (shape.bias !== "fastrpb") return false;
  const own = { ...tensors, spectrum: tensors.spectrum! };
  if (shape.keyLength === undefined) planToeplitz(program, biasSpec(shape), own, scratch);
  else cross!.addCrossBias(program, shape, own, scratch);
  return true;
}

/** Adds the gradients through a FastRPB bias into `dv` and `dBias`. @returns whether there is such a bias, so that what follows adds to `dv` */
export function addBiasGradient(program: ProgramBuilder, shape: AttentionShape, tensors: AttentionGradientTensors, scratch: number): boolean {
  if (shape.bias !== "fastrpb") return false;
  const own = { ...tensors, spectrum: tensors.spectrum!, dWeights: tensors.dBias! };
  if (shape.keyLength === undefined) planToeplitzGradient(program, biasSpec(shape), own, scratch);
  else cross!.addCrossBiasGradient(program, shape, own, scratch);
  return true;
}
