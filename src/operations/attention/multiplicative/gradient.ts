/**
 * The gradient of linear attention with a multiplicative bias. The sums over positions are made again; for each feature their gradients go
 * back through the transposed product, and are correlated with the channels for the gradient of the bias.
 */
import { multiplicativeGradientKernel } from "../../../../shaders/attention/multiplicative/gradient.ts";
import { toeplitzCornersKernel } from "../../../../shaders/attention/multiplicative/corners.ts";
import type { AttentionShape, ToeplitzSpec } from "../../specs.ts";
import { groupBytes, groupRows, type HeadGroup, type Rows } from "../head-groups.ts";
import { lengthsUse } from "../../lengths.ts";
import {
  addContract,
  addExpand,
  addFinish,
  channelBytes,
  channelParams,
  channelProduct,
  declareFeatures,
  type FeatureGroup,
  type MultiplicativeWork,
  multiplicativeWork,
} from "./plan.ts";
import type { ProgramBuilder } from "../../../program/program.ts";
import { addProjectionGradient, projectedRows } from "../projections.ts";
import { addCorrelations, addWeightGradient, declareCorrelation } from "../../toeplitz/gradient.ts";
import { addToeplitz } from "../../toeplitz/plan.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { elementwiseLanes } from "../../../program/workgroups.ts";

/** Corners of a grid. */
const CORNERS = 4;

/** Adds the gradient: `q`, `k`, `v`, `spectrum`, `dOut` → `dq`, `dk`, `dv`, `dBias`. */
export function addMultiplicativeGradient(program: ProgramBuilder, shape: AttentionShape): void {
  const { heads, length, grid, headDim, valueDim, causal, featureMap } = shape;
  const random = featureMap === "favor+";
  const work = multiplicativeWork(program, shape, 3, { perFeature: random ? 5 : 2, perValue: 1 });
  const { groups, featureGroups, mostHeads } = work;
  const spaces = declareFeatures(work);
  const largest = channelBytes(work, groups[0]!, featureGroups[0]!);
  for (const name of ["channels", "summed", "channelGradients"]) program.workspace(name, largest);
  const totals: Rows = { buffer: program.workspace("totals", mostHeads * length * (valueDim + 1) * FLOAT_BYTES), dim: valueDim + 1, local: true };
  const inner = random ? projectedRows(work, "projectedGradient") : undefined;
  const sizes = distinctCounts(groups).flatMap((group) => distinctCounts(featureGroups).map((part) => channelProduct(shape, group, part)));
  const correlation = declareCorrelation(program, sizes, heads, 0.5);
  const cornerBytes = heads * length * CORNERS * FLOAT_BYTES;
  for (const name of ["corners", "exponentials"]) program.workspace(name, cornerBytes);
  const rows = (buffer: string, dim: number): Rows => ({ buffer, dim });
  const [k, v, dOut] = [rows("k", headDim), rows("v", valueDim), rows("dOut", valueDim)];
  const [dq, dk, dv] = [rows("dq", headDim), rows("dk", headDim), rows("dv", valueDim)];

  for (const group of groups) {
    const firstSpectrum = group.first % heads;
    const product = (part: FeatureGroup, from: string, transposed: boolean) =>
      addToeplitz(program, channelProduct(shape, group, part), { v: from, out: "summed", transposed, firstSpectrum });
    spaces.add(group);
    for (const [i, part] of featureGroups.entries()) {
      addExpand(work, group, part, { features: spaces.keys, values: v, out: "channels" });
      product(part, "channels", false);
      addContract(work, group, part, { features: spaces.queries, channels: "summed", out: totals, accumulate: i > 0 });
    }
    addFinish(work, group, { totals, features: spaces.queries, out: dOut, into: "inner" });
    // Of one group of features, channels and their sums are still there.
    const again = featureGroups.length > 1;
    for (const [i, part] of featureGroups.entries()) {
      if (again) {
        addExpand(work, group, part, { features: spaces.keys, values: v, out: "channels" });
        product(part, "channels", false);
      }
      addFeatureGradient(work, group, part, { features: spaces.queries, values: totals, out: inner ?? dq });
      addExpand(work, group, part, { features: spaces.queries, values: totals, out: "channelGradients" });
      addCorrelations(program, channelProduct(shape, group, part), correlation, {
        gradients: "channelGradients",
        values: "channels",
        firstSum: firstSpectrum,
        accumulate: i > 0 || group.first >= heads,
      });
      if (inner && i === featureGroups.length - 1) addProjectionGradient(work, group, { from: inner, to: dq, keys: undefined });
      product(part, "channelGradients", true);
      addContract(work, group, part, { features: spaces.keys, channels: "summed", out: dv, accumulate: i > 0 });
      if (!inner) addFeatureGradient(work, group, part, { features: spaces.keys, values: v, out: dk });
    }
    if (inner) {
      for (const part of featureGroups) {
        if (again) {
          addExpand(work, group, part, { features: spaces.queries, values: totals, out: "channelGradients" });
          product(part, "channelGradients", true);
        }
        addFeatureGradient(work, group, part, { features: spaces.keys, values: v, out: inner });
      }
      addProjectionGradient(work, group, { from: inner, to: dk, keys: k });
    }
  }

  const [height, width] = grid ?? [1, length];
  const corners = toeplitzCornersKernel({ lanes: elementwiseLanes(program.limits), height, width });
  program.dispatch({
    kernel: corners,
    groups: Math.ceil(cornerBytes / FLOAT_BYTES / corners.workgroupSize[0]),
    params: { count: cornerBytes / FLOAT_BYTES },
    uses: { out: { buffer: "corners", writes: cornerBytes } },
    flops: 0,
  });
  const all: ToeplitzSpec = {
    operation: "toeplitz",
    batch: 1,
    heads,
    length,
    grid,
    causal,
    channels: CORNERS,
    variableLengths: false,
    storage: "f32",
  };
  addToeplitz(program, all, { v: "corners", out: "exponentials", transposed: false });
  addWeightGradient(program, all, correlation, { out: "dBias", factors: "exponentials" });
}

