/** Gradients from key states: of queries, of keys and values, and the state of Efficient Attention on the way back. */
import { efficientKeyStateKernel } from "../../../../shaders/attention/linear/efficient-key-state.ts";
import { keyGradientBytes, keyGradientKernel } from "../../../../shaders/attention/linear/key-gradient.ts";
import { queryGradientBytes, queryGradientKernel } from "../../../../shaders/attention/linear/query-gradient.ts";
import { type FeatureTile, tileLanes } from "../../../../shaders/attention/query-features.ts";
import type { Handle } from "../../../program/builder.ts";
import { firstTile } from "../../../program/tiles.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { ceilPowerOfTwo } from "../../../program/workgroups.ts";
import { addHeadKernel, type HeadGroup, type Rows } from "../head-groups.ts";
import { combineLanes, EXP_FLOPS, kernelShape, LANE_ROWS, type LinearWork, type Reduction, statesUse } from "./key-state.ts";

/** Rows of the workgroups of gradients, and the lanes of a row. */
const GRADIENT_ROWS = [16, 8, 4, 2, 1] as const;
const GRADIENT_ROW_LANES = [16, 32, 64, 8, 4, 2, 1] as const;

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
    readonly states: Handle;
    readonly gradients: Rows;
    readonly statistics: Rows;
    readonly out: Rows;
    /** Given: the state is that of earlier chunks, and the statistics are there. */
    readonly within?: StateChunks;
  },
): void {
  const { features } = work;
  const { length, valueDim } = work.shape;
  const { queries, states, gradients, statistics, out, within } = buffers;
  const { chunks, chunkRows } = within ?? { chunks: 1, chunkRows: length };
  const tile = chooseRowTile(work, within?.chunkRows, (rows) => queryGradientBytes({ headDim: features, valueDim, ...rows }));
  const chunked = { state: reduction.state, chunks, chunkRows };
  const kernel = queryGradientKernel({ ...kernelShape(work), ...chunked, ...tile, statistics: within ? "take" : "make" });
  addHeadKernel(work, group, kernel, {
    groups: Math.ceil(length / tile.rows),
    rows: {
      queries: { ...queries, reads: length },
      gradients: { ...gradients, reads: length },
      // Given ones are read by every lane of a row.
      statistics: { ...statistics, ...(within ? { reads: length * tile.rowLanes } : { writes: length }) },
      out: { ...out, writes: length },
    },
    uses: { states: statesUse(states, reduction, group, chunks, { reads: reduction.usedBytes }) },
    flops: length * (2 * features * (valueDim + 2) + EXP_FLOPS * features),
  });
}

/** Adds the gradients of keys and values, from the state of the queries. */
export function addKeyGradient(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  buffers: {
    readonly keys: Rows;
    readonly states: Handle;
    readonly values: Rows;
    readonly dk: Rows;
    readonly dv: Rows;
    /** Whether `dv` is added to what is there. */
    readonly accumulate: boolean;
    /** Given: the state is that of later chunks. */
    readonly within?: StateChunks;
  },
): void {
  const { features } = work;
  const { length, valueDim } = work.shape;
  const { keys, states, values, dk, dv, accumulate, within } = buffers;
  const { chunks, chunkRows } = within ?? { chunks: 1, chunkRows: length };
  const tile = chooseRowTile(work, within?.chunkRows, (rows) => keyGradientBytes({ headDim: features, valueDim, ...rows }));
  const kernel = keyGradientKernel({ ...kernelShape(work), state: reduction.state, chunks, chunkRows, ...tile, accumulate });
  addHeadKernel(work, group, kernel, {
    groups: Math.ceil(length / tile.rows),
    rows: {
      queries: { ...keys, reads: length },
      values: { ...values, reads: length },
      dk: { ...dk, writes: length },
      dv: { ...dv, reads: accumulate ? length : 0, writes: length },
    },
    uses: { states: statesUse(states, reduction, group, chunks, { reads: reduction.usedBytes }) },
    flops: length * (2 * features * (2 * valueDim + 1) + EXP_FLOPS * features),
  });
}

/** Adds the state for the gradients of keys in Efficient Attention, from those of keys and queries. */
export function addEfficientKeyState(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  { keys, queries, combined }: { readonly keys: Handle; readonly queries: Handle; readonly combined: Handle },
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

type RowTile = Pick<FeatureTile, "rows" | "laneRows" | "rowLanes">;

/** Rows of a workgroup whose lanes go through whole rows, within a chunk if there are several. */
function chooseRowTile({ program }: LinearWork, chunkRows: number | undefined, bytes: (tile: RowTile) => number): RowTile {
  const candidates = GRADIENT_ROWS.filter((rows) => chunkRows === undefined || chunkRows % rows === 0).flatMap((rows) =>
    GRADIENT_ROW_LANES.map((rowLanes) => ({ rows, laneRows: Math.min(LANE_ROWS, rows), rowLanes })),
  );
  return firstTile(program, candidates, { lanes: tileLanes, bytes, what: "a row of the gradient" });
}
