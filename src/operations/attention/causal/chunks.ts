/** Causal linear attention chunk by chunk: states of chunks, their scan, and products of rows with those of earlier chunks and of their own. */
import { efficientQueriesKernel } from "../../../../shaders/attention/causal/efficient-queries.ts";
import { causalApplyBytes, causalApplyKernel } from "../../../../shaders/attention/causal/apply.ts";
import { causalPatchesKernel, patchBytes, patchLanes, PATCH_WIDTH } from "../../../../shaders/attention/causal/patches.ts";
import { RUNNING_ROWS, runningStatesBytes, runningStatesKernel, runningStatesLanes } from "../../../../shaders/attention/causal/running-states.ts";
import { scanBytes, scanKernel, type ScanKernelSpec } from "../../../../shaders/attention/causal/scan.ts";
import { type CausalTile, tileKeys } from "../../../../shaders/attention/causal/tiles.ts";
import { tileLanes } from "../../../../shaders/attention/query-features.ts";
import { paddedToVec4 } from "../../../../shaders/wgsl/kernel.ts";
import type { Handle, ProgramBuilder } from "../../../program/builder.ts";
import { largestScratch, limitError } from "../../../program/ranges.ts";
import { evenStep, spansOf } from "../../../program/slices.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { elementwiseLanes, firstTile, mostLanes } from "../../../program/workgroups.ts";
import { addHeadKernel, type HeadGroup, headGroups, type NamedRows, type Rows, stridesOf } from "../head-groups.ts";
import {
  addReduce,
  chooseReduceTile,
  EXP_FLOPS,
  kernelShape,
  type LinearWork,
  linearWork,
  type Reduction,
  reductionOf,
  stateLayout,
  STATISTICS,
  stateScratch,
  statesUse,
} from "../linear/key-state.ts";
import type { AttentionShape } from "../spec.ts";

/** Rows of a chunk, where its states fit: fewer cost more states, more cost more pairs of rows. */
const CHUNK_ROWS = 64;
/** Chunks are whole tiles of keys, of whichever size. */
const CHUNK_STEP = 64;
/** Rows of a tile of patches, from the best to the smallest. */
const PATCH_ROWS = [64, 32] as const;
/** Features × values, in fours, of a workgroup that goes through all rows of a head, from the best to the smallest. */
const RUNNING_TILES = [
  { featureVectors: 16, valueVectors: 16 },
  { featureVectors: 8, valueVectors: 16 },
] as const;
/** Workgroups of those that fill a large GPU: one for each core. */
const ENOUGH_RUNNING = 128;
/**
 * The best tiles of rows, with as many keys: a lane has four rows, and products of more keys with them load less. All of a chunk takes more workgroup
 * memory than many devices have.
 */
const LARGE_TILES = [
  { rows: 64, rowLanes: 16, laneKeys: 4 },
  { rows: 32, rowLanes: 16, laneKeys: 2 },
] as const;
/** vec4f of a key that go through workgroup memory at a time at least, for these to be the best. */
const LARGE_TILE_VECTORS = 8;
/** Rows of a workgroup, from the best to the smallest, and the keys that go through workgroup memory at a time. */
const TILE_ROWS = [16, 8, 4, 2, 1] as const;
const TILE_KEYS = [16, 32, 64, 8, 4, 2, 1] as const;
/** vec4f of a key that go through workgroup memory at a time, at most. */
const TILE_VECTORS = [16, 8, 4, 2, 1] as const;
/** Rows of a lane. */
const LANE_ROWS = 4;
/** Of a workgroup that scans, at most: lanes, columns of a state at a time, chunks of a lane at a time, lanes for a column. */
const SCAN_LANES = 256;
const SCAN_WIDTH = 33;
const SCAN_STEPS = 10;
const SCAN_SEGMENTS = 32;

/** The rows and states of which a causal product is made. */
export interface CausalRows extends NamedRows<"queries" | "keys" | "values"> {
  /** States of earlier chunks; none where there is one chunk. */
  readonly states: Handle | undefined;
}

/** The output of a causal product, or statistics of its rows for their gradients, made of those of the output. */
export type CausalResult =
  | { readonly out: Rows; readonly accumulate: boolean; readonly gradients?: undefined; readonly statistics?: undefined }
  | (NamedRows<"gradients" | "statistics"> & { readonly out?: undefined; readonly accumulate?: undefined });

