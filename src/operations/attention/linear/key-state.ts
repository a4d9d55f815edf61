/** Key states of linear attention, Σ_j φ(k_j) v_jᵀ and Σ_j φ(k_j): reductions of keys to states, and products with them. */
import { keyStateLayout, type KernelFeatureMap, type KeyStateLayout } from "../../../../shaders/attention/feature-map.ts";
import { applyBytes, applyKernel, type ApplyKernelSpec, applyLanes } from "../../../../shaders/attention/linear/apply.ts";
import { combineKernel, mostChunks } from "../../../../shaders/attention/linear/combine.ts";
import { reduceBytes, reduceKernel, type ReduceKernelSpec, reduceLanes, reduceLoadRows } from "../../../../shaders/attention/linear/reduce.ts";
import { paddedToVec4 } from "../../../../shaders/wgsl/kernel.ts";
import type { PlannerLimits } from "../../../core/limits.ts";
import type { BindingUse, Handle, NamedHandles, ProgramBuilder } from "../../../program/builder.ts";
import { firstBytes } from "../../../program/ranges.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { ceilPowerOfTwo, firstTile, floorPowerOfTwo, mostLanes } from "../../../program/workgroups.ts";
import { addHeadKernel, type GroupedWork, type HeadGroup, type NamedRows, type Rows, scratchRows, stridesOf } from "../head-groups.ts";
import type { AttentionShape } from "../spec.ts";

/** Rows that make a chunk worth a state of its own: below, writing and adding states costs more than the rows themselves. */
const FEWEST_CHUNK_ROWS = 128;
/** Workgroups that fill a large GPU (over 100 cores, several workgroups each). */
const ENOUGH_WORKGROUPS = 1024;
/** Rows that pass through workgroup memory at a time, where there is room for so many. */
const TILE_ROWS = [32, 16] as const;
/** Features × values per workgroup of the reduction. */
const REDUCE_TILE = 64;
/** Values per workgroup of the product with the queries. */
const APPLY_VALUES = 128;
/** Lanes that a workgroup of the reduction should have. */
const ENOUGH_LANES = 64;
/** Rows of a lane in the product with the queries: more would save loads, but leave room for fewer lanes. */
export const LANE_ROWS = 4;
/** Rows of a workgroup in the product with the queries, from the best to the smallest. */
const APPLY_ROWS = [16, 32, 64, 8, 4, 2, 1] as const;
/** Lanes of a workgroup that adds the states of chunks up, at most. */
const COMBINE_LANES = 256;
/** Operations of exp by polynomial, roughly. */
export const EXP_FLOPS = 20;

/** A linear attention, or its gradient, in a program. */
export interface LinearWork extends GroupedWork {
  readonly featureMap: KernelFeatureMap;
  /** Features of a row: D, or as many as are made of it. */
  readonly features: number;
  /** Bytes of scratch in all. */
  readonly scratch: number;
}

/**
 * A linear attention in groups of at most so many heads. Features of DPFP, which are not negative, are their own ReLU; where one is 0, so is its
 * part in every gradient. Other feature maps are SIKF of other rows, or with another state.
 */
export function linearWork(program: ProgramBuilder, shape: AttentionShape, lengths: Handle | undefined, scratch: number, heads: number): LinearWork {
  const { featureMap, features } = shape;
  const kernelMap = featureMap === "dpfp" ? "relu" : featureMap === "elu+1" || featureMap === "relu" ? featureMap : "sikf";
  return { program, shape, lengths, featureMap: kernelMap, features, mostHeads: heads, scratch };
}

/** How the rows of a head are reduced to states, one for each chunk. */
export interface Reduction {
  readonly state: KeyStateLayout;
  readonly tile: ReduceTile;
  readonly chunks: number;
  /** Rows of a chunk; the last one may have fewer. */
  readonly chunkRows: number;
  /** Bytes of a state without its padding. */
  readonly usedBytes: number;
}

/** The layout of a key state, in float32 numbers. */
export function stateLayout({ shape, features, featureMap }: LinearWork): KeyStateLayout {
  return keyStateLayout(features, shape.valueDim, featureMap === "sikf");
}

/** A reduction in chunks of so many rows. */
export function reductionOf(work: LinearWork, tile: ReduceTile, chunkRows: number): Reduction {
  const { shape, features, featureMap } = work;
  const usedBytes = FLOAT_BYTES * features * (shape.valueDim + (featureMap === "sikf" ? 2 : 1));
  return { state: stateLayout(work), tile, chunks: Math.ceil(shape.length / chunkRows), chunkRows, usedBytes };
}

