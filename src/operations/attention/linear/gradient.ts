/**
 * The gradient of linear attention: keys are reduced to their state again, queries get their gradients from it, and then queries and the
 * gradients of the output are reduced to a state from which keys and values get theirs.
 */
import type { ProgramBuilder } from "../../../program/builder.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { addBiasGradient, type AttentionGradientTensors } from "../bias.ts";
import { gradientRows, headGroups } from "../head-groups.ts";
import { addProjection, projectedRows } from "../projection.ts";
import { type AttentionShape, isProjected, keyShape } from "../spec.ts";
import { addCombine, addReduce, chooseReduction, linearWork, stateScratch, STATISTICS, statisticsRows } from "./key-state.ts";
import { addEfficientKeyState, addKeyGradient, addQueryGradient } from "./state-gradient.ts";

/** Adds the gradient of linear attention that is not causal. */
export function planLinearAttentionGradient(
  program: ProgramBuilder,
  shape: AttentionShape,
  tensors: AttentionGradientTensors,
  scratch: number,
): void {
  const { featureMap, headDim, valueDim, features, length } = shape;
  const made = isProjected(shape);
  const keyed = keyShape(shape);
  const longest = Math.max(length, keyed.length);
  const perHead = FLOAT_BYTES * (length * STATISTICS + (made ? (length + keyed.length + longest) * features : 0));
  const groups = headGroups(program, shape, [headDim, valueDim, features, STATISTICS], scratch, perHead);
  const work = linearWork(program, shape, tensors.lengths, scratch, groups[0]!.count);
  const keyWork = { ...work, shape: keyed };
  const reduction = chooseReduction(keyWork);
  const queryReduction = chooseReduction(work);
  const scratchLeft = program.scratchLeft(scratch);
  const efficient = featureMap === "softmax";
  const single = reduction.chunks === 1;
  const oneOfQueries = queryReduction.chunks === 1;
  const keyStates = stateScratch(work, "keyStates", reduction, reduction.chunks);
  const keyState = single ? keyStates : stateScratch(work, "keyState", reduction, 1);
  const normalised = efficient ? stateScratch(work, "normalisedKeyState", reduction, 1) : keyState;
  const queryStates = stateScratch(work, "queryStates", queryReduction, queryReduction.chunks);
  const queryState = oneOfQueries ? queryStates : stateScratch(work, "queryState", reduction, 1);
  const backState = efficient ? stateScratch(work, "backState", reduction, 1) : queryState;
  const statistics = statisticsRows(work);
  const { q, k, v, dOut, dq, dk, dv } = gradientRows(shape, tensors);
  const projected = made && {
    q: projectedRows(work, "projectedQ"),
    k: projectedRows(keyWork, "projectedK"),
    gradient: projectedRows(work, "projectedGradient", longest),
  };
  const accumulate = addBiasGradient(program, shape, tensors, scratchLeft());
  for (const group of groups) {
    if (projected) {
      addProjection(keyWork, group, "keys", { from: k, to: projected.k });
      addProjection(work, group, "queries", { from: q, to: projected.q });
    }
    const [queries, keys] = projected ? [projected.q, projected.k] : [q, k];
    addReduce(keyWork, reduction, group, { keys, values: v }, keyStates);
    if (!single) addCombine(work, reduction, group, { states: keyStates, combined: keyState, normalised: false });
    if (efficient) addCombine(work, reduction, group, { states: keyStates, combined: normalised, normalised: true });
    const queryGradient = projected ? projected.gradient : dq;
    addQueryGradient(work, reduction, group, { queries, states: normalised, gradients: dOut, statistics, out: queryGradient, chunked: false });
    if (projected) addProjection(work, group, "queryGradients", { from: queryGradient, to: dq, rows: q });
    addReduce(work, queryReduction, group, { keys: queries, values: dOut, statistics }, queryStates);
    if (!oneOfQueries) addCombine(work, queryReduction, group, { states: queryStates, combined: queryState, normalised: false });
    if (efficient) addEfficientKeyState(work, reduction, group, { keys: keyState, queries: queryState, combined: backState });
    const keyGradient = projected ? projected.gradient : dk;
    addKeyGradient(keyWork, reduction, group, { keys, states: backState, values: v, dk: keyGradient, dv, accumulate, chunked: false });
    if (projected) addProjection(keyWork, group, "keyGradients", { from: keyGradient, to: dk, rows: k });
  }
}