/**
 * A causal attention, or its gradient, cut into groups of heads and chunks of rows.
 *
 * @param scratch bytes in all
 * @param rowFloats float32 numbers that a row of a head holds in scratch, besides states
 * @throws FastRpbError code `"limit"` where there is no room for one head
 */
export function causalWork(
  program: ProgramBuilder,
  shape: AttentionShape,
  lengths: Handle | undefined,
  scratch: number,
  rowFloats: number,
): { readonly work: LinearWork; readonly groups: readonly HeadGroup[]; readonly reduction: Reduction } {
  const { headDim, valueDim, features } = shape;
  const one = linearWork(program, shape, lengths, scratch, 1);
  const reduction = chooseCausalReduction(one, rowFloats);
  const { chunks, state } = reduction;
  const perHead = shape.length * rowFloats * FLOAT_BYTES + (chunks === 1 ? 0 : chunks * state.size * FLOAT_BYTES);
  // With no other rows and no bias, states take all of the scratch that one buffer may be.
  const alone = rowFloats === 0 && shape.bias === "none";
  const dims = [headDim, valueDim, features, ...(rowFloats === 0 ? [] : [STATISTICS])];
  const most = alone && perHead > 0 ? Math.floor(largestScratch(program.limits, scratch) / perHead) : Infinity;
  const [largest] = headGroups(program, shape, dims, scratch, perHead, most, alone ? 1 : 1 / 2);
  const heads = shape.batch * shape.heads;
  // A group of few heads would leave most of a GPU idle.
  const groups = spansOf(heads, evenStep(heads, largest!.count));
  return { work: { ...one, mostHeads: groups[0]!.count }, groups, reduction };
}

/**
 * The reduction to a state for each chunk: chunks are longer where the states of all of them would be too large.
 *
 * @param rowFloats float32 numbers that a row of a head holds in scratch, besides states
 * @throws FastRpbError code `"limit"` where a workgroup has no room for the smallest tile
 */
export function chooseCausalReduction(work: LinearWork, rowFloats: number): Reduction {
  const { program, features, scratch } = work;
  const { length, valueDim } = work.shape;
  // Heads are done in groups that take half of the scratch (headGroups).
  const room = Math.max(scratch / 2 - length * rowFloats * FLOAT_BYTES, scratch / 8);
  const most = Math.floor(largestScratch(program.limits, room) / (stateLayout(work).size * FLOAT_BYTES));
  const chunkRows = Math.max(CHUNK_ROWS, CHUNK_STEP * Math.ceil(length / Math.max(1, most) / CHUNK_STEP));
  return reductionOf(work, chooseReduceTile(features, valueDim, program), chunkRows);
}

/** Scratch for the states of all chunks of a group, if there are several chunks. */
export function causalStates(work: LinearWork, reduction: Reduction, name: string): Handle | undefined {
  return reduction.chunks === 1 ? undefined : stateScratch(work, name, reduction, reduction.chunks);
}

/** Adds, for each chunk, the state of the keys of all chunks before it. */
export function addEarlierStates(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  { keys, values, states }: NamedRows<"keys" | "values"> & { readonly states: Handle },
): void {
  const tile = chooseRunningTile(work);
  if (!tile) {
    addReduce(work, reduction, group, { keys, values }, states);
    addScan(work, reduction, group, states, { reverse: false });
    return;
  }
  const { features } = work;
  const { length, valueDim } = work.shape;
  const { chunks, chunkRows, state } = reduction;
  const precision = { keys: keys.precision, values: values.precision };
  const strides = stridesOf({ keys, values });
  const { featureTiles, valueTiles, ...vectors } = tile;
  const rows = RUNNING_ROWS * Math.ceil(length / RUNNING_ROWS);
  addHeadKernel(work, group, runningStatesKernel({ ...kernelShape(work), state, chunks, chunkRows, precision, strides, ...vectors }), {
    groups: featureTiles * valueTiles,
    rows: { keys: { ...keys, reads: rows * valueTiles }, values: { ...values, reads: rows * featureTiles } },
    uses: { states: statesUse(states, reduction, group, chunks, { writes: state.size * FLOAT_BYTES }) },
    flops: length * (2 * features * (valueDim + 1) + EXP_FLOPS * features),
  });
}

