/**
 * Features of queries and keys, and the channels of a multiplicative bias that are made of them: every feature of the keys times every value,
 * and times 1.
 */
import { firstPlainChannel, multiplicativeChannels } from "../../../../shaders/attention/multiplicative/channels.ts";
import { multiplicativeContractKernel } from "../../../../shaders/attention/multiplicative/contract.ts";
import { multiplicativeExpandKernel } from "../../../../shaders/attention/multiplicative/expand.ts";
import { multiplicativeFinishKernel } from "../../../../shaders/attention/multiplicative/finish.ts";
import { multiplicativeGradientKernel } from "../../../../shaders/attention/multiplicative/gradient.ts";
import { firstFeatureKernel } from "../../../../shaders/attention/multiplicative/first-feature.ts";
import { rowFeaturesBytes, rowFeaturesKernel } from "../../../../shaders/attention/multiplicative/row-features.ts";
import type { Handle, NamedHandles, ProgramBuilder } from "../../../program/builder.ts";
import { bindableUnits, firstBytes, limitError } from "../../../program/ranges.ts";
import { evenStep, type Span, spansOf } from "../../../program/slices.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { elementwiseLanes, floorPowerOfTwo, mostLanes } from "../../../program/workgroups.ts";
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
export type FeatureTensors = Pick<AttentionTensors, "q" | "k" | "v" | "lengths">;

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
  const headBytes = columnBytes * (perFeature * features + width) + channelBuffers * padding;
  const channelBytes = columnBytes * width;
  const budget = scratch / 2;
  const neededBytes = headBytes + channelBuffers * channelBytes;
  const widest = Math.max(features, headDim, width) * columnBytes;
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
  /** The first key that has each feature, [heads, features] of u32. */
  readonly firsts: Handle;
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
  const made = isProjected(shape);
  const projected = made ? { q: projectedRows(work, "projectedQ"), k: projectedRows(work, "projectedK") } : undefined;
  const firsts = program.temporary("firsts", mostHeads * features * FLOAT_BYTES);
  return { queries, keys, firsts, states: ofChunks && combined && { ofChunks, combined }, reduction, projected };
}

/** Adds the features of a group's queries and keys. */
export function addFeatures(work: MultiplicativeWork, group: HeadGroup, scratch: FeatureScratch): void {
  const { shape, tensors, features } = work;
  const { queries, keys, firsts, states, reduction, projected } = scratch;
  const [q, k] = [storedRows(shape, tensors.q, shape.headDim), storedRows(shape, tensors.k, shape.headDim)];
  if (projected) {
    addProjection(work, group, "queries", { from: q, to: projected.q });
    addProjection(work, group, "keys", { from: k, to: projected.k });
  }
  const from = projected ?? { q, k };
  if (states) {
    const { ofChunks, combined } = states;
    addReduce(work, reduction, group, { keys: from.k, values: storedRows(shape, tensors.v, shape.valueDim) }, ofChunks);
    if (combined !== ofChunks) addCombine(work, reduction, group, { states: ofChunks, combined, normalised: false });
  }
  addRowFeatures(work, group, from.k, keys, "keys", scratch);
  addRowFeatures(work, group, from.q, queries, "queries", scratch);
  const lanes = floorPowerOfTwo(elementwiseLanes(work.program.limits));
  const bytes = group.count * features * FLOAT_BYTES;
  addHeadKernel(work, group, firstFeatureKernel({ lanes, length: shape.length, features }), {
    groups: features,
    rows: { features: { ...keys, reads: shape.length } },
    uses: { out: { buffer: firsts, slice: firstBytes(bytes), writes: bytes } },
    flops: 0,
  });
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
      values: { ...values, reads: length * selected.count },
    },
    uses: { out: { buffer: out, slice: firstBytes(bytes), writes: bytes } },
    flops: elements,
  });
}

/** Adds the sum over some features of channels times features, to `out` or over what is there. */
export function addContract(
  work: LinearWork,
  group: HeadGroup,
  selected: FeatureGroup,
  rows: NamedRows<"features" | "out"> & { readonly channels: Handle; readonly accumulate: boolean },
): void {
  const { program, shape, features } = work;
  const { length, valueDim } = shape;
  const { out, accumulate } = rows;
  const kernel = multiplicativeContractKernel({ lanes: elementwiseLanes(program.limits), features, valueDim, columns: out.dim, accumulate });
  const elements = length * out.dim;
  const reads = group.count * elements * selected.count * FLOAT_BYTES;
  addHeadKernel(work, group, kernel, {
    elements,
    params: { ...channelParams(shape, selected), firstRow: group.first * length },
    rows: {
      features: { ...rows.features, columns: selected.count, reads: elements },
      out: { ...out, reads: accumulate ? length : 0, writes: length },
    },
    uses: { channels: { buffer: rows.channels, slice: firstBytes(channelBytes(work, group, selected)), reads } },
    flops: 2 * elements * selected.count,
  });
}

/** Adds the quotient, or the gradient of numerators and denominator in the place of the totals. */
export function addFinish(
  work: LinearWork,
  group: HeadGroup,
  { features: queries, firsts, totals }: NamedRows<"features" | "totals"> & { readonly firsts: Handle },
  result: { readonly out: Rows; readonly gradients?: undefined } | { readonly gradients: Rows; readonly out?: undefined },
): void {
  const { program, shape, features } = work;
  const { length, valueDim, causal, variableLengths } = shape;
  const { out, gradients } = result;
  const into = out ? "out" : "inner";
  const bytes = group.count * features * FLOAT_BYTES;
  const lanes = elementwiseLanes(program.limits);
  addHeadKernel(work, group, multiplicativeFinishKernel({ lanes, length, features, valueDim, causal, into, variableLengths }), {
    elements: length,
    params: { rows: group.count * length },
    rows: {
      totals: { ...totals, reads: length, writes: gradients ? length : 0 },
      features: { ...queries, reads: length },
      out: out && { ...out, writes: length },
      gradients: gradients && { ...gradients, reads: length },
    },
    uses: { firsts: { buffer: firsts, slice: firstBytes(bytes), reads: bytes * length } },
    flops: 2 * length * (features + valueDim),
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
      values: { ...rows.values, reads: elements },
      out: { ...rows.out, columns: selected.count, writes: length },
    },
    uses: { channels: { buffer: rows.channels, slice: firstBytes(channelBytes(work, group, selected)), reads } },
    flops: 2 * elements * (valueDim + 1),
  });
}