/** One of each size, the largest first. */
function distinctCounts<T extends { readonly count: number }>(groups: readonly T[]): readonly T[] {
  return [...new Map(groups.map((group) => [group.count, group])).values()];
}

/** Adds the gradient of some features' rows from that of their channels, `summed`. */
function addFeatureGradient(
  work: MultiplicativeWork,
  group: HeadGroup,
  part: FeatureGroup,
  rows: { readonly features: Rows; readonly values: Rows; readonly out: Rows },
): void {
  const { program, shape, features, featureMap } = work;
  const { length, valueDim, variableLengths, heads } = shape;
  const wide = rows.values.local === true;
  const kernel = multiplicativeGradientKernel({
    lanes: elementwiseLanes(program.limits),
    length,
    features,
    valueDim,
    featureMap,
    wide,
    variableLengths,
  });
  const values = groupRows(program, shape, group, kernel, "values", rows.values);
  const out = groupRows(program, shape, group, kernel, "out", rows.out);
  const count = group.count * length * part.count;
  const bytes = channelBytes(work, group, part);
  program.dispatch({
    kernel,
    groups: Math.ceil(count / kernel.workgroupSize[0]),
    params: {
      count,
      features: part.count,
      ...channelParams(work, part),
      firstFeature: part.first,
      firstHead: group.first,
      valuesBase: values.base,
      outBase: out.base,
      heads,
    },
    uses: {
      features: {
        buffer: rows.features.buffer,
        slice: program.part(rows.features.buffer, groupBytes(shape, group, features)),
        reads: count * FLOAT_BYTES,
      },
      channels: { buffer: "summed", slice: program.part("summed", bytes), reads: count * (valueDim + 1) * FLOAT_BYTES },
      values: { ...values.use, reads: count * (wide ? valueDim + 1 : valueDim) * FLOAT_BYTES },
      out: { ...out.use, writes: count * FLOAT_BYTES },
      ...(wide ? {} : lengthsUse(shape)),
    },
    flops: 2 * count * (valueDim + 1),
  });
}
