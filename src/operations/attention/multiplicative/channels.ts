/**
 * Features of queries and keys, and the channels of a multiplicative bias that are made of them: every feature of the keys times every value,
 * and times 1.
 */
import { firstPlainChannel, multiplicativeChannels, totalsWidth } from "../../../../shaders/attention/multiplicative/channels.ts";
import { multiplicativeContractKernel } from "../../../../shaders/attention/multiplicative/contract.ts";
import { multiplicativeExpandKernel } from "../../../../shaders/attention/multiplicative/expand.ts";
import { multiplicativeGradientKernel } from "../../../../shaders/attention/multiplicative/gradient.ts";
import { rowFeaturesBytes, rowFeaturesKernel } from "../../../../shaders/attention/multiplicative/row-features.ts";
import { tolerancesKernel } from "../../../../shaders/attention/multiplicative/tolerances.ts";
import type { BindingUse, Handle, NamedHandles, ProgramBuilder } from "../../../program/builder.ts";
import { bindableUnits, firstBytes, limitError } from "../../../program/ranges.ts";
import { evenStep, type Span, spansOf } from "../../../program/slices.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { elementwiseLanes, floorPowerOfTwo, mostLanes } from "../../../program/workgroups.ts";
import { headWeights, keptNumbers, keptUse } from "../../toeplitz/kept.ts";
import type { ToeplitzSpec } from "../../toeplitz/spec.ts";
import type { AttentionTensors } from "../bias.ts";
import { addHeadKernel, type HeadGroup, type NamedRows, type Rows, storedRows } from "../head-groups.ts";
import { addCombine, addReduce, chooseReduction, type LinearWork, linearWork, type Reduction, stateScratch, statesUse } from "../linear/key-state.ts";
import { addProjection, projectedRows } from "../projection.ts";
import { type AttentionShape, isProjected } from "../spec.ts";

/** Rows of a workgroup that makes features, and lanes of a row, at most. */
const FEATURE_ROWS = 8;
const FEATURE_ROW_LANES = 8;

/** Some features of all rows of a group of heads. */
export type FeatureGroup = Span;

/** The tensors that features and channels are made of. */
export type FeatureTensors = Pick<AttentionTensors, "q" | "k" | "v" | "spectrum" | "lengths">;

/** An attention with a multiplicative bias, or its gradient, in a program, and how it is cut into heads and features. */
export interface MultiplicativeWork extends LinearWork {
  readonly tensors: FeatureTensors;
  readonly groups: readonly HeadGroup[];
  readonly featureGroups: readonly FeatureGroup[];
}

/**
 * Takes whole batch rows at a time, or some of the heads of one, and as many features as there is room for.
 *
 * @param channelBuffers how many pieces of scratch hold channels
 * @param perFeature how many numbers a row needs besides for each feature
 * @throws FastRpbError code `"limit"` where there is no room for one head, or for the channels of one feature
 */
export function multiplicativeWork(
  program: ProgramBuilder,
  shape: AttentionShape,
  tensors: FeatureTensors,
  scratch: number,
  channelBuffers: number,
  perFeature: number,
): MultiplicativeWork {
  const { limits } = program;
  const { batch, heads, length, features, headDim, valueDim } = shape;
  const columnBytes = length * FLOAT_BYTES;
  const width = valueDim + 1;
  /** A channel of padding, where there may be one. */
  const padding = columnBytes * (valueDim % 2);
  const headBytes = columnBytes * (perFeature * features + totalsWidth(valueDim)) + channelBuffers * padding;
  const channelBytes = columnBytes * width;
  const budget = scratch / 2;
  const neededBytes = headBytes + channelBuffers * channelBytes;
  const widest = Math.max(Math.max(features, headDim, totalsWidth(valueDim)) * columnBytes, keptNumbers(shape) * FLOAT_BYTES);
  const most = Math.min(Math.floor(budget / neededBytes), bindableUnits(limits, widest, batch * heads));
  if (most < 1) throw limitError(program, "workspaceBytes", 2 * neededBytes, "one head", scratch);
  // Some of the heads of a batch row do not go on into the next.
  const groups =
    most >= heads
      ? spansOf(batch * heads, Math.floor(most / heads) * heads)
      : spansOf(batch, 1).flatMap((row) => spansOf(heads, most).map(({ first, count }) => ({ first: row.first * heads + first, count })));
  const mostHeads = groups[0]!.count;
  const affordable = Math.floor((budget / mostHeads - headBytes) / (channelBuffers * channelBytes));
  const bindableFeatures = Math.floor((limits.maxStorageBufferBindingSize / mostHeads - padding) / channelBytes);
  if (bindableFeatures < 1) {
    throw limitError(program, "maxStorageBufferBindingSize", mostHeads * (channelBytes + padding), "the channels of a feature");
  }
  const featureGroups = spansOf(features, evenStep(features, Math.min(affordable, bindableFeatures)));
  return { ...linearWork(program, shape, tensors.lengths, scratch, mostHeads), groups, featureGroups, tensors };
}

