/** What plans of linear attention are put together from: tiles, key states, products with them, and projections. */
import { keyStateLayout, type KernelFeatureMap, type KeyStateLayout, paddedToVec4 } from "../../shaders/feature-map.ts";
import { efficientKeyStateKernel } from "../../shaders/efficient-key-state.ts";
import { applyBytes, applyKernel, type ApplyKernelSpec, applyLanes } from "../../shaders/linear-attention-apply.ts";
import { combineKernel, mostChunks } from "../../shaders/linear-attention-combine.ts";
import { keyGradientBytes, keyGradientKernel } from "../../shaders/linear-attention-key-gradient.ts";
import { queryGradientBytes, queryGradientKernel } from "../../shaders/linear-attention-query-gradient.ts";
import { reduceBytes, reduceKernel, reduceLanes, reduceLoadRows, type ReduceKernelSpec } from "../../shaders/linear-attention-reduce.ts";
import { type FeatureTile, tileLanes } from "../../shaders/query-features.ts";
import type { PlannerLimits } from "../spec/limits.ts";
import type { AttentionShape, FeatureMap } from "../spec/operations.ts";
import { groupBytes, groupRows, type HeadGroup, type Rows } from "./head-groups.ts";
import { lengthsUse } from "./lengths.ts";
import { type BindingUse, limitError, type ProgramBuilder } from "./program.ts";
import { FLOAT_BYTES } from "./units.ts";
import { ceilPowerOfTwo, floorPowerOfTwo } from "./workgroups.ts";

/** Rows that make a chunk worth its partial state: below, writing and adding states costs more than the rows themselves. */
const FEWEST_CHUNK_ROWS = 128;
/** Workgroups that fill a large GPU (over 100 cores, several workgroups each). */
const ENOUGH_WORKGROUPS = 1024;
/** Rows that pass through workgroup memory at a time, where there is room for so many. */
const TILE_ROWS = [32, 16] as const;
/** Features × values per workgroup of the reduction. */
const REDUCE_TILE = 64;
/** Values per workgroup of the product with the queries. */
const APPLY_VALUES = 128;
const PREFERRED_LANES = 64;
/** Rows of a lane in the product with the queries: more would save loads, but leave room for fewer lanes. */
const LANE_ROWS = 4;
/** Rows of its workgroups, from the best to the smallest. */
const APPLY_ROWS = [16, 32, 64, 8, 4, 2, 1] as const;
/** Rows of the workgroups of gradients, and the lanes of a row. */
const GRADIENT_ROWS = [16, 8, 4, 2, 1] as const;
const GRADIENT_ROW_LANES = [16, 32, 64, 8, 4, 2, 1] as const;
const COMBINE_LANES = 256;
/** Operations of exp by polynomial, roughly. */
export const EXP_FLOPS = 20;

/** A linear attention, or its way back, in a program. */
export interface LinearWork {
  readonly program: ProgramBuilder;
  readonly shape: AttentionShape;
  readonly featureMap: KernelFeatureMap;
  /** Features of a row: D, or as many as there are random ones. */
  readonly features: number;
  /** Of the largest group of heads. */
  readonly mostHeads: number;
}

/** Other maps are SIKF of other rows, or with another state. */
export function kernelFeatureMap(featureMap: FeatureMap | undefined): KernelFeatureMap {
  return featureMap === "elu+1" || featureMap === "relu" ? featureMap : "sikf";
}

/** How the keys of a head are reduced to its state. */
export interface Reduction {
  readonly state: KeyStateLayout;
  readonly tile: ReduceTile;
  readonly chunks: number;
  readonly chunkRows: number;
  /** Bytes of a state without the padding between its parts. */
  readonly usedBytes: number;
}

