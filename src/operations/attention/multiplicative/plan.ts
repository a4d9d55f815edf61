/**
 * Linear attention with a multiplicative bias (Luo et al. 2021): every feature of the keys times every value, and times 1, is a channel of a
 * Toeplitz product with the exponentials of the bias; the features of the queries sum the channels up. In groups of features, so that the
 * channels fit into the workspace.
 */
import { firstFeatureKernel } from "../../../../shaders/attention/multiplicative/first-feature.ts";
import { firstPlainChannel, multiplicativeChannels } from "../../../../shaders/attention/multiplicative/channels.ts";
import { multiplicativeContractKernel } from "../../../../shaders/attention/multiplicative/contract.ts";
import { multiplicativeExpandKernel } from "../../../../shaders/attention/multiplicative/expand.ts";
import { multiplicativeFinishKernel } from "../../../../shaders/attention/multiplicative/finish.ts";
import { rowFeaturesBytes, rowFeaturesKernel } from "../../../../shaders/attention/multiplicative/row-features.ts";
import type { AttentionShape, ToeplitzSpec } from "../../specs.ts";
import { groupBytes, groupRows, type HeadGroup, type Rows } from "../head-groups.ts";
import { lengthsUse } from "../../lengths.ts";
import { addCombine, addReduce, chooseReduction, kernelFeatureMap, type LinearWork, statesUse, stateWorkspace } from "../linear/parts.ts";
import { bindableUnits, type BindingUse, limitError, type ProgramBuilder } from "../../../program/program.ts";
import { addProjection, projectedRows } from "../projections.ts";
import { addToeplitz } from "../../toeplitz/plan.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { elementwiseLanes, floorPowerOfTwo } from "../../../program/workgroups.ts";

const FEATURE_ROWS = 8;
const FEATURE_ROW_LANES = 8;

/** Some features of all rows of a group. */
export interface FeatureGroup {
  readonly first: number;
  readonly count: number;
}

/** How the work is cut. */
export interface MultiplicativeWork extends LinearWork {
  readonly groups: readonly HeadGroup[];
  readonly featureGroups: readonly FeatureGroup[];
}

/**
 * Whole batch rows, or some of the heads of one, and as many features at a time as there is room for.
 *
 * @param channelBuffers how many workspaces hold channels
 * @param numbers that a row needs besides, of each feature and of each value
 */
export function multiplicativeWork(
  program: ProgramBuilder,
  shape: AttentionShape,
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
  const budget = limits.workspaceBytes / 2;
  const widest = Math.max(features, headDim, width) * length * FLOAT_BYTES;
  const most = Math.min(Math.floor(budget / (headBytes + channelBuffers * channelBytes)), bindableUnits(limits, widest, batch * heads));
  if (most < 1) throw limitError(caller, "workspaceBytes", 2 * (headBytes + channelBuffers * channelBytes), limits.workspaceBytes, "one head");
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
  const parts = Math.ceil(features / Math.min(features, affordable, bindable));
  const featureStep = Math.ceil(features / parts);
  const featureGroups: FeatureGroup[] = [];
  for (let first = 0; first < features; first += featureStep) featureGroups.push({ first, count: Math.min(featureStep, features - first) });
  return { program, shape, featureMap: kernelFeatureMap(featureMap), features, mostHeads, groups, featureGroups };
}

/** The workspaces of the features, and of what the way there takes. */
export interface FeatureSpaces {
  readonly queries: Rows;
  readonly keys: Rows;
  readonly add: (group: HeadGroup) => void;
}