/** Scratch for the features of a group's rows, and for what they are made of. */
export interface FeatureScratch extends NamedRows<"queries" | "keys"> {
  /** What each feature's share of a denominator must exceed, [heads, features]. */
  readonly tolerances: Handle;
  /** States that hold the largest key of each feature, of each chunk and of all; only for SIKF. */
  readonly states: NamedHandles<"ofChunks" | "combined"> | undefined;
  readonly reduction: Reduction;
  /** Random features of queries and keys. */
  readonly projected: NamedRows<"q" | "k"> | undefined;
}

/** Makes that scratch for the largest group. */
export function featureScratch(work: MultiplicativeWork): FeatureScratch {
  const { program, shape, features, featureMap, mostHeads } = work;
  const reduction = chooseReduction(work);
  const ofChunks = featureMap === "sikf" ? stateScratch(work, "states", reduction, reduction.chunks) : undefined;
  const combined = ofChunks === undefined || reduction.chunks === 1 ? ofChunks : stateScratch(work, "combined", reduction, 1);
  const queries = projectedRows(work, "queryFeatures");
  const keys = projectedRows(work, "keyFeatures");
  const projected = isProjected(shape) ? { q: projectedRows(work, "projectedQ"), k: projectedRows(work, "projectedK") } : undefined;
  const tolerances = program.temporary("tolerances", mostHeads * features * FLOAT_BYTES);
  return { queries, keys, tolerances, states: ofChunks && combined && { ofChunks, combined }, reduction, projected };
}

/** Adds the features of a group's queries and keys. */
export function addFeatures(work: MultiplicativeWork, group: HeadGroup, scratch: FeatureScratch): void {
  const { shape, tensors, features } = work;
  const { queries, keys, tolerances, states, reduction, projected } = scratch;
  const [q, k] = [storedRows(shape, tensors, "q"), storedRows(shape, tensors, "k")];
  if (projected) {
    addProjection(work, group, "queries", { from: q, to: projected.q });
    addProjection(work, group, "keys", { from: k, to: projected.k });
  }
  const from = projected ?? { q, k };
  if (states) {
    const { ofChunks, combined } = states;
    addReduce(work, reduction, group, { keys: from.k, values: storedRows(shape, tensors, "v") }, ofChunks);
    if (combined !== ofChunks) addCombine(work, reduction, group, { states: ofChunks, combined, normalised: false });
  }
  addRowFeatures(work, group, from.k, keys, "keys", scratch);
  addRowFeatures(work, group, from.q, queries, "queries", scratch);
  const lanes = floorPowerOfTwo(elementwiseLanes(work.program.limits));
  const bytes = group.count * features * FLOAT_BYTES;
  addHeadKernel(work, group, tolerancesKernel({ lanes, length: shape.length, features, weights: headWeights(shape) }), {
    groups: features,
    rows: { features: { ...keys, reads: 2 * shape.length } },
    uses: { kept: keptOf(work, group, 2 * features), out: { buffer: tolerances, slice: firstBytes(bytes), writes: bytes } },
    flops: 4 * shape.length * features,
  });
}

/** What is kept of the weights of a group's heads, and how many numbers of it each reads. */
export function keptOf({ program, shape, tensors }: MultiplicativeWork, group: HeadGroup, reads: number): BindingUse {
  const { heads } = shape;
  // Some of the heads of one batch row, or all.
  const span = group.count < heads ? { first: group.first % heads, count: group.count } : { first: 0, count: heads };
  return { ...keptUse(program.limits, shape, tensors.spectrum!, span), reads: group.count * reads * FLOAT_BYTES };
}

function addRowFeatures(work: LinearWork, group: HeadGroup, from: Rows, to: Rows, of: "queries" | "keys", scratch: FeatureScratch): void {
  const { program, shape, featureMap, features } = work;
  const { state } = scratch.reduction;
  const { length, variableLengths } = shape;
  const lanes = mostLanes(program.limits);
  const rowLanes = Math.min(FEATURE_ROW_LANES, lanes);
  const rows = Math.max(1, Math.min(FEATURE_ROWS, Math.floor(lanes / rowLanes)));
  const bytes = rowFeaturesBytes({ rows, rowLanes });
  if (bytes > program.limits.maxComputeWorkgroupStorageSize) {
    throw limitError(program, "maxComputeWorkgroupStorageSize", bytes, "the features of a row");
  }
  const kernel = rowFeaturesKernel({ length, headDim: features, featureMap, of, state, variableLengths, rows, rowLanes });
  const relative = featureMap === "sikf" && of === "queries";
  addHeadKernel(work, group, kernel, {
    groups: Math.ceil(length / rows),
    rows: { queries: { ...from, reads: (relative ? 2 : 1) * length }, out: { ...to, writes: length } },
    // The kernel counts rows of the output from the first of the group.
    params: { outBase: 0 },
    // Shared by all rows of a head.
    uses: { states: statesUse(scratch.states?.combined, scratch.reduction, group, 1, { reads: features * FLOAT_BYTES }) },
    flops: 20 * length * features,
  });
}

