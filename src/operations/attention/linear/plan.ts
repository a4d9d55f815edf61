/** Linear attention: reduction over keys, combination of its chunks, product with the queries. */
import type { AttentionShape } from "../../specs.ts";
import { headGroups, storedRows } from "../head-groups.ts";
import { addApply, addCombine, addReduce, chooseReduction, kernelFeatureMap, type LinearWork, stateWorkspace } from "./parts.ts";
import type { ProgramBuilder } from "../../../program/program.ts";
import { addProjection, projectedRows } from "../projections.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";

/** How a program goes on from what is in `out`. */
export interface AttentionPlacement {
  /** Add to `out` what follows, instead of overwriting it. */
  readonly accumulate: boolean;
  /** Adds what comes before, once the workspaces are declared. */
  readonly before: () => void;
}

/** Adds linear attention of the buffers `q`, `k`, `v`, into `out`. */
export function addLinearAttention(program: ProgramBuilder, shape: AttentionShape, { accumulate, before }: AttentionPlacement): void {
  const { featureMap, headDim, valueDim, features, length } = shape;
  const random = featureMap === "favor+";
  const groups = headGroups(program, shape, [headDim, valueDim, features], random ? length * features * FLOAT_BYTES : 0);
  const work: LinearWork = { program, shape, featureMap: kernelFeatureMap(featureMap), features, mostHeads: groups[0]!.count };
  const reduction = chooseReduction(work);
  const normalised = featureMap === "softmax";
  const states = stateWorkspace(work, "states", reduction, reduction.chunks);
  const single = reduction.chunks === 1 && !normalised;
  const combined = single ? states : stateWorkspace(work, "combined", reduction, 1);
  const [q, k] = [storedRows(shape, "q", headDim), storedRows(shape, "k", headDim)];
  const [values, out] = [storedRows(shape, "v", valueDim), storedRows(shape, "out", valueDim)];
  // Keys are done with before the queries come: one workspace serves both.
  const projected = random ? projectedRows(work, "projected") : undefined;
  before();
  for (const group of groups) {
    if (projected) addProjection(work, group, { from: k, to: projected, keys: true });
    addReduce(work, reduction, group, { keys: projected ?? k, values }, states);
    if (!single) addCombine(work, reduction, group, { states, combined, normalised });
    if (projected) addProjection(work, group, { from: q, to: projected, keys: false });
    addApply(work, reduction, group, { queries: projected ?? q, states: combined, out, accumulate });
  }
}
