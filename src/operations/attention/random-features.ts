/** Rows of queries and keys to the logarithms of their random features (Choromanski et al. 2020), and gradients back. */
import { projectionBytes, projectionKernel, type ProjectionKernelSpec, projectionLanes } from "../../../shaders/attention/random-features.ts";
import { paddedToVec4 } from "../../../shaders/wgsl/kernel.ts";
import { firstTile } from "../../program/workgroups.ts";
import { groupRows, type HeadGroup, type HeadWork, stridesOf } from "./head-groups.ts";
import type { ProjectedTensor, ProjectionRows } from "./projection.ts";

/** Columns per workgroup, and rows of a lane, at most. */
const COLUMNS = 64;
const LANE_ROWS = 4;
/** Rows of a workgroup, from the best to the smallest. */
const ROWS = [16, 8, 4, 2, 1] as const;

/** Adds the projection of a group's rows, or the gradient of rows from that of their features. */
export function addRandomFeatures(work: HeadWork, group: HeadGroup, of: ProjectedTensor, { from, to, rows: keys }: ProjectionRows): void {
  const { program } = work;
  const { seed, scale, headDim, features, length } = work.shape;
  const [inputs, outputs] = [from.dim, to.dim];
  const tile = chooseTile(work, inputs, outputs);
  const direction = of === "queries" || of === "keys" ? "features" : "rows";
  const rows = group.count * length;
  const strides = stridesOf({ rows: from, out: to, keys });
  const columnTiles = Math.ceil(outputs / tile.columns);
  program.dispatch({
    kernel: projectionKernel({ outputs, of, scale, precision: from.precision, ...tile, strides }),
    groups: Math.ceil(rows / tile.rows) * columnTiles,
    params: { rows, firstRow: group.first * length },
    uses: {
      rows: groupRows(work, group, { ...from, reads: length * columnTiles }),
      tables: { buffer: program.table([Object.freeze({ kind: "randomFeatures", count: features, dim: headDim, seed, scale, to: direction })]) },
      out: groupRows(work, group, { ...to, writes: length }),
      keys: keys && groupRows(work, group, { ...keys, reads: length }),
    },
    flops: rows * 2 * inputs * outputs,
  });
}

type ProjectionTile = Pick<ProjectionKernelSpec, "rows" | "laneRows" | "columns" | "inputs">;

function chooseTile({ program }: HeadWork, inputs: number, outputs: number): ProjectionTile {
  const candidates = [COLUMNS, 32, 16, 8, 4].flatMap((width) =>
    ROWS.map((rows) => ({ rows, laneRows: Math.min(LANE_ROWS, rows), columns: Math.min(width, paddedToVec4(outputs)), inputs })),
  );
  return firstTile(program, candidates, { lanes: projectionLanes, bytes: projectionBytes, what: `a row of ${inputs} numbers` });
}