/** The product of some features' channels with the exponentials of the bias, as a Toeplitz product of its own. */
export function channelProduct(
  { batch, heads, length, grid, causal, valueDim }: AttentionShape,
  group: HeadGroup,
  features: FeatureGroup,
): ToeplitzSpec {
  const rows = group.count > heads ? group.count / heads : 1;
  return {
    operation: "toeplitz",
    batch: Math.min(rows, batch),
    heads: group.count / rows,
    length,
    grid,
    causal,
    channels: multiplicativeChannels(features.count, valueDim),
    variableLengths: false,
    storage: "f32",
  };
}

/** Bytes of the channels of some features of a group. */
export function channelBytes({ shape }: LinearWork, group: HeadGroup, features: FeatureGroup): number {
  return group.count * shape.length * multiplicativeChannels(features.count, shape.valueDim) * FLOAT_BYTES;
}

/** Where channels are, and which features: parameters of the kernels that read or write them. */
function channelParams({ valueDim }: AttentionShape, { first, count }: FeatureGroup): Readonly<Record<string, number>> {
  const [channels, firstPlain] = [multiplicativeChannels(count, valueDim), firstPlainChannel(count, valueDim)];
  return { features: count, firstFeature: first, channels, firstPlain };
}

/** Adds the channels: features times values, or times the rows of scratch that have one number more. */
export function addExpand(
  work: LinearWork,
  group: HeadGroup,
  selected: FeatureGroup,
  { features: own, values, out }: NamedRows<"features" | "values"> & { readonly out: Handle },
): void {
  const { program, shape, features } = work;
  const { length, valueDim, variableLengths } = shape;
  const wide = values.local === true;
  const lanes = elementwiseLanes(program.limits);
  const elements = length * multiplicativeChannels(selected.count, valueDim);
  const bytes = channelBytes(work, group, selected);
  addHeadKernel(work, group, multiplicativeExpandKernel({ lanes, length, features, valueDim, wide, variableLengths }), {
    elements,
    params: channelParams(shape, selected),
    rows: {
      features: { ...own, columns: selected.count, reads: length * (valueDim + 1) },
      values: { ...values, columns: valueDim + (wide ? 1 : 0), reads: length * selected.count },
    },
    uses: { out: { buffer: out, slice: firstBytes(bytes), writes: bytes } },
    flops: elements,
  });
}

/** Adds the sum over some features of channels times features, to `out` or over what is there: with tolerances also the denominator and its bound. */
export function addContract(
  work: LinearWork,
  group: HeadGroup,
  selected: FeatureGroup,
  rows: NamedRows<"features" | "out"> & { readonly channels: Handle; readonly tolerances?: Handle; readonly accumulate: boolean },
): void {
  const { program, shape, features } = work;
  const { length, valueDim } = shape;
  const { out, tolerances, accumulate } = rows;
  const columns = valueDim + (tolerances ? 2 : 0);
  const lanes = elementwiseLanes(program.limits);
  const kernel = multiplicativeContractKernel({ lanes, length, features, valueDim, columns, stride: out.dim, accumulate });
  const elements = length * columns;
  const each = group.count * length * selected.count * FLOAT_BYTES;
  addHeadKernel(work, group, kernel, {
    elements,
    params: { ...channelParams(shape, selected), firstRow: group.first * length },
    rows: {
      features: { ...rows.features, columns: selected.count, reads: elements },
      out: { ...out, columns, reads: accumulate ? length : 0, writes: length },
    },
    uses: {
      channels: { buffer: rows.channels, slice: firstBytes(channelBytes(work, group, selected)), reads: (columns - (tolerances ? 1 : 0)) * each },
      tolerances: tolerances && { buffer: tolerances, slice: firstBytes(group.count * features * FLOAT_BYTES), reads: 3 * each },
    },
    flops: 2 * elements * selected.count,
  });
}

/** Adds the gradient of some features' rows from that of their channels. */
export function addFeatureGradient(
  work: LinearWork,
  group: HeadGroup,
  selected: FeatureGroup,
  rows: NamedRows<"features" | "values" | "out"> & { readonly channels: Handle },
): void {
  const { program, shape, features, featureMap } = work;
  const { length, valueDim, variableLengths } = shape;
  const wide = rows.values.local === true;
  const lanes = elementwiseLanes(program.limits);
  const elements = length * selected.count;
  const reads = group.count * elements * (valueDim + 1) * FLOAT_BYTES;
  addHeadKernel(work, group, multiplicativeGradientKernel({ lanes, length, features, valueDim, featureMap, wide, variableLengths }), {
    elements,
    params: channelParams(shape, selected),
    rows: {
      features: { ...rows.features, columns: selected.count, reads: length },
      values: { ...rows.values, columns: valueDim + (wide ? 1 : 0), reads: elements },
      out: { ...rows.out, columns: selected.count, writes: length },
    },
    uses: { channels: { buffer: rows.channels, slice: firstBytes(channelBytes(work, group, selected)), reads } },
    flops: 2 * elements * (valueDim + 1),
  });
}
