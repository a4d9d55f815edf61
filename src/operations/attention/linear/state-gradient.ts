/** Gradients from key states: of queries, of keys and values, and the state from which keys of Efficient Attention get theirs. */
import { efficientKeyStateKernel } from "../../../../shaders/attention/linear/efficient-key-state.ts";
import { keyGradientBytes, keyGradientKernel } from "../../../../shaders/attention/linear/key-gradient.ts";
import { queryGradientBytes, queryGradientKernel } from "../../../../shaders/attention/linear/query-gradient.ts";
import { type FeatureTile, tileLanes } from "../../../../shaders/attention/query-features.ts";
import type { MatrixTile } from "../../../../shaders/attention/state-products.ts";
import type { Handle, NamedHandles } from "../../../program/builder.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { ceilPowerOfTwo, firstTile } from "../../../program/workgroups.ts";
import { addHeadKernel, type HeadGroup, type NamedRows, stridesOf } from "../head-groups.ts";
import { combineLanes, EXP_FLOPS, kernelShape, LANE_ROWS, type LinearWork, type Reduction, statesUse } from "./key-state.ts";

/** Rows of the workgroups of gradients, from the best to the smallest, and the lanes of a row. */
const GRADIENT_ROWS = [32, 16, 8, 4, 2, 1] as const;
const GRADIENT_ROW_LANES = [16, 32, 64, 8, 4, 2, 1] as const;

/** Adds the gradient of queries, and the statistics of their rows where they are not there yet. */
export function addQueryGradient(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  buffers: NamedRows<"queries" | "gradients" | "statistics" | "out"> & {
    readonly states: Handle;
    /** Whether the states are those of earlier chunks, and the statistics are there; else the state is that of all keys. */
    readonly chunked: boolean;
  },
): void {
  const { features } = work;
  const { length, valueDim } = work.shape;
  const { queries, states, gradients, statistics, out, chunked } = buffers;
  const tile = chooseRowTile(work, reduction, chunked, queryGradientBytes);
  const strides = stridesOf({ queries, gradients, out });
  const kernel = queryGradientKernel({ ...kernelShape(work), ...tile, statistics: chunked ? "take" : "make", strides });
  addHeadKernel(work, group, kernel, {
    groups: Math.ceil(length / tile.rows),
    rows: {
      queries: { ...queries, reads: length },
      gradients: { ...gradients, reads: length },
      // Given ones are read by every lane of a row.
      statistics: { ...statistics, ...(chunked ? { reads: length * tile.rowLanes } : { writes: length }) },
      out: { ...out, writes: length },
    },
    uses: { states: statesUse(states, reduction, group, tile.chunks, { reads: reduction.usedBytes }) },
    flops: length * (2 * features * (valueDim + 2) + EXP_FLOPS * features),
  });
}

/** Adds the gradients of keys and values, from the state of the queries. */
export function addKeyGradient(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  buffers: NamedRows<"keys" | "values" | "dk" | "dv"> & {
    readonly states: Handle;
    /** Whether `dv` is added to what is there. */
    readonly accumulate: boolean;
    /** Whether the states are those of later chunks; else the state is that of all queries. */
    readonly chunked: boolean;
  },
): void {
  const { features } = work;
  const { length, valueDim } = work.shape;
  const { keys, states, values, dk, dv, accumulate, chunked } = buffers;
  const tile = chooseRowTile(work, reduction, chunked, keyGradientBytes);
  const rows = {
    queries: { ...keys, reads: length },
    values: { ...values, reads: length },
    dk: { ...dk, writes: length },
    dv: { ...dv, reads: accumulate ? length : 0, writes: length },
  };
  const kernel = keyGradientKernel({ ...kernelShape(work), ...tile, accumulate, strides: stridesOf(rows) });
  addHeadKernel(work, group, kernel, {
    groups: Math.ceil(length / tile.rows),
    rows,
    uses: { states: statesUse(states, reduction, group, tile.chunks, { reads: reduction.usedBytes }) },
    flops: length * (2 * features * (2 * valueDim + 1) + EXP_FLOPS * features),
  });
}

/** Adds the state for the gradients of keys in Efficient Attention, from those of keys and queries. */
export function addEfficientKeyState(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  { keys, queries, combined }: NamedHandles<"keys" | "queries" | "combined">,
): void {
  const { features } = work;
  const { valueDim } = work.shape;
  const lanes = Math.min(combineLanes(work.program.limits), ceilPowerOfTwo(valueDim));
  const bytes = features * FLOAT_BYTES;
  addHeadKernel(work, group, efficientKeyStateKernel({ headDim: features, valueDim, state: reduction.state, lanes }), {
    groups: features,
    uses: {
      // Every lane reads z, and M.
      keys: statesUse(keys, reduction, group, 1, { reads: bytes * (valueDim + lanes + 1) }),
      queries: statesUse(queries, reduction, group, 1, { reads: bytes * (valueDim + lanes) }),
      combined: statesUse(combined, reduction, group, 1, { writes: bytes * (valueDim + 2) }),
    },
    flops: 6 * features * valueDim,
  });
}

type RowTile = Pick<FeatureTile, "rows" | "laneRows" | "rowLanes"> & MatrixTile;

/** Rows of a workgroup whose lanes go through whole rows, within a chunk if there are several, and where the states of rows are. */
function chooseRowTile(
  { program, shape: { length, valueDim }, features }: LinearWork,
  { state, chunks, chunkRows }: Reduction,
  chunked: boolean,
  bytes: (tile: RowTile & { readonly headDim: number; readonly valueDim: number }) => number,
) {
  const candidates = GRADIENT_ROWS.filter((rows) => !chunked || chunkRows % rows === 0).flatMap((rows) =>
    GRADIENT_ROW_LANES.map((rowLanes) => ({ rows, laneRows: Math.min(LANE_ROWS, rows), rowLanes, depth: Math.min(4, Math.ceil(rows / 4)) })),
  );
  const tile = firstTile(program, candidates, {
    lanes: tileLanes,
    bytes: (candidate) => bytes({ headDim: features, valueDim, ...candidate }),
    what: "a row of the gradient",
  });
  return { ...tile, state, ...(chunked ? { chunks, chunkRows } : { chunks: 1, chunkRows: length }) };
}
