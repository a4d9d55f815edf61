/**
 * Features of queries and keys, and the channels of a multiplicative bias that are made of them: every feature of the keys times every value,
 * and times 1.
 */
import { firstPlainChannel, multiplicativeChannels } from "../../../../shaders/attention/multiplicative/channels.ts";
import { multiplicativeContractKernel } from "../../../../shaders/attention/multiplicative/contract.ts";
import { multiplicativeExpandKernel } from "../../../../shaders/attention/multiplicative/expand.ts";
import { multiplicativeFinishKernel } from "../../../../shaders/attention/multiplicative/finish.ts";
import { firstFeatureKernel } from "../../../../shaders/attention/multiplicative/first-feature.ts";
import { rowFeaturesBytes, rowFeaturesKernel } from "../../../../shaders/attention/multiplicative/row-features.ts";
import type { Handle, ProgramBuilder } from "../../../program/builder.ts";
import { bindableUnits, firstBytes, limitError } from "../../../program/ranges.ts";
import { bytesOf, FLOAT_BYTES } from "../../../program/units.ts";
import { elementwiseLanes, floorPowerOfTwo } from "../../../program/workgroups.ts";
import { lengthsUse } from "../../lengths.ts";
import type { ToeplitzSpec } from "../../toeplitz/spec.ts";
import type { AttentionTensors } from "../bias.ts";
import { groupBytes, groupRows, type HeadGroup, type Rows } from "../head-groups.ts";
import {
  addCombine,
  addReduce,
  chooseReduction,
  kernelFeatureMap,
  type LinearWork,
  type Reduction,
  stateScratch,
  statesUse,
} from "../linear/key-state.ts";
import { addProjection, projectedRows } from "../random-features.ts";
import type { AttentionShape } from "../spec.ts";

const FEATURE_ROWS = 8;
const FEATURE_ROW_LANES = 8;

/** Some features of all rows of a group. */
export interface FeatureGroup {
  readonly first: number;
  readonly count: number;
}

/** What features and channels are made of. */
export type FeatureTensors = Pick<AttentionTensors, "q" | "k" | "v" | "lengths">;

/** How the work is cut. */
export interface MultiplicativeWork extends LinearWork {
  readonly tensors: FeatureTensors;
  readonly groups: readonly HeadGroup[];
  readonly featureGroups: readonly FeatureGroup[];
}

/**
 * Whole batch rows, or some of the heads of one, and as many features at a time as there is room for.
 *
 * @param channelBuffers how many pieces of scratch hold channels
 * @param numbers that a row needs besides, of each feature and of each value
 */
export function multiplicativeWork(
  program: ProgramBuilder,
  shape: AttentionShape,
  tensors: FeatureTensors,
  scratch: number,
  channelBuffers: number,
  numbers: { readonly perFeature: number; readonly perValue: number },
): MultiplicativeWork {
  const { limits, caller } = program;
  const { batch, heads, length, features, headDim, valueDim, featureMap } = shape;
  const width = valueDim + 1;
  /** A channel of padding, where there may be one. */
  const padding = length * FLOAT_BYTES * (valueDim % 2);
  const headBytes = length * FLOAT_BYTES * (numbers.perFeature * features + numbers.perValue * width) + channelBuffers * padding;
  const channelBytes = length * FLOAT_BYTES * width;
  const budget = scratch / 2;
  const widest = Math.max(features, headDim, width) * length * FLOAT_BYTES;
  const most = Math.min(Math.floor(budget / (headBytes + channelBuffers * channelBytes)), bindableUnits(limits, widest, batch * heads));
  if (most < 1) throw limitError(caller, "workspaceBytes", 2 * (headBytes + channelBuffers * channelBytes), scratch, "one head");
  const step = most >= heads ? Math.floor(most / heads) * heads : most;
  const groups: HeadGroup[] = [];
  for (let first = 0; first < batch * heads;) {
    // Part of the heads of a batch row do not go on into the next.
    const rest = step >= heads ? batch * heads - first : heads - (first % heads);
    const count = Math.min(step, rest);
    groups.push({ first, count });
    first += count;
  }
  const mostHeads = groups[0]!.count;
  const affordable = Math.floor((budget / mostHeads - headBytes) / (channelBuffers * channelBytes));
  const bindable = Math.floor((limits.maxStorageBufferBindingSize / mostHeads - padding) / channelBytes);
  if (bindable < 1) {
    throw limitError(
      caller,
      "maxStorageBufferBindingSize",
      mostHeads * (channelBytes + padding),
      limits.maxStorageBufferBindingSize,
      "the channels of a feature",
    );
  }
  const featureStep = Math.ceil(features / Math.ceil(features / Math.min(features, affordable, bindable)));
  const featureGroups: FeatureGroup[] = [];
  for (let first = 0; first < features; first += featureStep) featureGroups.push({ first, count: Math.min(featureStep, features - first) });
  const common = { program, shape, featureMap: kernelFeatureMap(featureMap), features, mostHeads, lengths: tensors.lengths, scratch };
  return { ...common, groups, featureGroups, tensors };
}