/** Reduces in enough chunks to fill a GPU, yet few enough that their states stay small beside the keys. @throws FastRpbError code `"limit"` */
export function chooseReduction(work: LinearWork): Reduction {
  const { program, features, mostHeads, scratch } = work;
  const { limits } = program;
  const { length, valueDim } = work.shape;
  const tile = chooseReduceTile(features, valueDim, program);
  const tiles = reduceTiles(tile, features, valueDim);
  const wanted = Math.min(Math.floor(length / FEWEST_CHUNK_ROWS), Math.max(1, Math.floor(ENOUGH_WORKGROUPS / (mostHeads * tiles))));
  const stateBytes = mostHeads * stateLayout(work).size * FLOAT_BYTES;
  const affordable = Math.floor(Math.min(scratch / 16, limits.maxStorageBufferBindingSize) / stateBytes);
  const combinable = mostChunks(limits.maxComputeWorkgroupStorageSize, combineLanes(limits));
  const chunks = Math.max(1, Math.min(wanted, affordable, combinable));
  return reductionOf(work, tile, Math.ceil(length / chunks / tile.tileRows) * tile.tileRows);
}

/** Lanes of a workgroup that adds the states of chunks up, on a device that allows them: a power of two. */
export function combineLanes(limits: PlannerLimits): number {
  return floorPowerOfTwo(Math.min(COMBINE_LANES, mostLanes(limits)));
}

function reduceTiles(tile: ReduceTile, features: number, valueDim: number): number {
  return Math.ceil(features / tile.featureTile) * Math.ceil(valueDim / tile.valueTile);
}

/** Constants that all kernels over rows have. */
export function kernelShape({ shape: { length, valueDim, variableLengths }, featureMap, features }: LinearWork) {
  return { length, headDim: features, valueDim, featureMap, variableLengths };
}

/** Scratch for `count` states of every head of a group. */
export function stateScratch({ program, mostHeads }: LinearWork, name: string, { state }: Reduction, count: number): Handle {
  return program.temporary(name, mostHeads * count * state.size * FLOAT_BYTES);
}

/** Bytes that a dispatch reads and writes; none when left out. */
export type MovedBytes = Pick<BindingUse, "reads" | "writes">;

/**
 * States of a group as a binding, where there are any.
 *
 * @param count states of a head
 * @param moved bytes that are read and written of each state
 */
export function statesUse(
  buffer: Handle | undefined,
  { state }: Reduction,
  group: HeadGroup,
  count: number,
  { reads = 0, writes = 0 }: MovedBytes,
): BindingUse | undefined {
  const states = group.count * count;
  return buffer && { buffer, slice: firstBytes(states * state.size * FLOAT_BYTES), reads: states * reads, writes: states * writes };
}

/** Rows that are reduced: keys and values, or in gradients queries and gradients, with the statistics of their rows. */
export type ReducedRows = NamedRows<"keys" | "values"> & { readonly statistics?: Rows };

/** Adds the reduction of rows to a state for each chunk. */
export function addReduce(work: LinearWork, reduction: Reduction, group: HeadGroup, rows: ReducedRows, states: Handle): void {
  const { features } = work;
  const { length, valueDim } = work.shape;
  const { state, tile, chunks, chunkRows, usedBytes } = reduction;
  const { keys, values, statistics } = rows;
  const precision = { keys: keys.precision, values: values.precision };
  const weighted = statistics !== undefined;
  const kernel = reduceKernel({ ...kernelShape(work), weighted, precision, state, chunkRows, chunks, ...tile, strides: stridesOf({ keys, values }) });
  const [featureTiles, valueTiles] = [Math.ceil(features / tile.featureTile), Math.ceil(valueDim / tile.valueTile)];
  addHeadKernel(work, group, kernel, {
    groups: chunks * featureTiles * valueTiles,
    rows: {
      keys: { ...keys, reads: length * valueTiles },
      values: { ...values, reads: length * featureTiles },
      // Every lane that loads a vector of keys loads the statistics of its row.
      statistics: statistics && { ...statistics, reads: length * valueTiles * featureTiles * (tile.featureTile / 4) },
    },
    uses: { states: statesUse(states, reduction, group, chunks, { writes: usedBytes }) },
    flops: length * (2 * features * (valueDim + 1) + EXP_FLOPS * features),
  });
}

/** Adds the sum of the states of all chunks of a head, `normalised` as Efficient Attention wants it or as it is. */
export function addCombine(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  { states, combined, normalised }: NamedHandles<"states" | "combined"> & { readonly normalised: boolean },
): void {
  const { program, featureMap, features } = work;
  const { state, chunks, usedBytes } = reduction;
  const { valueDim } = work.shape;
  // Few chunks and values leave most lanes without work.
  const lanes = Math.min(combineLanes(program.limits), ceilPowerOfTwo(Math.max(valueDim, chunks)));
  addHeadKernel(work, group, combineKernel({ headDim: features, valueDim, featureMap, normalised, state, chunks, lanes }), {
    groups: features,
    uses: {
      states: statesUse(states, reduction, group, chunks, { reads: usedBytes }),
      combined: statesUse(combined, reduction, group, 1, { writes: usedBytes }),
    },
    flops: 2 * chunks * features * (valueDim + 1),
  });
}

