/**
 * The gradient of linear attention with a multiplicative bias. The sums over positions are made again; for each feature their gradients go
 * back through the transposed product, and are correlated with the channels for the gradient of the bias. Rows that are summed directly have their
 * gradients so, too (direct.ts): they go through none of that.
 */
import { totalsWidth } from "../../../../shaders/attention/multiplicative/channels.ts";
import type { Handle, ProgramBuilder } from "../../../program/builder.ts";
import { addCorrelations, makeCorrelation } from "../../toeplitz/correlation.ts";
import { addWeightGradient } from "../../toeplitz/gradient.ts";
import { planToeplitz } from "../../toeplitz/plan.ts";
import type { ToeplitzSpec } from "../../toeplitz/spec.ts";
import type { AttentionGradientTensors } from "../bias.ts";
import { gradientRows, scratchRows } from "../head-groups.ts";
import { addProjection, projectedRows } from "../projection.ts";
import { type AttentionShape, isProjected } from "../spec.ts";
import {
  addContract,
  addExpand,
  addFeatureGradient,
  addFeatures,
  channelBytes,
  channelProduct,
  type FeatureGroup,
  featureScratch,
  multiplicativeWork,
} from "./channels.ts";
import { addDirectGradient, addFinish, flagScratch } from "./direct.ts";

/** Adds the gradient of attention with a multiplicative bias. */
export function planMultiplicativeGradient(program: ProgramBuilder, shape: AttentionShape, tensors: AttentionGradientTensors, scratch: number): void {
  const { heads, length, grid, valueDim, causal } = shape;
  const spectrum = tensors.spectrum!;
  const made = isProjected(shape);
  const work = multiplicativeWork(program, shape, tensors, scratch, 3, made ? 5 : 2);
  const { groups, featureGroups } = work;
  const scratchLeft = program.scratchLeft(scratch);
  const features = featureScratch(work);
  const { queries, keys, tolerances } = features;
  const largest = channelBytes(work, groups[0]!, featureGroups[0]!);
  const scratchFor = (name: string) => program.temporary(name, largest);
  const [channels, summed, channelGradients] = [scratchFor("channels"), scratchFor("summed"), scratchFor("channelGradients")];
  const totals = scratchRows(work, "totals", totalsWidth(valueDim));
  const inner = made ? projectedRows(work, "projectedGradient") : undefined;
  const sizes = distinctCounts(groups).flatMap((group) => distinctCounts(featureGroups).map((selected) => channelProduct(shape, group, selected)));
  const correlation = makeCorrelation(program, sizes, heads, scratch, 0.5);
  const flags = flagScratch(work);
  const rest = scratchLeft() - correlation.bytes;
  const { q, k, v, dOut, dq, dk, dv } = gradientRows(shape, tensors);

  for (const group of groups) {
    const firstSpectrum = group.first % heads;
    const product = (selected: FeatureGroup, from: Handle, transposed: boolean) =>
      planToeplitz(program, channelProduct(shape, group, selected), { v: from, spectrum, out: summed }, rest, { transposed, firstSpectrum });
    addFeatures(work, group, features);
    for (const [i, selected] of featureGroups.entries()) {
      addExpand(work, group, selected, { features: keys, values: v, out: channels });
      product(selected, channels, false);
      addContract(work, group, selected, { features: queries, channels: summed, tolerances, out: totals, accumulate: i > 0 });
    }
    addFinish(work, group, features, totals, { gradients: dOut, flags });
    const direct = { totals, gradients: dOut, flags };
    // Of one group of features, channels and their sums are still there.
    const again = featureGroups.length > 1;
    for (const [i, selected] of featureGroups.entries()) {
      if (again) {
        addExpand(work, group, selected, { features: keys, values: v, out: channels });
        product(selected, channels, false);
      }
      addFeatureGradient(work, group, selected, { features: queries, values: totals, channels: summed, out: inner ?? dq });
      addExpand(work, group, selected, { features: queries, values: totals, out: channelGradients });
      const correlated = { gradients: channelGradients, values: channels, firstSum: firstSpectrum, accumulate: i > 0 || group.first >= heads };
      addCorrelations(program, channelProduct(shape, group, selected), correlation, correlated, rest);
      if (i === featureGroups.length - 1) {
        addDirectGradient(work, group, "queries", features, direct, { out: inner ?? dq });
        if (inner) addProjection(work, group, "queryGradients", { from: inner, to: dq, rows: q });
      }
      product(selected, channelGradients, true);
      addContract(work, group, selected, { features: keys, channels: summed, out: dv, accumulate: i > 0 });
      if (!inner) addFeatureGradient(work, group, selected, { features: keys, values: v, channels: summed, out: dk });
    }
    if (inner) {
      for (const selected of featureGroups) {
        if (again) {
          addExpand(work, group, selected, { features: queries, values: totals, out: channelGradients });
          product(selected, channelGradients, true);
        }
        addFeatureGradient(work, group, selected, { features: keys, values: v, channels: summed, out: inner });
      }
    }
    addDirectGradient(work, group, "keys", features, direct, { out: inner ?? dk });
    if (inner) addProjection(work, group, "keyGradients", { from: inner, to: dk, rows: k });
    addDirectGradient(work, group, "values", features, direct, { out: dv });
    addDirectGradient(work, group, "weights", features, direct, { dBias: tensors.dBias! });
  }

  const all: ToeplitzSpec = { operation: "toeplitz", batch: 1, heads, length, grid, causal, channels: 1, variableLengths: false, storage: "f32" };
  addWeightGradient(program, all, correlation, { out: tensors.dBias!, kept: spectrum }, rest);
}

/** One of each size, the largest first. */
function distinctCounts<T extends { readonly count: number }>(groups: readonly T[]): readonly T[] {
  return [...new Map(groups.map((group) => [group.count, group])).values()];
}