/** Scratch for the features of a group's rows, and for the way there. */
export interface FeatureSpaces {
  readonly queries: Rows;
  readonly keys: Rows;
  /** The first key that has each feature. */
  readonly firsts: Handle;
  /** Of which the largest key of each feature is taken; only for SIKF. */
  readonly states: { readonly reduction: Reduction; readonly partial: Handle; readonly combined: Handle } | undefined;
  /** Random features of queries and keys. */
  readonly projected: { readonly q: Rows; readonly k: Rows } | undefined;
  /** Bytes of all that. */
  readonly bytes: number;
}

export function featureSpaces(work: MultiplicativeWork): FeatureSpaces {
  const { program, shape, features, featureMap, mostHeads } = work;
  const reduction = chooseReduction(work);
  const partial = featureMap === "sikf" ? stateScratch(work, "states", reduction, reduction.chunks) : undefined;
  const combined = partial === undefined || reduction.chunks === 1 ? partial : stateScratch(work, "combined", reduction, 1);
  const queries = projectedRows(work, "queryFeatures");
  const keys = projectedRows(work, "keyFeatures");
  const random = shape.featureMap === "favor+";
  const projected = random ? { q: projectedRows(work, "projectedQ"), k: projectedRows(work, "projectedK") } : undefined;
  const firsts = program.temporary("firsts", mostHeads * features * FLOAT_BYTES);
  const states = partial && combined && { reduction, partial, combined };
  const bytes = bytesOf(partial, combined, queries.buffer, keys.buffer, projected?.q.buffer, projected?.k.buffer, firsts);
  return { queries, keys, firsts, states, projected, bytes };
}

/** Adds the features of a group's queries and keys. */
export function addFeatures(work: MultiplicativeWork, group: HeadGroup, spaces: FeatureSpaces): void {
  const { shape, tensors } = work;
  const { queries, keys, firsts, states, projected } = spaces;
  const q: Rows = { buffer: tensors.q, dim: shape.headDim };
  const k: Rows = { buffer: tensors.k, dim: shape.headDim };
  if (projected) {
    addProjection(work, group, "queries", { from: q, to: projected.q });
    addProjection(work, group, "keys", { from: k, to: projected.k });
  }
  const from = projected ?? { q, k };
  if (states) {
    const { reduction, partial, combined } = states;
    addReduce(work, reduction, group, { keys: from.k, values: { buffer: tensors.v, dim: shape.valueDim } }, partial);
    if (combined !== partial) addCombine(work, reduction, group, { states: partial, combined, normalised: false });
  }
  addRowFeatures(work, group, from.k, keys, "keys", states);
  addRowFeatures(work, group, from.q, queries, "queries", states);
  addFirstFeatures(work, group, keys, firsts);
}