/** Chunks: enough workgroups, yet few enough that the partial states stay small beside the keys and the workspace. */
export function chooseReduction({ program, shape, featureMap, features, mostHeads }: LinearWork): Reduction {
  const { limits } = program;
  const { length, valueDim } = shape;
  const state = keyStateLayout(features, valueDim, featureMap === "sikf");
  const tile = chooseReduceTile(features, valueDim, limits, program);
  const tiles = reduceTiles(tile, features, valueDim);
  const wanted = Math.min(Math.floor(length / FEWEST_CHUNK_ROWS), Math.max(1, Math.floor(ENOUGH_WORKGROUPS / (mostHeads * tiles))));
  const affordable = Math.floor(Math.min(limits.workspaceBytes / 16, limits.maxStorageBufferBindingSize) / (mostHeads * state.size * FLOAT_BYTES));
  const combinable = mostChunks(limits.maxComputeWorkgroupStorageSize, combineLanes(limits));
  const chunkCount = Math.max(1, Math.min(wanted, affordable, combinable));
  const chunkRows = Math.ceil(length / chunkCount / tile.tileRows) * tile.tileRows;
  const usedBytes = FLOAT_BYTES * features * (valueDim + (featureMap === "sikf" ? 2 : 1));
  return { state, tile, chunks: Math.ceil(length / chunkRows), chunkRows, usedBytes };
}

function combineLanes(limits: PlannerLimits): number {
  return floorPowerOfTwo(Math.min(COMBINE_LANES, limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX));
}

function reduceTiles(tile: ReduceTile, features: number, valueDim: number): number {
  return Math.ceil(features / tile.featureTile) * Math.ceil(valueDim / tile.valueTile);
}

/** A workspace for `count` states of every head of a group. */
export function stateWorkspace({ program, mostHeads }: LinearWork, name: string, { state }: Reduction, count: number): string {
  return program.workspace(name, mostHeads * count * state.size * FLOAT_BYTES);
}

/** The part of it that a group uses. */
export function statesUse(work: LinearWork, buffer: string, { state }: Reduction, group: HeadGroup, count: number): BindingUse {
  return { buffer, slice: work.program.part(buffer, group.count * count * state.size * FLOAT_BYTES) };
}

/** Rows that are reduced: keys and values, or on the way back queries and gradients, with the statistics of their rows. */
export interface ReducedRows {
  readonly keys: Rows;
  readonly values: Rows;
  readonly statistics?: Rows;
}

/** Adds the reduction to a state for each chunk. */
export function addReduce(work: LinearWork, reduction: Reduction, group: HeadGroup, rows: ReducedRows, states: string): void {
  const { program, shape, featureMap, features } = work;
  const { state, tile, chunks, chunkRows, usedBytes } = reduction;
  const { length, valueDim, variableLengths } = shape;
  const weighted = rows.statistics !== undefined;
  const kernel = reduceKernel({
    length,
    headDim: features,
    valueDim,
    featureMap,
    weighted,
    variableLengths,
    precision: { keys: rows.keys.precision ?? "f32", values: rows.values.precision ?? "f32" },
    state,
    chunkRows,
    chunks,
    ...tile,
  });
  const [featureTiles, valueTiles] = [Math.ceil(features / tile.featureTile), Math.ceil(valueDim / tile.valueTile)];
  const keys = groupRows(program, shape, group, kernel, "keys", rows.keys);
  const values = groupRows(program, shape, group, kernel, "values", rows.values);
  const statistics = rows.statistics && groupRows(program, shape, group, kernel, "statistics", rows.statistics);
  // Every lane that loads a vector of keys loads the statistics of its row.
  const statisticsReads = groupBytes(shape, group, STATISTICS) * valueTiles * featureTiles * (tile.featureTile / 4);
  program.dispatch({
    kernel,
    groups: group.count * chunks * featureTiles * valueTiles,
    params: {
      firstHead: group.first,
      keysBase: keys.base,
      valuesBase: values.base,
      ...(statistics && { statisticsBase: statistics.base }),
      heads: shape.heads,
    },
    uses: {
      keys: { ...keys.use, reads: groupBytes(shape, group, features, rows.keys.precision) * valueTiles },
      values: { ...values.use, reads: groupBytes(shape, group, valueDim, rows.values.precision) * featureTiles },
      states: { ...statesUse(work, states, reduction, group, chunks), writes: group.count * chunks * usedBytes },
      ...(statistics && { statistics: { ...statistics.use, reads: statisticsReads } }),
      ...lengthsUse(shape),
    },
    flops: group.count * length * (2 * features * (valueDim + 1) + EXP_FLOPS * features),
  });
}

