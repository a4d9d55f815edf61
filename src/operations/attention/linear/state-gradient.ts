/** Gradients from key states: of queries, of keys and values, and the state of Efficient Attention on the way back. */
import { efficientKeyStateKernel } from "../../../../shaders/attention/linear/efficient-key-state.ts";
import { keyGradientBytes, keyGradientKernel } from "../../../../shaders/attention/linear/key-gradient.ts";
import { queryGradientBytes, queryGradientKernel } from "../../../../shaders/attention/linear/query-gradient.ts";
import { type FeatureTile, tileLanes } from "../../../../shaders/attention/query-features.ts";
import type { Handle } from "../../../program/builder.ts";
import { firstTile } from "../../../program/tiles.ts";
import { FLOAT_BYTES } from "../../../program/units.ts";
import { ceilPowerOfTwo } from "../../../program/workgroups.ts";
import { lengthsUse } from "../../lengths.ts";
import { groupBytes, groupRows, type HeadGroup, type Rows } from "../head-groups.ts";
import { combineLanes, EXP_FLOPS, LANE_ROWS, type LinearWork, type Reduction, STATISTICS, statesUse } from "./key-state.ts";

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
      states: { ...statesUse(buffers.states, reduction, group, chunks), reads: group.count * chunks * reduction.usedBytes },
      gradients: { ...gradients.use, reads: groupBytes(shape, group, valueDim) },
      // Given ones are read by every lane of a row.
      statistics: { ...statistics.use, ...(within ? { reads: statisticsBytes * tile.rowLanes } : { writes: statisticsBytes }) },
      out: { ...out.use, writes: groupBytes(shape, group, features) },
      ...lengthsUse(shape, work.lengths),
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
    readonly states: Handle;
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
      states: { ...statesUse(buffers.states, reduction, group, chunks), reads: group.count * chunks * reduction.usedBytes },
      values: { ...values.use, reads: valueBytes },
      dk: { ...dk.use, writes: groupBytes(shape, group, features) },
      dv: { ...dv.use, reads: accumulate ? valueBytes : 0, writes: valueBytes },
      ...lengthsUse(shape, work.lengths),
    },
    flops: group.count * length * (2 * features * (2 * valueDim + 1) + EXP_FLOPS * features),
  });
}

/** Adds the state for the gradients of keys in Efficient Attention, from those of keys and queries. */
export function addEfficientKeyState(
  work: LinearWork,
  reduction: Reduction,
  group: HeadGroup,
  buffers: { readonly keys: Handle; readonly queries: Handle; readonly combined: Handle },
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
      keys: { ...statesUse(buffers.keys, reduction, group, 1), reads: bytes * (valueDim + lanes + 1) },
      queries: { ...statesUse(buffers.queries, reduction, group, 1), reads: bytes * (valueDim + lanes) },
      combined: { ...statesUse(buffers.combined, reduction, group, 1), writes: bytes * (valueDim + 2) },
    },
    flops: 6 * group.count * features * valueDim,
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