/** Adds the product of queries with a state, into `out` or on top of what is there. */
export function addApply(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  buffers: NamedRows<"queries" | "out"> & { readonly states: Handle; readonly accumulate: boolean },
): void {
  const { program, features } = work;
  const { length, valueDim } = work.shape;
  const { queries, states, out, accumulate } = buffers;
  const tile = chooseApplyTile(features, valueDim, program);
  const precision = { queries: queries.precision, out: out.precision };
  const strides = stridesOf({ queries, out });
  const kernel = applyKernel({ ...kernelShape(work), precision, state: reduction.state, accumulate, ...tile, strides });
  const valueTiles = Math.ceil(valueDim / tile.valueTile);
  addHeadKernel(work, group, kernel, {
    groups: Math.ceil(length / tile.rows) * valueTiles,
    rows: {
      queries: { ...queries, reads: length * valueTiles },
      out: { ...out, reads: accumulate ? length : 0, writes: length },
    },
    // A head's state is shared by all its workgroups: from memory it comes once.
    uses: { states: statesUse(states, reduction, group, 1, { reads: reduction.usedBytes }) },
    flops: length * (2 * features * (valueDim + 1) + EXP_FLOPS * features + 2 * valueDim),
  });
}

/** Float32 numbers of a row's statistics: a reference, the reciprocal of its denominator, its mean gradient, and padding. */
export const STATISTICS = 4;

/** Scratch for the statistics of a group's rows. */
export function statisticsRows(work: GroupedWork): Rows {
  return scratchRows(work, "statistics", STATISTICS);
}

/** Features, values and rows of a workgroup of the reduction. */
export type ReduceTile = Pick<ReduceKernelSpec, "featureTile" | "valueTile" | "tileRows" | "featureVectors" | "rowGroups">;

/** The largest tile that fits; where it has few lanes, several groups of them share its rows. @throws FastRpbError code `"limit"` */
export function chooseReduceTile(featureCount: number, valueDim: number, program: ProgramBuilder): ReduceTile {
  const candidates: ReduceTile[] = [];
  let features = Math.min(REDUCE_TILE, paddedToVec4(featureCount));
  let values = Math.min(REDUCE_TILE, paddedToVec4(valueDim));
  for (;;) {
    for (const featureVectors of [2, 1] as const) {
      const width = 4 * featureVectors;
      const whole = { featureTile: width * Math.ceil(features / width), valueTile: width * Math.ceil(values / width), featureVectors };
      const lanes = Math.min(ENOUGH_LANES, mostLanes(program.limits));
      const tile = { ...whole, rowGroups: Math.max(1, Math.floor(lanes / reduceLanes({ ...whole, rowGroups: 1 }))) };
      const step = reduceLoadRows(tile);
      for (const rows of TILE_ROWS) candidates.push({ ...tile, tileRows: step * Math.max(1, Math.floor(rows / step)) });
    }
    if (features === 4 && values === 4) break;
    // Halve the larger side, for devices with small workgroups.
    if (features >= values) features = paddedToVec4(features / 2);
    else values = paddedToVec4(values / 2);
  }
  // Each group of lanes takes rows of its own.
  for (let last = candidates.at(-1)!; last.rowGroups > 1; last = candidates.at(-1)!) {
    const tile = { ...last, rowGroups: Math.floor(last.rowGroups / 2) };
    candidates.push({ ...tile, tileRows: reduceLoadRows(tile) });
  }
  return firstTile(program, candidates, { lanes: reduceLanes, bytes: reduceBytes, what: "the smallest tile of keys and values", enough: 1 });
}

function chooseApplyTile(features: number, valueDim: number, program: ProgramBuilder): Pick<ApplyKernelSpec, "rows" | "laneRows" | "valueTile"> {
  const valueTile = Math.min(APPLY_VALUES, paddedToVec4(valueDim));
  const candidates = [valueTile, 64, 32, 16, 8, 4]
    .filter((width) => width <= valueTile)
    .flatMap((values) => APPLY_ROWS.map((rows) => ({ rows, laneRows: Math.min(LANE_ROWS, rows), valueTile: values, headDim: features })));
  return firstTile(program, candidates, { lanes: applyLanes, bytes: applyBytes, what: `a row of ${features} features` });
}
