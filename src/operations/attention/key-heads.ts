/**
 * Attention of grouped queries (Ainslie et al. 2023). Where all queries of a group see the same keys, they are so many more queries of the one head that
 * its keys have, and the tensors stay as they are; otherwise it is attention of copies of keys and values, whose gradients are added up.
 */
import type { ProgramBuilder } from "../../program/builder.ts";
import type { Handles, Operation } from "../operation.ts";
import { around } from "./around.ts";
import { addFitted, fittedScratch, type HeadRows } from "./fit-rows.ts";
import { type AttentionShape, type AttentionSpec, keyShape } from "./spec.ts";

/** An attention whose specs have fewer heads of keys, from one of as many. */
export function withKeyHeads(attention: Operation<AttentionSpec>): Operation<AttentionSpec> {
  return around(attention, (plan, program, shape, tensors, scratch) => {
    const joined = joinedHeads(shape);
    if (joined) {
      plan(program, joined, tensors, scratch);
      return;
    }
    const { tensors: own, left, addSums } = addCopies(program, shape, tensors, scratch);
    plan(program, ungrouped(shape), { ...tensors, ...own }, left);
    addSums();
  });
}

/** The same with as many heads of keys. */
function ungrouped(shape: AttentionShape): AttentionShape {
  return { ...shape, keyHeads: undefined };
}

/** The same with the queries of a group one after the other, as those of one head; `undefined` where they do not all see the same. */
function joinedHeads(shape: AttentionShape): AttentionShape | undefined {
  const { causal, window, bias, variableLengths, layout } = shape;
  if (causal || window !== undefined || bias !== "none" || variableLengths) return undefined;
  const { heads, length: keyLength } = keyShape(shape);
  const length = (shape.heads / heads) * shape.length;
  const joined = layout === "bhnd" ? undefined : { heads: shape.heads, length: shape.length };
  return { ...ungrouped(shape), heads, length, keyLength: keyLength === length ? undefined : keyLength, joined };
}

/** Adds copies of keys and values for all heads, and makes room for gradients of these, which `addSums` adds up. @throws FastRpbError code `"limit"` */
function addCopies(
  program: ProgramBuilder,
  shape: AttentionShape,
  tensors: Handles,
  scratch: number,
): { readonly tensors: Handles; readonly left: number; readonly addSums: () => void } {
  const { batch, heads: keyHeads, length: keys } = keyShape(shape);
  const { headDim, valueDim, storage: precision, layout } = shape;
  // Token by token, the heads of a group stand side by side.
  const [units, length] = layout === "bhnd" ? [batch * keyHeads, keys] : [batch * keys * keyHeads, 1];
  const dims: Readonly<Record<string, number>> = { k: headDim, v: valueDim, ...(tensors["dOut"] && { dk: headDim, dv: valueDim }) };
  const { copies: rows, left } = fittedScratch(program, shape, keys, dims, scratch);
  const ofGroup = (name: string): HeadRows => ({ buffer: tensors[name]!, heads: 1, length });
  const ofHeads = (name: string): HeadRows => ({ buffer: rows[name]!, heads: shape.heads / keyHeads, length });
  const fitted = (name: string) => ({ units, width: dims[name]!, precision });
  for (const name of ["k", "v"]) addFitted(program, fitted(name), ofGroup(name), ofHeads(name));
  const addSums = () => {
    for (const name of ["dk", "dv"]) if (rows[name]) addFitted(program, fitted(name), ofHeads(name), ofGroup(name));
  };
  return { tensors: rows, left, addSums };
}