/** Declares workspaces for the features of queries and keys, and gives what adds their computation. */
export function declareFeatures(work: MultiplicativeWork): FeatureSpaces {
  const { program, shape, features, featureMap, mostHeads } = work;
  const { headDim, valueDim } = shape;
  const reduction = chooseReduction(work);
  const sikf = featureMap === "sikf";
  // Only for the largest key of each feature.
  const states = sikf ? stateWorkspace(work, "states", reduction, reduction.chunks) : undefined;
  const combined = states === undefined || reduction.chunks === 1 ? states : stateWorkspace(work, "combined", reduction, 1);
  const queries = projectedRows(work, "queryFeatures");
  const keys = projectedRows(work, "keyFeatures");
  const random = shape.featureMap === "favor+";
  const projected = random ? { q: projectedRows(work, "projectedQ"), k: projectedRows(work, "projectedK") } : undefined;
  program.workspace("firsts", mostHeads * features * FLOAT_BYTES);
  const q: Rows = { buffer: "q", dim: headDim };
  const k: Rows = { buffer: "k", dim: headDim };
  return {
    queries,
    keys,
    add(group) {
      if (projected) {
        addProjection(work, group, { from: q, to: projected.q, keys: false });
        addProjection(work, group, { from: k, to: projected.k, keys: true });
      }
      const from = projected ?? { q, k };
      if (states !== undefined && combined !== undefined) {
        addReduce(work, reduction, group, { keys: from.k, values: { buffer: "v", dim: valueDim } }, states);
        if (combined !== states) addCombine(work, reduction, group, { states, combined, normalised: false });
      }
      const maxima = combined === undefined ? undefined : statesUse(work, combined, reduction, group, 1);
      addRowFeatures(work, group, reduction.state, from.k, keys, "keys", maxima);
      addRowFeatures(work, group, reduction.state, from.q, queries, "queries", maxima);
      addFirstFeatures(work, group, keys);
    },
  };
}

function addRowFeatures(
  { program, shape, featureMap, features }: LinearWork,
  group: HeadGroup,
  state: Parameters<typeof rowFeaturesKernel>[0]["state"],
  from: Rows,
  to: Rows,
  of: "queries" | "keys",
  maxima: BindingUse | undefined,
): void {
  const { limits } = program;
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
      ...(maxima && { states: { ...maxima, reads: group.count * features * FLOAT_BYTES } }),
      ...lengthsUse(shape),
    },
    flops: 20 * group.count * length * features,
  });
}