/** The tile with which workgroups go through all rows of a head, if heads are so many, and so wide, that this takes less than chunks and a scan. */
function chooseRunningTile({ program: { limits }, features, shape: { valueDim }, mostHeads }: LinearWork) {
  const fitting = RUNNING_TILES.find(
    (tile) => runningStatesLanes(tile) <= mostLanes(limits) && runningStatesBytes(tile) <= limits.maxComputeWorkgroupStorageSize,
  );
  if (!fitting || Math.min(features, valueDim) <= 32) return undefined;
  const tile = {
    ...fitting,
    featureTiles: Math.ceil(features / 4 / fitting.featureVectors),
    valueTiles: Math.ceil(valueDim / 4 / fitting.valueVectors),
  };
  return mostHeads * tile.featureTiles * tile.valueTiles >= ENOUGH_RUNNING ? tile : undefined;
}

/** Adds the scan that turns states of chunks into those of all before, or with `reverse` after, each. */
export function addScan(work: LinearWork, reduction: Reduction, group: HeadGroup, states: Handle, { reverse }: { readonly reverse: boolean }): void {
  const { shape, featureMap, features } = work;
  const { state, chunks, usedBytes } = reduction;
  const { valueDim } = shape;
  const kernel = scanKernel({ headDim: features, valueDim, featureMap, state, chunks, reverse, ...chooseScanTile(work, chunks) });
  addHeadKernel(work, group, kernel, {
    groups: features,
    uses: { states: statesUse(states, reduction, group, chunks, { reads: usedBytes, writes: usedBytes }) },
    flops: 4 * chunks * features * (valueDim + 1),
  });
}

/** Adds the product of queries with the states of earlier chunks and with the keys of their own. */
export function addCausalApply(work: LinearWork, reduction: Reduction, group: HeadGroup, rows: CausalRows, result: CausalResult): void {
  const { features } = work;
  const { length, valueDim } = work.shape;
  const { chunks, chunkRows, state, usedBytes } = reduction;
  const { queries, keys, values, states } = rows;
  const { out, accumulate, gradients, statistics } = result;
  const into = out ? (accumulate ? "sum" : "out") : "statistics";
  const precision = { queries: queries.precision, keys: keys.precision, values: values.precision, out: out?.precision ?? "f32" };
  const strides = stridesOf({ queries, keys, values, out, gradients });
  const spec = { ...kernelShape(work), state, chunks, chunkRows, into, precision, strides } as const;
  const patchRows = choosePatchRows(work, chunkRows);
  const tile = patchRows ? { rows: patchRows } : chooseCausalTile(work, chunkRows, causalApplyBytes);
  const tiles = Math.ceil(length / tile.rows);
  const seen = "rowLanes" in tile ? seenRows(length, chunkRows, tile).all : tiles * PATCH_WIDTH;
  addHeadKernel(work, group, "rowLanes" in tile ? causalApplyKernel({ ...spec, ...tile }) : causalPatchesKernel({ ...spec, ...tile }), {
    groups: tiles,
    rows: {
      queries: { ...queries, reads: patchRows ? tiles * patchRows : length },
      keys: { ...keys, reads: seen + levelRows(work, tile) },
      values: { ...values, reads: seen },
      out: out && { ...out, reads: accumulate ? length : 0, writes: length },
      gradients: gradients && { ...gradients, reads: length },
      statistics: statistics && { ...statistics, writes: length },
    },
    // A chunk's state is shared by its workgroups: from memory it comes once.
    uses: { states: statesUse(states, reduction, group, chunks, { reads: usedBytes }) },
    flops: 2 * features * length * (valueDim + 1) + EXP_FLOPS * features * (length + seen) + 2 * (features + valueDim) * seen * tile.rows,
  });
}

/** Rows of the tiles of patches that a chunk is done in, where they are made for it and half of the rows are there. */
function choosePatchRows({ program: { limits }, shape: { length, valueDim }, features }: LinearWork, chunkRows: number): 64 | 32 | undefined {
  if (chunkRows !== PATCH_WIDTH || Math.max(features, valueDim) > PATCH_WIDTH) return undefined;
  return PATCH_ROWS.find(
    (rows) =>
      rows < 2 * length &&
      patchLanes({ rows }) <= mostLanes(limits) &&
      patchBytes({ rows, headDim: features, valueDim }) <= limits.maxComputeWorkgroupStorageSize,
  );
}