/** Adds the sum of the chunks' states. */
export function addCombine(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  buffers: { readonly states: string; readonly combined: string; readonly normalised: boolean },
): void {
  const { program, shape, featureMap, features } = work;
  const { state, chunks, usedBytes } = reduction;
  const { valueDim } = shape;
  // Few chunks and values leave most lanes without work.
  const busy = ceilPowerOfTwo(Math.max(valueDim, chunks));
  const lanes = Math.min(combineLanes(program.limits), busy);
  const kernel = combineKernel({ headDim: features, valueDim, featureMap, normalised: buffers.normalised, state, chunks, lanes });
  program.dispatch({
    kernel,
    groups: group.count * features,
    params: {},
    uses: {
      states: { ...statesUse(work, buffers.states, reduction, group, chunks), reads: group.count * chunks * usedBytes },
      combined: { ...statesUse(work, buffers.combined, reduction, group, 1), writes: group.count * usedBytes },
    },
    flops: 2 * group.count * chunks * features * (valueDim + 1),
  });
}

/** Adds the product of queries with a state, into `out` or on top of what is there. */
export function addApply(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  buffers: { readonly queries: Rows; readonly states: string; readonly out: Rows; readonly accumulate: boolean },
): void {
  const { program, shape, featureMap, features } = work;
  const { length, valueDim, variableLengths } = shape;
  const { accumulate } = buffers;
  const tile = chooseApplyTile(features, valueDim, program.limits, program);
  const precision = { queries: buffers.queries.precision ?? "f32", out: buffers.out.precision ?? "f32" };
  const base = { length, headDim: features, valueDim, featureMap, variableLengths, precision };
  const kernel = applyKernel({ ...base, state: reduction.state, accumulate, ...tile });
  const queries = groupRows(program, shape, group, kernel, "queries", buffers.queries);
  const out = groupRows(program, shape, group, kernel, "out", buffers.out);
  const valueTiles = Math.ceil(valueDim / tile.valueTile);
  const outBytes = groupBytes(shape, group, valueDim, precision.out);
  program.dispatch({
    kernel,
    groups: group.count * Math.ceil(length / tile.rows) * valueTiles,
    params: { firstHead: group.first, queriesBase: queries.base, outBase: out.base, heads: shape.heads },
    uses: {
      queries: { ...queries.use, reads: groupBytes(shape, group, features, precision.queries) * valueTiles },
      // A head's state is shared by all its workgroups: from memory it comes once.
      states: { ...statesUse(work, buffers.states, reduction, group, 1), reads: group.count * reduction.usedBytes },
      out: { ...out.use, reads: accumulate ? outBytes : 0, writes: outBytes },
      ...lengthsUse(shape),
    },
    flops: group.count * length * (2 * features * (valueDim + 1) + EXP_FLOPS * features + 2 * valueDim),
  });
}

/** Where the state of a row's chunk is: all rows have one, or each chunk its own. */
export interface StateChunks {
  readonly chunks: number;
  readonly chunkRows: number;
}

/** Adds the gradient of queries, and the statistics of their rows where they are not there yet. */
export function addQueryGradient(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  buffers: {
    readonly queries: Rows;
    readonly states: string;
    readonly gradients: Rows;
    readonly statistics: Rows;
    readonly out: Rows;
    /** Given: the state is that of earlier chunks, and the statistics are there. */
    readonly within?: StateChunks;
  },
): void {
  const { program, shape, featureMap, features } = work;
  const { length, valueDim, variableLengths } = shape;
  const { within } = buffers;
  const { chunks, chunkRows } = within ?? { chunks: 1, chunkRows: length };
  const tile = chooseRowTile(work, within?.chunkRows, (rows) => queryGradientBytes({ headDim: features, valueDim, ...rows }));
  const base = { length, headDim: features, valueDim, featureMap, variableLengths, state: reduction.state, chunks, chunkRows };
  const kernel = queryGradientKernel({ ...base, ...tile, statistics: within ? "take" : "make" });
  const queries = groupRows(program, shape, group, kernel, "queries", buffers.queries);
  const gradients = groupRows(program, shape, group, kernel, "gradients", buffers.gradients);
  const statistics = groupRows(program, shape, group, kernel, "statistics", buffers.statistics);
  const out = groupRows(program, shape, group, kernel, "out", buffers.out);
  const statisticsBytes = groupBytes(shape, group, STATISTICS);
  program.dispatch({
    kernel,
    groups: group.count * Math.ceil(length / tile.rows),
    params: {
      firstHead: group.first,
      queriesBase: queries.base,
      gradientsBase: gradients.base,
      statisticsBase: statistics.base,
      outBase: out.base,
      heads: shape.heads,
    },
    uses: {
      queries: { ...queries.use, reads: groupBytes(shape, group, features) },
      states: { ...statesUse(work, buffers.states, reduction, group, chunks), reads: group.count * chunks * reduction.usedBytes },
      gradients: { ...gradients.use, reads: groupBytes(shape, group, valueDim) },
      // Given ones are read by every lane of a row.
      statistics: { ...statistics.use, ...(within ? { reads: statisticsBytes * tile.rowLanes } : { writes: statisticsBytes }) },
      out: { ...out.use, writes: groupBytes(shape, group, features) },
      ...lengthsUse(shape),
    },
    flops: group.count * length * (2 * features * (valueDim + 2) + EXP_FLOPS * features),
  });
}

