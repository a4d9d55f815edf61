/** The tensors of attention, and its FastRPB bias, which goes first, into the result: what follows adds to it. */
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import type { Handles } from "../operation.ts";
import { planToeplitzGradient } from "../toeplitz/gradient.ts";
import type { TensorStrides } from "../toeplitz/outside.ts";
import { planToeplitz } from "../toeplitz/plan.ts";
import { storedRows } from "./head-groups.ts";
import type { AttentionTensor } from "./layout.ts";
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

/**
 * Adds the product of a FastRPB bias and the values into `out`; of cross-attention it is there (attention/cross-bias.ts).
 *
 * @returns whether there is such a bias, so that what follows adds to `out`
 */
export function addBias(program: ProgramBuilder, shape: AttentionShape, tensors: AttentionTensors, scratch: number): boolean {
  if (shape.bias !== "fastrpb") return false;
  const strides = valueStrides(shape, tensors, ["v", "out"]);
  if (shape.keyLength === undefined) {
    planToeplitz(program, biasSpec(shape), { ...tensors, spectrum: tensors.spectrum! }, scratch, { strides });
  }
  return true;
}

/**
 * Adds the gradients through a FastRPB bias into `dv` and `dBias`; of cross-attention they are there.
 *
 * @returns whether there is such a bias, so that what follows adds to `dv`
 */
export function addBiasGradient(program: ProgramBuilder, shape: AttentionShape, tensors: AttentionGradientTensors, scratch: number): boolean {
  if (shape.bias !== "fastrpb") return false;
  const strides = valueStrides(shape, tensors, ["v", "dOut", "dv"]);
  if (shape.keyLength === undefined) {
    planToeplitzGradient(program, biasSpec(shape), { ...tensors, spectrum: tensors.spectrum!, dWeights: tensors.dBias! }, scratch, strides);
  }
  return true;
}

/** Where the values of tensors lie, if not head by head. */
function valueStrides(shape: AttentionShape, tensors: Partial<Handles>, names: readonly AttentionTensor[]): TensorStrides | undefined {
  if (shape.layout === "bhnd") return undefined;
  return new Map(names.map((name) => [tensors[name]!, storedRows(shape, tensors, name).strides!]));
}