/** Adds the queries q − log Σ_{j ≤ i} exp(k_j) with which causal Efficient Attention is SIKF. */
export function addEfficientQueries(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  { queries, keys, states, out }: Pick<CausalRows, "queries" | "keys" | "states"> & { readonly out: Rows },
): void {
  const { features } = work;
  const { length } = work.shape;
  const { chunks, chunkRows, state } = reduction;
  const lanes = elementwiseLanes(work.program.limits);
  const vectors = paddedToVec4(features) / 4;
  const [{ precision }, strides] = [keys, stridesOf({ queries, keys })];
  addHeadKernel(work, group, efficientQueriesKernel({ length, headDim: features, state, chunks, chunkRows, lanes, precision, strides }), {
    elements: chunks * vectors,
    rows: {
      queries: { ...queries, reads: length },
      keys: { ...keys, reads: length },
      out: { ...out, writes: length },
    },
    uses: { states: statesUse(states, reduction, group, chunks, { reads: 32 * vectors }) },
    flops: length * features * (3 * EXP_FLOPS + 10),
  });
}

/** Keys that the tiles of a head load besides those that they see: what their levels are found from. */
export function levelRows({ featureMap, shape: { length } }: LinearWork, { rows }: Pick<CausalTile, "rows">): number {
  return featureMap === "sikf" ? 2 * Math.ceil(length / rows) : 0;
}

/**
 * How many rows of their chunk all tiles of rows of a head go through together: `all` those to the end of the tile, `later` those from the tile of keys
 * on that it is in.
 */
export function seenRows(length: number, chunkRows: number, tile: CausalTile): { readonly all: number; readonly later: number } {
  let [all, later] = [0, 0];
  for (const { count } of spansOf(length, chunkRows)) {
    for (let row = 0; row < count; row += tile.rows) {
      all += Math.min(row + tile.rows, count);
      later += count - (row - (row % tileKeys(tile)));
    }
  }
  return { all, later };
}

/**
 * The largest tile of rows that fits. What the rows see goes through workgroup memory in tiles of vectors, as wide as they can be.
 *
 * @param bytes bytes of workgroup memory
 * @param width numbers of the widest row that goes through workgroup memory
 * @param gradient whether it is for a gradient, where a lane takes one other, and one vector of it
 * @throws FastRpbError code `"limit"` where none fits
 */
export function chooseCausalTile(
  { program, shape: { length, valueDim }, features }: LinearWork,
  chunkRows: number,
  bytes: typeof causalApplyBytes,
  { width, gradient }: { readonly width: number; readonly gradient: boolean } = { width: features, gradient: false },
): CausalTile {
  const vectors = Math.ceil(width / 4);
  // Half of the rows are to be there.
  const large = gradient ? [] : LARGE_TILES.filter(({ rows }) => rows < 2 * length);
  const small = TILE_ROWS.flatMap((rows) => TILE_KEYS.filter((keys) => keys % rows === 0).map((rowLanes) => ({ rows, rowLanes, laneKeys: 1 })));
  const candidates = [...large, ...small]
    .filter((tile) => chunkRows % tileKeys(tile) === 0)
    .flatMap((tile) =>
      TILE_VECTORS.filter((most) => (gradient ? most <= tile.rowLanes : tile.laneKeys === 1 || most >= LARGE_TILE_VECTORS)).map((most) => ({
        ...tile,
        laneRows: Math.min(LANE_ROWS, tile.rows),
        // Tiles of about the same width.
        tileVectors: evenStep(vectors, most),
      })),
    );
  return firstTile(program, candidates, {
    lanes: tileLanes,
    bytes: (tile) => bytes({ ...tile, headDim: features, valueDim, chunkRows }),
    what: `a row of ${features} features, and the keys of its chunk`,
  });
}

function chooseScanTile({ program, shape: { valueDim } }: LinearWork, chunks: number): Pick<ScanKernelSpec, "width" | "segments" | "steps"> {
  const { limits } = program;
  const lanes = Math.min(SCAN_LANES, mostLanes(limits));
  const width = evenStep(valueDim + 1, Math.min(SCAN_WIDTH, lanes));
  let segments = Math.max(1, Math.min(SCAN_SEGMENTS, Math.floor(lanes / width), chunks));
  for (; ; segments = Math.ceil(segments / 2)) {
    // As many blocks as needed, of about the same size.
    const blocks = Math.ceil(chunks / (segments * SCAN_STEPS));
    const tile = { width, segments, steps: Math.ceil(chunks / blocks / segments) };
    const bytes = scanBytes({ valueDim, ...tile });
    if (bytes <= limits.maxComputeWorkgroupStorageSize) return tile;
    if (segments === 1) throw limitError(program, "maxComputeWorkgroupStorageSize", bytes, `a row of ${valueDim} values of a key state`);
  }
}
