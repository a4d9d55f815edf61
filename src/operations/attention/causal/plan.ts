/**
 * Causal linear attention: a key state for each chunk of rows, a scan that turns them into those of all earlier chunks, and a product that
 * adds the keys of a row's own chunk: O(N) work and memory, in parallel over chunks.
 */
import type { ProgramBuilder } from "../../../program/builder.ts";
import { addBias, type AttentionTensors } from "../bias.ts";
import { storedRows } from "../head-groups.ts";
import { addProjection, projectedRows } from "../projection.ts";
import { type AttentionShape, isProjected } from "../spec.ts";
import { addCausalApply, addEarlierStates, addEfficientQueries, causalStates, causalWork } from "./chunks.ts";

/** Adds causal linear attention, with FastRPB or without a bias. */
export function planCausalAttention(program: ProgramBuilder, shape: AttentionShape, tensors: AttentionTensors, scratch: number): void {
  const { headDim } = shape;
  const made = isProjected(shape);
  const efficient = shape.featureMap === "softmax";
  const rowFloats = made ? 2 * shape.features : efficient ? headDim : 0;
  const { work, groups, reduction } = causalWork(program, shape, tensors.lengths, scratch, rowFloats);
  const scratchLeft = program.scratchLeft(scratch);
  const states = causalStates(work, reduction, "states");
  const [q, k] = [storedRows(shape, tensors, "q"), storedRows(shape, tensors, "k")];
  const [values, out] = [storedRows(shape, tensors, "v"), storedRows(shape, tensors, "out")];
  const projected = made && { queries: projectedRows(work, "projectedQ"), keys: projectedRows(work, "projectedK") };
  const relative = efficient ? projectedRows(work, "efficientQ") : undefined;
  const accumulate = addBias(program, shape, tensors, scratchLeft());
  for (const group of groups) {
    if (projected) {
      addProjection(work, group, "keys", { from: k, to: projected.keys });
      addProjection(work, group, "queries", { from: q, to: projected.queries });
    }
    const rows = { ...(projected || { queries: q, keys: k }), values, states };
    if (states !== undefined) addEarlierStates(work, reduction, group, { keys: rows.keys, values, states });
    if (relative) addEfficientQueries(work, reduction, group, { ...rows, out: relative });
    addCausalApply(work, reduction, group, relative ? { ...rows, queries: relative } : rows, { out, accumulate });
  }
}
