/** Linear attention: the reduction of keys to a state for each chunk, the sum of these, the product with the queries. */
import type { ProgramBuilder } from "../../../program/builder.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { addBias, type AttentionTensors } from "../bias.ts";
import { headGroups, storedRows } from "../head-groups.ts";
import { addProjection, projectedRows } from "../projection.ts";
import { type AttentionShape, isProjected, keyShape } from "../spec.ts";
import { addApply, addCombine, addReduce, chooseReduction, linearWork, stateScratch } from "./key-state.ts";

/** Adds linear attention that is not causal, with FastRPB or without a bias. */
export function planLinearAttention(program: ProgramBuilder, shape: AttentionShape, tensors: AttentionTensors, scratch: number): void {
  const { featureMap, headDim, valueDim, features, length } = shape;
  const made = isProjected(shape);
  const keyed = keyShape(shape);
  const longest = Math.max(length, keyed.length);
  const groups = headGroups(program, shape, [headDim, valueDim, features], scratch, made ? longest * features * FLOAT_BYTES : 0);
  const work = linearWork(program, shape, tensors.lengths, scratch, groups[0]!.count);
  const keyWork = { ...work, shape: keyed };
  const reduction = chooseReduction(keyWork);
  const scratchLeft = program.scratchLeft(scratch);
  const normalised = featureMap === "softmax";
  const states = stateScratch(work, "states", reduction, reduction.chunks);
  const single = reduction.chunks === 1 && !normalised;
  const combined = single ? states : stateScratch(work, "combined", reduction, 1);
  const [q, k] = [storedRows(shape, tensors, "q"), storedRows(shape, tensors, "k")];
  const [values, out] = [storedRows(shape, tensors, "v"), storedRows(shape, tensors, "out")];
  // Keys are done with before the queries come: one serves both.
  const projected = made ? projectedRows(work, "projected", longest) : undefined;
  const accumulate = addBias(program, shape, tensors, scratchLeft());
  for (const group of groups) {
    if (projected) addProjection(keyWork, group, "keys", { from: k, to: projected });
    addReduce(keyWork, reduction, group, { keys: projected ?? k, values }, states);
    if (!single) addCombine(work, reduction, group, { states, combined, normalised });
    if (projected) addProjection(work, group, "queries", { from: q, to: projected });
    addApply(work, reduction, group, { queries: projected ?? q, states: combined, out, accumulate });
  }
}
