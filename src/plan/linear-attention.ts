/** Linear attention: reduction over keys, combination of its chunks, product with the queries. */
import { keyStateLayout, paddedToVec4 } from "../../shaders/feature-map.ts";
import { applyBytes, applyKernel, type ApplyKernelSpec, applyLanes } from "../../shaders/linear-attention-apply.ts";
import { combineKernel, mostChunks } from "../../shaders/linear-attention-combine.ts";
import { reduceBytes, reduceKernel, reduceLanes, reduceLoadRows, type ReduceKernelSpec } from "../../shaders/linear-attention-reduce.ts";
import type { PlannerLimits } from "../spec/limits.ts";
import type { AttentionSpec } from "../spec/operations.ts";
import { bindableUnits, limitError, notYet, type ProgramBuilder, type Slice, sliceBase, sliceBytes } from "./program.ts";
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
const COMBINE_LANES = 256;
/** Operations of exp by polynomial, roughly. */
const EXP_FLOPS = 20;

/** How a program goes on from what is in `out`. */
export interface AttentionPlacement {
  /** Add to `out` what follows, instead of overwriting it. */
  readonly accumulate: boolean;
  /** Adds what comes before, once the workspaces are declared. */
  readonly before: () => void;
}

/** Adds linear attention of the buffers `q`, `k`, `v`, into `out`. */
export function addLinearAttention(program: ProgramBuilder, spec: AttentionSpec, { accumulate, before }: AttentionPlacement): void {
  const { limits } = program;
  const heads = spec.batch * spec.heads;
  const featureMap = linearFeatures(program, spec);
  const state = keyStateLayout(spec.headDim, spec.valueDim, spec.featureMap === "sikf");
  const stateBytes = state.size * FLOAT_BYTES;
  const reduceTile = chooseReduceTile(spec, limits, program);
  const applyTile = chooseApplyTile(spec, limits, program);
  const combineLanes = floorPowerOfTwo(Math.min(COMBINE_LANES, limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX));
  // Chunks: enough workgroups, yet few enough that the partial states stay small beside the keys and the workspace.
  const tiles = Math.ceil(spec.headDim / reduceTile.featureTile) * Math.ceil(spec.valueDim / reduceTile.valueTile);
  const wanted = Math.min(Math.ceil(spec.length / FEWEST_CHUNK_ROWS), Math.max(1, Math.floor(ENOUGH_WORKGROUPS / (heads * tiles))));
  const affordable = Math.floor(Math.min(limits.workspaceBytes / 16, limits.maxStorageBufferBindingSize) / (heads * stateBytes));
  const combinable = mostChunks(limits.maxComputeWorkgroupStorageSize, combineLanes);
  const chunkCount = Math.max(1, Math.min(wanted, affordable, combinable));
  const { tileRows } = reduceTile;
  const chunkRows = Math.ceil(spec.length / chunkCount / tileRows) * tileRows;
  const chunks = Math.ceil(spec.length / chunkRows);

  const states = program.buffer("states", "workspace", heads * chunks * stateBytes);
  const combined = chunks === 1 ? states : program.buffer("combined", "workspace", heads * stateBytes);
  before();
  const reduce = reduceKernel({ ...spec, featureMap, ...reduceTile, state, chunkRows, chunks });
  const apply = applyKernel({ ...spec, featureMap, ...applyTile, state, accumulate });
  const applyTiles = { rows: Math.ceil(spec.length / applyTile.rows), values: Math.ceil(spec.valueDim / applyTile.valueTile) };

  const groups = headGroups(program, spec);
  for (const { first, count, keys, values } of groups) {
    const keyReads = count * spec.length * spec.headDim * FLOAT_BYTES;
    const valueReads = count * spec.length * spec.valueDim * FLOAT_BYTES;
    program.dispatch({
      kernel: reduce,
      groups: count * chunks * tiles,
      params: { firstHead: first, keysBase: sliceBase(reduce, "keys", keys), valuesBase: sliceBase(reduce, "values", values) },
      uses: {
        keys: { buffer: "k", ...(keys && { slice: keys }), reads: keyReads * Math.ceil(spec.valueDim / reduceTile.valueTile) },
        values: { buffer: "v", ...(values && { slice: values }), reads: valueReads * Math.ceil(spec.headDim / reduceTile.featureTile) },
        states: { buffer: states, writes: count * chunks * usedState(spec) },
      },
      flops: count * spec.length * (2 * spec.headDim * (spec.valueDim + 1) + EXP_FLOPS * spec.headDim),
    });
  }
  if (chunks > 1) {
    // Few chunks and values leave most lanes without work.
    const busy = ceilPowerOfTwo(Math.max(spec.valueDim, chunks));
    const combine = combineKernel({ ...spec, featureMap, state, chunks, lanes: Math.min(combineLanes, busy) });
    program.dispatch({
      kernel: combine,
      groups: heads * spec.headDim,
      params: {},
      uses: {
        states: { buffer: states, reads: heads * chunks * usedState(spec) },
        combined: { buffer: combined, writes: heads * usedState(spec) },
      },
      flops: 2 * heads * chunks * spec.headDim * (spec.valueDim + 1),
    });
  }
  for (const { first, count, keys, values } of groups) {
    const valueBytesMoved = count * spec.length * spec.valueDim * FLOAT_BYTES;
    program.dispatch({
      kernel: apply,
      groups: count * applyTiles.rows * applyTiles.values,
      params: { firstHead: first, queriesBase: sliceBase(apply, "queries", keys), outBase: sliceBase(apply, "out", values) },
      uses: {
        queries: { buffer: "q", ...(keys && { slice: keys }), reads: count * spec.length * spec.headDim * FLOAT_BYTES * applyTiles.values },
        // A head's state is shared by all its workgroups: from memory it comes once.
        states: { buffer: combined, reads: count * usedState(spec) },
        out: { buffer: "out", ...(values && { slice: values }), reads: accumulate ? valueBytesMoved : 0, writes: valueBytesMoved },
      },
      flops: count * spec.length * (2 * spec.headDim * (spec.valueDim + 1) + EXP_FLOPS * spec.headDim + 2 * spec.valueDim),
    });
  }
}