function addRowFeatures(work: LinearWork, group: HeadGroup, from: Rows, to: Rows, of: "queries" | "keys", states: FeatureSpaces["states"]): void {
  const { program, shape, featureMap, features } = work;
  const { limits } = program;
  const { state } = states?.reduction ?? chooseReduction(work);
  const { length, variableLengths } = shape;
  const mostLanes = Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
  const rowLanes = Math.min(FEATURE_ROW_LANES, mostLanes);
  const rows = Math.max(1, Math.min(FEATURE_ROWS, Math.floor(mostLanes / rowLanes)));
  const kernel = rowFeaturesKernel({ length, headDim: features, featureMap, of, state, variableLengths, rows, rowLanes });
  const bytes = rowFeaturesBytes({ rows, rowLanes });
  if (bytes > limits.maxComputeWorkgroupStorageSize) {
    throw limitError(program.caller, "maxComputeWorkgroupStorageSize", bytes, limits.maxComputeWorkgroupStorageSize, "the features of a row");
  }
  const queries = groupRows(program, shape, group, kernel, "queries", from);
  const out = groupRows(program, shape, { first: 0, count: group.count }, kernel, "out", to);
  const rowBytes = groupBytes(shape, group, features);
  const relative = featureMap === "sikf" && of === "queries";
  program.dispatch({
    kernel,
    groups: group.count * Math.ceil(length / rows),
    params: { firstHead: group.first, queriesBase: queries.base, outBase: 0, heads: shape.heads },
    uses: {
      queries: { ...queries.use, reads: (relative ? 2 : 1) * rowBytes },
      out: { ...out.use, writes: rowBytes },
      // Shared by all rows of a head.
      ...(states && { states: { ...statesUse(states.combined, states.reduction, group, 1), reads: group.count * features * FLOAT_BYTES } }),
      ...lengthsUse(shape, work.lengths),
    },
    flops: 20 * group.count * length * features,
  });
}

