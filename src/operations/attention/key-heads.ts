/**
 * Attention of grouped queries (Ainslie et al. 2023). Where all queries of a group see the same keys, they are so many more queries of the one head that
 * its keys have, and the tensors stay as they are; otherwise it is attention of copies of keys and values, whose gradients are added up.
 */
import type { Handle, ProgramBuilder } from "../../program/builder.ts";
import { type Handles, type Operation, task } from "../operation.ts";
import { addFitted, fittedScratch, type HeadRows } from "./fit-rows.ts";
import { type AttentionGradientSpec, type AttentionShape, type AttentionSpec, keyShape } from "./spec.ts";

/** An attention whose specs have fewer heads of keys, from one of as many. */
export function withKeyHeads(attention: Operation<AttentionSpec>): Operation<AttentionSpec> {
  return {
    ...attention,
    plan(program, spec, tensors, scratch) {
      const joined = joinedHeads(spec);
      if (joined) {
        attention.plan(program, joined, tensors, scratch);
        return;
      }
      const { tensors: own, left } = addCopies(program, spec, tensors, scratch, ["k", "v"]);
      attention.plan(program, ungrouped(spec), { ...tensors, ...own }, left);
    },
    gradient(spec) {
      const inner = attention.gradient!(spec);
      if (!inner) return undefined;
      const operation = inner.operation as Operation<AttentionGradientSpec>;
      const gradient: Operation<AttentionGradientSpec> = {
        ...operation,
        plan(program, shape, tensors, scratch) {
          const joined = joinedHeads(shape);
          if (joined) {
            operation.plan(program, joined, tensors, scratch);
            return;
          }
          const { tensors: own, left, addSums } = addCopies(program, shape, tensors, scratch, ["k", "v", "dk", "dv"]);
          operation.plan(program, ungrouped(shape), { ...tensors, ...own }, left);
          addSums();
        },
      };
      return task(gradient, inner.spec as AttentionGradientSpec);
    },
  };
}

/** The same with as many heads of keys. */
function ungrouped<Shape extends AttentionShape>(shape: Shape): Shape {
  return { ...shape, keyHeads: undefined };
}

/** The same with the queries of a group one after the other, as those of one head; `undefined` where they do not all see the same. */
function joinedHeads<Shape extends AttentionShape>(shape: Shape): Shape | undefined {
  const { causal, window, bias, variableLengths } = shape;
  if (causal || window !== undefined || bias !== "none" || variableLengths) return undefined;
  const { heads, length: keyLength } = keyShape(shape);
  const length = (shape.heads / heads) * shape.length;
  return { ...ungrouped(shape), heads, length, keyLength: keyLength === length ? undefined : keyLength };
}

/** Adds copies of keys and values for all heads, and makes room for the gradients of these, which `addSums` adds up. @throws FastRpbError code `"limit"` */
function addCopies(
  program: ProgramBuilder,
  shape: AttentionShape,
  tensors: Handles,
  scratch: number,
  names: readonly ("k" | "v" | "dk" | "dv")[],
): { readonly tensors: Handles; readonly left: number; readonly addSums: () => void } {
  const { batch, heads: units, length } = keyShape(shape);
  const group = shape.heads / units;
  const dims = { k: shape.headDim, v: shape.valueDim, dk: shape.headDim, dv: shape.valueDim };
  const { rows, left } = fittedScratch(program, shape, length, Object.fromEntries(names.map((name) => [name, dims[name]])), scratch);
  const ofGroup = (buffer: Handle): HeadRows => ({ buffer, heads: 1, length });
  const ofHeads = (buffer: Handle): HeadRows => ({ buffer, heads: group, length });
  const fit = (name: "k" | "v" | "dk" | "dv", from: HeadRows, to: HeadRows) =>
    addFitted(program, { units: batch * units, width: dims[name], precision: shape.storage }, from, to);
  for (const name of ["k", "v"] as const) fit(name, ofGroup(tensors[name]!), ofHeads(rows[name]!));
  const addSums = () => {
    for (const name of ["dk", "dv"] as const) fit(name, ofHeads(rows[name]!), ofGroup(tensors[name]!));
  };
  return { tensors: rows, left, addSums };
}