function linearFeatures(program: ProgramBuilder, { featureMap }: AttentionSpec): "sikf" | "elu+1" {
  if (featureMap === "sikf" || featureMap === "elu+1") return featureMap;
  throw notYet(program.caller, `options.featureMap = "${featureMap}"`);
}

/** Bytes of a key state without the padding between its parts. */
function usedState(spec: AttentionSpec): number {
  return FLOAT_BYTES * spec.headDim * (spec.valueDim + (spec.featureMap === "sikf" ? 2 : 1));
}

interface HeadGroup {
  readonly first: number;
  readonly count: number;
  readonly keys: Slice | undefined;
  readonly values: Slice | undefined;
}

/** Heads, as many at a time as one binding can hold. */
function headGroups(program: ProgramBuilder, spec: AttentionSpec): HeadGroup[] {
  const { limits } = program;
  const heads = spec.batch * spec.heads;
  const keyBytes = spec.length * spec.headDim * FLOAT_BYTES;
  const valueBytes = spec.length * spec.valueDim * FLOAT_BYTES;
  const step = Math.min(bindableUnits(limits, keyBytes, heads), bindableUnits(limits, valueBytes, heads));
  if (step === heads) return [{ first: 0, count: heads, keys: undefined, values: undefined }];
  if (step < 1) {
    const widest = Math.max(keyBytes, valueBytes);
    throw limitError(program.caller, "maxStorageBufferBindingSize", widest, limits.maxStorageBufferBindingSize, "one head of q, k or v");
  }
  const groups: HeadGroup[] = [];
  for (let first = 0; first < heads; first += step) {
    const count = Math.min(step, heads - first);
    groups.push({
      first,
      count,
      keys: sliceBytes(limits, first * keyBytes, (first + count) * keyBytes),
      values: sliceBytes(limits, first * valueBytes, (first + count) * valueBytes),
    });
  }
  return groups;
}

type ReduceTile = Pick<ReduceKernelSpec, "featureTile" | "valueTile" | "tileRows" | "featureVectors" | "rowGroups">;

/** The largest tile that fits; where it has few lanes, several groups of them share its rows. */
function chooseReduceTile(spec: AttentionSpec, limits: PlannerLimits, program: ProgramBuilder): ReduceTile {
  const mostLanes = Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
  const candidates: ReduceTile[] = [];
  let features = Math.min(REDUCE_TILE, paddedToVec4(spec.headDim));
  let values = Math.min(REDUCE_TILE, paddedToVec4(spec.valueDim));
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
  spec: AttentionSpec,
  limits: PlannerLimits,
  program: ProgramBuilder,
): Pick<ApplyKernelSpec, "rows" | "laneRows" | "valueTile"> {
  const mostLanes = Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
  const valueTile = Math.min(APPLY_VALUES, paddedToVec4(spec.valueDim));
  const candidates = [valueTile, 64, 32, 16, 8, 4]
    .filter((width) => width <= valueTile)
    .flatMap((values) => APPLY_ROWS.map((rows) => ({ rows, laneRows: Math.min(LANE_ROWS, rows), valueTile: values, headDim: spec.headDim })));
  const possible = candidates.filter((tile) => applyLanes(tile) <= mostLanes && applyBytes(tile) <= limits.maxComputeWorkgroupStorageSize);
  const tile = possible.find((candidate) => applyLanes(candidate) >= Math.min(PREFERRED_LANES, mostLanes)) ?? possible[0];
  if (tile) return tile;
  const smallest = candidates.at(-1)!;
  throw limitError(
    program.caller,
    "maxComputeWorkgroupStorageSize",
    applyBytes(smallest),
    limits.maxComputeWorkgroupStorageSize,
    `a row of headDim ${spec.headDim}`,
  );
}