/** Adds the gradients of keys and values, from the state of the queries. */
export function addKeyGradient(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  buffers: {
    readonly keys: Rows;
    readonly states: string;
    readonly values: Rows;
    readonly dk: Rows;
    readonly dv: Rows;
    readonly accumulate: boolean;
    readonly within?: StateChunks;
  },
): void {
  const { program, shape, featureMap, features } = work;
  const { length, valueDim, variableLengths } = shape;
  const { accumulate } = buffers;
  const { chunks, chunkRows } = buffers.within ?? { chunks: 1, chunkRows: length };
  const tile = chooseRowTile(work, buffers.within?.chunkRows, (rows) => keyGradientBytes({ headDim: features, valueDim, ...rows }));
  const base = { length, headDim: features, valueDim, featureMap, variableLengths, state: reduction.state, chunks, chunkRows };
  const kernel = keyGradientKernel({ ...base, ...tile, accumulate });
  const keys = groupRows(program, shape, group, kernel, "queries", buffers.keys);
  const values = groupRows(program, shape, group, kernel, "values", buffers.values);
  const dk = groupRows(program, shape, group, kernel, "dk", buffers.dk);
  const dv = groupRows(program, shape, group, kernel, "dv", buffers.dv);
  const valueBytes = groupBytes(shape, group, valueDim);
  program.dispatch({
    kernel,
    groups: group.count * Math.ceil(length / tile.rows),
    params: { firstHead: group.first, queriesBase: keys.base, valuesBase: values.base, dkBase: dk.base, dvBase: dv.base, heads: shape.heads },
    uses: {
      queries: { ...keys.use, reads: groupBytes(shape, group, features) },
      states: { ...statesUse(work, buffers.states, reduction, group, chunks), reads: group.count * chunks * reduction.usedBytes },
      values: { ...values.use, reads: valueBytes },
      dk: { ...dk.use, writes: groupBytes(shape, group, features) },
      dv: { ...dv.use, reads: accumulate ? valueBytes : 0, writes: valueBytes },
      ...lengthsUse(shape),
    },
    flops: group.count * length * (2 * features * (2 * valueDim + 1) + EXP_FLOPS * features),
  });
}

/** Adds the state for the gradients of keys in Efficient Attention, from those of keys and queries. */
export function addEfficientKeyState(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  buffers: { readonly keys: string; readonly queries: string; readonly combined: string },
): void {
  const { program, shape, features } = work;
  const { valueDim } = shape;
  const lanes = Math.min(combineLanes(program.limits), ceilPowerOfTwo(valueDim));
  const kernel = efficientKeyStateKernel({ headDim: features, valueDim, state: reduction.state, lanes });
  const bytes = group.count * features * FLOAT_BYTES;
  program.dispatch({
    kernel,
    groups: group.count * features,
    params: {},
    uses: {
      // Every lane reads z, and M.
      keys: { ...statesUse(work, buffers.keys, reduction, group, 1), reads: bytes * (valueDim + lanes + 1) },
      queries: { ...statesUse(work, buffers.queries, reduction, group, 1), reads: bytes * (valueDim + lanes) },
      combined: { ...statesUse(work, buffers.combined, reduction, group, 1), writes: bytes * (valueDim + 2) },
    },
    flops: 6 * group.count * features * valueDim,
  });
}

type RowTile = Pick<FeatureTile, "rows" | "laneRows" | "rowLanes">;

