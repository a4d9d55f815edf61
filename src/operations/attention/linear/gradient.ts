/**
 * The gradient of linear attention: keys are reduced to their state again, queries get their gradients from it, and then queries and the
 * gradients of the output are reduced to a state from which keys and values get theirs.
 */
import type { AttentionShape } from "../../specs.ts";
import { headGroups, type Rows } from "../head-groups.ts";
import { addEfficientKeyState, addKeyGradient, addQueryGradient } from "./gradient-parts.ts";
import { addCombine, addReduce, chooseReduction, kernelFeatureMap, type LinearWork, stateWorkspace, STATISTICS } from "./parts.ts";
import type { ProgramBuilder } from "../../../program/program.ts";
import { addProjection, addProjectionGradient, projectedRows } from "../projections.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";

export interface GradientPlacement {
  /** Add to `dv` what follows, instead of overwriting it. */
  readonly accumulate: boolean;
  /** Adds what comes before, once the workspaces are declared. */
  readonly before: () => void;
}

/** Adds the gradient of linear attention: `q`, `k`, `v`, `dOut` → `dq`, `dk`, `dv`. */
export function addLinearAttentionGradient(program: ProgramBuilder, shape: AttentionShape, { accumulate, before }: GradientPlacement): void {
  const { featureMap, headDim, valueDim, features, length } = shape;
  const random = featureMap === "favor+";
  const perHead = length * FLOAT_BYTES * (STATISTICS + (random ? 3 * features : 0));
  const groups = headGroups(program, shape, [headDim, valueDim, features, STATISTICS], perHead);
  const work: LinearWork = { program, shape, featureMap: kernelFeatureMap(featureMap), features, mostHeads: groups[0]!.count };
  const reduction = chooseReduction(work);
  const efficient = featureMap === "softmax";
  const single = reduction.chunks === 1;
  const keyStates = stateWorkspace(work, "keyStates", reduction, reduction.chunks);
  const keyState = single ? keyStates : stateWorkspace(work, "keyState", reduction, 1);
  const normalised = efficient ? stateWorkspace(work, "normalisedKeyState", reduction, 1) : keyState;
  const queryStates = stateWorkspace(work, "queryStates", reduction, reduction.chunks);
  const queryState = single ? queryStates : stateWorkspace(work, "queryState", reduction, 1);
  const backState = efficient ? stateWorkspace(work, "backState", reduction, 1) : queryState;
  const statisticsBytes = work.mostHeads * length * STATISTICS * FLOAT_BYTES;
  const statistics: Rows = { buffer: program.workspace("statistics", statisticsBytes), dim: STATISTICS, local: true };
  const rows = (buffer: string, dim: number): Rows => ({ buffer, dim });
  const [q, k, v, dOut] = [rows("q", headDim), rows("k", headDim), rows("v", valueDim), rows("dOut", valueDim)];
  const [dq, dk] = [rows("dq", headDim), rows("dk", headDim)];
  const projected = random && {
    q: projectedRows(work, "projectedQ"),
    k: projectedRows(work, "projectedK"),
    gradient: projectedRows(work, "projectedGradient"),
  };
  before();
  for (const group of groups) {
    if (projected) {
      addProjection(work, group, { from: k, to: projected.k, keys: true });
      addProjection(work, group, { from: q, to: projected.q, keys: false });
    }
    const [queries, keys] = projected ? [projected.q, projected.k] : [q, k];
    addReduce(work, reduction, group, { keys, values: v }, keyStates);
    if (!single) addCombine(work, reduction, group, { states: keyStates, combined: keyState, normalised: false });
    if (efficient) addCombine(work, reduction, group, { states: keyStates, combined: normalised, normalised: true });
    const queryGradient = projected ? projected.gradient : dq;
    addQueryGradient(work, reduction, group, { queries, states: normalised, gradients: dOut, statistics, out: queryGradient });
    if (projected) addProjectionGradient(work, group, { from: queryGradient, to: dq, keys: undefined });
    addReduce(work, reduction, group, { keys: queries, values: dOut, statistics }, queryStates);
    if (!single) addCombine(work, reduction, group, { states: queryStates, combined: queryState, normalised: false });
    if (efficient) addEfficientKeyState(work, reduction, group, { keys: keyState, queries: queryState, combined: backState });
    const keyGradient = projected ? projected.gradient : dk;
    addKeyGradient(work, reduction, group, { keys, states: backState, values: v, dk: keyGradient, dv: rows("dv", valueDim), accumulate });
    if (projected) addProjectionGradient(work, group, { from: keyGradient, to: dk, keys: k });
  }
}