function addFirstFeatures({ program, shape, features }: LinearWork, group: HeadGroup, keys: Rows): void {
  const kernel = firstFeatureKernel({ lanes: floorPowerOfTwo(elementwiseLanes(program.limits)), length: shape.length, features });
  const bytes = groupBytes(shape, group, features);
  const firstBytes = group.count * features * FLOAT_BYTES;
  program.dispatch({
    kernel,
    groups: group.count * features,
    params: {},
    uses: {
      features: { buffer: keys.buffer, slice: program.part(keys.buffer, bytes), reads: bytes },
      out: { buffer: "firsts", slice: program.part("firsts", firstBytes), writes: firstBytes },
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

/** Adds the channels: features times values, or times the `wide` rows of a workspace. */
export function addExpand(
  work: LinearWork,
  group: HeadGroup,
  part: FeatureGroup,
  rows: { readonly features: Rows; readonly values: Rows; readonly out: string },
): void {
  const { program, shape, features } = work;
  const { length, valueDim, variableLengths } = shape;
  const wide = rows.values.local === true;
  const kernel = multiplicativeExpandKernel({ lanes: elementwiseLanes(program.limits), length, features, valueDim, wide, variableLengths });
  const values = groupRows(program, shape, group, kernel, "values", rows.values);
  const bytes = channelBytes(work, group, part);
  const plainBytes = group.count * length * part.count * FLOAT_BYTES;
  program.dispatch({
    kernel,
    groups: Math.ceil(bytes / FLOAT_BYTES / kernel.workgroupSize[0]),
    params: {
      count: bytes / FLOAT_BYTES,
      ...channelParams(work, part),
      firstFeature: part.first,
      firstHead: group.first,
      valuesBase: values.base,
      heads: shape.heads,
    },
    uses: {
      features: {
        buffer: rows.features.buffer,
        slice: program.part(rows.features.buffer, groupBytes(shape, group, features)),
        reads: plainBytes * (valueDim + 1),
      },
      values: { ...values.use, reads: plainBytes * (wide ? valueDim + 1 : valueDim) },
      out: { buffer: rows.out, slice: program.part(rows.out, bytes), writes: bytes },
      ...(wide ? {} : lengthsUse(shape)),
    },
    flops: bytes / FLOAT_BYTES,
  });
}

/** Adds the sum over some features of channels times features, to `out` or over what is there. */
export function addContract(
  work: LinearWork,
  group: HeadGroup,
  part: FeatureGroup,
  rows: { readonly features: Rows; readonly channels: string; readonly out: Rows; readonly accumulate: boolean },
): void {
  const { program, shape, features } = work;
  const { length, valueDim } = shape;
  const columns = rows.out.dim;
  const kernel = multiplicativeContractKernel({ lanes: elementwiseLanes(program.limits), features, valueDim, columns, accumulate: rows.accumulate });
  const out = groupRows(program, shape, group, kernel, "out", rows.out);
  const outBytes = groupBytes(shape, group, columns);
  const bytes = channelBytes(work, group, part);
  program.dispatch({
    kernel,
    groups: Math.ceil(outBytes / FLOAT_BYTES / kernel.workgroupSize[0]),
    params: {
      count: outBytes / FLOAT_BYTES,
      features: part.count,
      ...channelParams(work, part),
      firstFeature: part.first,
      firstRow: group.first * length,
      outBase: out.base,
    },
    uses: {
      features: {
        buffer: rows.features.buffer,
        slice: program.part(rows.features.buffer, groupBytes(shape, group, features)),
        reads: outBytes * part.count,
      },
      channels: { buffer: rows.channels, slice: program.part(rows.channels, bytes), reads: outBytes * part.count },
      out: { ...out.use, reads: rows.accumulate ? outBytes : 0, writes: outBytes },
    },
    flops: 2 * (outBytes / FLOAT_BYTES) * part.count,
  });
}

/** Adds the quotient, or the gradient of numerators and denominator in the place of the totals. */
export function addFinish(
  work: LinearWork,
  group: HeadGroup,
  rows: { readonly totals: Rows; readonly features: Rows; readonly out: Rows; readonly into: "out" | "inner" },
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
        slice: program.part(rows.totals.buffer, totalBytes),
        reads: totalBytes,
        ...(rows.into === "inner" && { writes: totalBytes }),
      },
      features: { buffer: rows.features.buffer, slice: program.part(rows.features.buffer, featureBytes), reads: featureBytes },
      firsts: { buffer: "firsts", slice: program.part("firsts", group.count * features * FLOAT_BYTES), reads: featureBytes },
      [binding]: { ...out.use, ...(rows.into === "out" ? { writes: valueBytes } : { reads: valueBytes }) },
      ...(rows.into === "inner" ? lengthsUse(shape) : {}),
    },
    flops: 2 * count * (features + valueDim),
  });
}

/** Adds linear attention with a multiplicative bias, of which the buffer `spectrum` holds the exponentials, of `q`, `k`, `v` into `out`. */
export function addMultiplicativeAttention(program: ProgramBuilder, shape: AttentionShape): void {
  const { valueDim, heads, length } = shape;
  const random = shape.featureMap === "favor+";
  const work = multiplicativeWork(program, shape, 2, { perFeature: random ? 4 : 2, perValue: 1 });
  const { groups, featureGroups, mostHeads } = work;
  const spaces = declareFeatures(work);
  const largest = channelBytes(work, groups[0]!, featureGroups[0]!);
  program.workspace("channels", largest);
  program.workspace("summed", largest);
  const totals: Rows = { buffer: program.workspace("totals", mostHeads * length * (valueDim + 1) * FLOAT_BYTES), dim: valueDim + 1, local: true };
  const values: Rows = { buffer: "v", dim: valueDim };
  for (const group of groups) {
    spaces.add(group);
    for (const [i, part] of featureGroups.entries()) {
      addExpand(work, group, part, { features: spaces.keys, values, out: "channels" });
      addToeplitz(program, channelProduct(shape, group, part), {
        v: "channels",
        out: "summed",
        transposed: false,
        firstSpectrum: group.first % heads,
      });
      addContract(work, group, part, { features: spaces.queries, channels: "summed", out: totals, accumulate: i > 0 });
    }
    addFinish(work, group, { totals, features: spaces.queries, out: { buffer: "out", dim: valueDim }, into: "out" });
  }
}