/** Rows of a workgroup whose lanes go through whole rows, within a chunk if there are several. */
function chooseRowTile({ program }: LinearWork, chunkRows: number | undefined, bytes: (tile: RowTile) => number): RowTile {
  const { limits } = program;
  const mostLanes = Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
  const candidates = GRADIENT_ROWS.flatMap((rows) => GRADIENT_ROW_LANES.map((rowLanes) => ({ rows, laneRows: Math.min(LANE_ROWS, rows), rowLanes })));
  const possible = candidates.filter((tile) => tileLanes(tile) <= mostLanes && bytes(tile) <= limits.maxComputeWorkgroupStorageSize);
  const whole = possible.filter((tile) => chunkRows === undefined || chunkRows % tile.rows === 0);
  const tile = whole.find((candidate) => tileLanes(candidate) >= Math.min(PREFERRED_LANES, mostLanes)) ?? whole[0];
  if (tile) return tile;
  const smallest = bytes(candidates.at(-1)!);
  throw limitError(program.caller, "maxComputeWorkgroupStorageSize", smallest, limits.maxComputeWorkgroupStorageSize, "a row of the gradient");
}

/** Floats of a row's statistics. */
export const STATISTICS = 4;

export type ReduceTile = Pick<ReduceKernelSpec, "featureTile" | "valueTile" | "tileRows" | "featureVectors" | "rowGroups">;

/** The largest tile that fits; where it has few lanes, several groups of them share its rows. */
export function chooseReduceTile(featureCount: number, valueDim: number, limits: PlannerLimits, program: ProgramBuilder): ReduceTile {
  const mostLanes = Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
  const candidates: ReduceTile[] = [];
  let features = Math.min(REDUCE_TILE, paddedToVec4(featureCount));
  let values = Math.min(REDUCE_TILE, paddedToVec4(valueDim));
  for (;;) {
    for (const featureVectors of [2, 1] as const) {
      const width = 4 * featureVectors;
      const whole = { featureTile: width * Math.ceil(features / width), valueTile: width * Math.ceil(values / width), featureVectors };
      const lanes = Math.min(PREFERRED_LANES, mostLanes);
      const tile = { ...whole, rowGroups: Math.max(1, Math.floor(lanes / reduceLanes({ ...whole, rowGroups: 1 }))) };
      const step = reduceLoadRows(tile);
      for (const rows of TILE_ROWS) candidates.push({ ...tile, tileRows: step * Math.max(1, Math.floor(rows / step)) });
    }
    if (features === 4 && values === 4) break;
    // Halve the larger side, for devices with small workgroups.
    if (features >= values) features = paddedToVec4(features / 2);
    else values = paddedToVec4(values / 2);
  }
  const possible = candidates.filter((tile) => reduceLanes(tile) <= mostLanes && reduceBytes(tile) <= limits.maxComputeWorkgroupStorageSize);
  const [tile] = possible;
  if (tile) return tile;
  const smallest = reduceBytes(candidates.at(-1)!);
  throw limitError(
    program.caller,
    "maxComputeWorkgroupStorageSize",
    smallest,
    limits.maxComputeWorkgroupStorageSize,
    "the smallest tile of keys and values",
  );
}

function chooseApplyTile(
  features: number,
  valueDim: number,
  limits: PlannerLimits,
  program: ProgramBuilder,
): Pick<ApplyKernelSpec, "rows" | "laneRows" | "valueTile"> {
  const mostLanes = Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
  const valueTile = Math.min(APPLY_VALUES, paddedToVec4(valueDim));
  const candidates = [valueTile, 64, 32, 16, 8, 4]
    .filter((width) => width <= valueTile)
    .flatMap((values) => APPLY_ROWS.map((rows) => ({ rows, laneRows: Math.min(LANE_ROWS, rows), valueTile: values, headDim: features })));
  const possible = candidates.filter((tile) => applyLanes(tile) <= mostLanes && applyBytes(tile) <= limits.maxComputeWorkgroupStorageSize);
  const tile = possible.find((candidate) => applyLanes(candidate) >= Math.min(PREFERRED_LANES, mostLanes)) ?? possible[0];
  if (tile) return tile;
  const smallest = candidates.at(-1)!;
  throw limitError(
    program.caller,
    "maxComputeWorkgroupStorageSize",
    applyBytes(smallest),
    limits.maxComputeWorkgroupStorageSize,
    `a row of ${features} features`,
  );
}