function addFirstFeatures({ program, shape, features }: LinearWork, group: HeadGroup, keys: Rows, firsts: Handle): void {
  const kernel = firstFeatureKernel({ lanes: floorPowerOfTwo(elementwiseLanes(program.limits)), length: shape.length, features });
  const bytes = groupBytes(shape, group, features);
  const bytesOfFirsts = group.count * features * FLOAT_BYTES;
  program.dispatch({
    kernel,
    groups: group.count * features,
    params: {},
    uses: {
      features: { buffer: keys.buffer, slice: firstBytes(bytes), reads: bytes },
      out: { buffer: firsts, slice: firstBytes(bytesOfFirsts), writes: bytesOfFirsts },
    },
    flops: 0,
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

/** Bytes of the channels of some features. */
export function channelBytes({ shape }: LinearWork, group: HeadGroup, features: FeatureGroup): number {
  return group.count * shape.length * multiplicativeChannels(features.count, shape.valueDim) * FLOAT_BYTES;
}

/** Where channels are: parameters of the kernels that read or write them. */
export function channelParams({ shape }: LinearWork, features: FeatureGroup): { readonly channels: number; readonly firstPlain: number } {
  const { valueDim } = shape;
  return { channels: multiplicativeChannels(features.count, valueDim), firstPlain: firstPlainChannel(features.count, valueDim) };
}

/** Adds the channels: features times values, or times the `wide` rows of scratch. */
export function addExpand(
  work: LinearWork,
  group: HeadGroup,
  selected: FeatureGroup,
  rows: { readonly features: Rows; readonly values: Rows; readonly out: Handle },
): void {
  const { program, shape, features } = work;
  const { length, valueDim, variableLengths } = shape;
  const wide = rows.values.local === true;
  const kernel = multiplicativeExpandKernel({ lanes: elementwiseLanes(program.limits), length, features, valueDim, wide, variableLengths });
  const values = groupRows(program, shape, group, kernel, "values", rows.values);
  const bytes = channelBytes(work, group, selected);
  const plainBytes = group.count * length * selected.count * FLOAT_BYTES;
  program.dispatch({
    kernel,
    groups: Math.ceil(bytes / FLOAT_BYTES / kernel.workgroupSize[0]),
    params: {
      count: bytes / FLOAT_BYTES,
      ...channelParams(work, selected),
      firstFeature: selected.first,
      firstHead: group.first,
      valuesBase: values.base,
      heads: shape.heads,
    },
    uses: {
      features: {
        buffer: rows.features.buffer,
        slice: firstBytes(groupBytes(shape, group, features)),
        reads: plainBytes * (valueDim + 1),
      },
      values: { ...values.use, reads: plainBytes * (wide ? valueDim + 1 : valueDim) },
      out: { buffer: rows.out, slice: firstBytes(bytes), writes: bytes },
      ...(wide ? {} : lengthsUse(shape, work.lengths)),
    },
    flops: bytes / FLOAT_BYTES,
  });
}

/** Adds the sum over some features of channels times features, to `out` or over what is there. */
export function addContract(
  work: LinearWork,
  group: HeadGroup,
  selected: FeatureGroup,
  rows: { readonly features: Rows; readonly channels: Handle; readonly out: Rows; readonly accumulate: boolean },
): void {
  const { program, shape, features } = work;
  const { length, valueDim } = shape;
  const columns = rows.out.dim;
  const kernel = multiplicativeContractKernel({ lanes: elementwiseLanes(program.limits), features, valueDim, columns, accumulate: rows.accumulate });
  const out = groupRows(program, shape, group, kernel, "out", rows.out);
  const outBytes = groupBytes(shape, group, columns);
  const bytes = channelBytes(work, group, selected);
  program.dispatch({
    kernel,
    groups: Math.ceil(outBytes / FLOAT_BYTES / kernel.workgroupSize[0]),
    params: {
      count: outBytes / FLOAT_BYTES,
      features: selected.count,
      ...channelParams(work, selected),
      firstFeature: selected.first,
      firstRow: group.first * length,
      outBase: out.base,
    },
    uses: {
      features: {
        buffer: rows.features.buffer,
        slice: firstBytes(groupBytes(shape, group, features)),
        reads: outBytes * selected.count,
      },
      channels: { buffer: rows.channels, slice: firstBytes(bytes), reads: outBytes * selected.count },
      out: { ...out.use, reads: rows.accumulate ? outBytes : 0, writes: outBytes },
    },
    flops: 2 * (outBytes / FLOAT_BYTES) * selected.count,
  });
}

/** Adds the quotient, or the gradient of numerators and denominator in the place of the totals. */
export function addFinish(
  work: LinearWork,
  group: HeadGroup,
  rows: { readonly totals: Rows; readonly features: Rows; readonly firsts: Handle; readonly out: Rows; readonly into: "out" | "inner" },
): void {
  const { program, shape, features } = work;
  const { length, valueDim, causal, variableLengths } = shape;
  const kernel = multiplicativeFinishKernel({
    lanes: elementwiseLanes(program.limits),
    length,
    features,
    valueDim,
    causal,
    into: rows.into,
    variableLengths,
  });
  const binding = rows.into === "out" ? "out" : "gradients";
  const out = groupRows(program, shape, group, kernel, binding, rows.out);
  const count = group.count * length;
  const totalBytes = groupBytes(shape, group, valueDim + 1);
  const featureBytes = groupBytes(shape, group, features);
  const valueBytes = groupBytes(shape, group, valueDim);
  program.dispatch({
    kernel,
    groups: Math.ceil(count / kernel.workgroupSize[0]),
    params: { rows: count, firstHead: group.first, [`${binding}Base`]: out.base, heads: shape.heads },
    uses: {
      totals: {
        buffer: rows.totals.buffer,
        slice: firstBytes(totalBytes),
        reads: totalBytes,
        ...(rows.into === "inner" && { writes: totalBytes }),
      },
      features: { buffer: rows.features.buffer, slice: firstBytes(featureBytes), reads: featureBytes },
      firsts: { buffer: rows.firsts, slice: firstBytes(group.count * features * FLOAT_BYTES), reads: featureBytes },
      [binding]: { ...out.use, ...(rows.into === "out" ? { writes: valueBytes } : { reads: valueBytes }) },
      ...(rows.into === "inner" ? lengthsUse(shape, work.lengths) : {}),
    },
    flops: 2 * count * (features + valueDim),
  });
}
