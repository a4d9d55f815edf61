/** Rows of queries and keys to the logarithms of their random features, and gradients back. */
import { projectionBytes, projectionKernel, type ProjectionKernelSpec, projectionLanes } from "../../../shaders/attention/random-features.ts";
import { paddedToVec4 } from "../../../shaders/wgsl/kernel.ts";
import { firstTile } from "../../program/tiles.ts";
import { FLOAT_BYTES } from "../../program/units.ts";
import { groupBytes, groupRows, type HeadGroup, type Rows } from "./head-groups.ts";
import type { LinearWork } from "./linear/key-state.ts";

/** Columns per workgroup. */
const COLUMNS = 64;
const LANE_ROWS = 4;
const ROWS = [16, 8, 4, 2, 1] as const;

/** Scratch for the features of a group's rows. */
export function projectedRows({ program, shape, features, mostHeads }: LinearWork, name: string): Rows {
  return { buffer: program.temporary(name, mostHeads * shape.length * features * FLOAT_BYTES), dim: features, local: true };
}

/**
 * Adds the projection of a group's rows, or the gradient of rows from that of their features.
 *
 * @param of which of these; the gradient of keys depends on the keys themselves
 */
export function addProjection(
  work: LinearWork,
  group: HeadGroup,
  of: ProjectionKernelSpec["of"],
  { from, to, keys: keyRows }: { readonly from: Rows; readonly to: Rows; readonly keys?: Rows },
): void {
  const { program, shape } = work;
  const { seed, scale, headDim, features } = shape;
  const [inputs, outputs] = [from.dim, to.dim];
  const tile = chooseTile(work, inputs, outputs);
  const precision = from.precision ?? "f32";
  const kernel = projectionKernel({ inputs, outputs, of, scale, precision, ...tile });
  const source = groupRows(program, shape, group, kernel, "rows", from);
  const out = groupRows(program, shape, group, kernel, "out", to);
  const keys = keyRows && groupRows(program, shape, group, kernel, "keys", keyRows);
  const rows = group.count * shape.length;
  const columnTiles = Math.ceil(outputs / tile.columns);
  const direction = of === "queries" || of === "keys" ? "features" : "rows";
  program.dispatch({
    kernel,
    groups: Math.ceil(rows / tile.rows) * columnTiles,
    params: {
      rows,
      firstRow: group.first * shape.length,
      rowsBase: source.base,
      outBase: out.base,
      ...(keys && { keysBase: keys.base }),
    },
    uses: {
      rows: { ...source.use, reads: groupBytes(shape, group, inputs, precision) * columnTiles },
      tables: {
        buffer: program.table([Object.freeze({ kind: "randomFeatures" as const, count: features, dim: headDim, seed, scale, to: direction })]),
      },
      out: { ...out.use, writes: groupBytes(shape, group, outputs) },
      ...(keys && { keys: { ...keys.use, reads: groupBytes(shape, group, outputs) } }),
    },
    flops: rows * 2 * inputs * outputs,
  });
}

function chooseTile({ program }: LinearWork, inputs: number, outputs: number): Pick<ProjectionKernelSpec, "rows" | "laneRows" | "columns"> {
  const candidates = [COLUMNS, 32, 16, 8, 4].flatMap((width) =>
    ROWS.map((rows) => ({ rows, laneRows: Math.min(LANE_ROWS, rows), columns: Math.min(width, paddedToVec4(outputs)), inputs })),
  );
  const { rows, laneRows, columns } = firstTile(program, candidates, {
    lanes: projectionLanes,
    bytes: projectionBytes,
    what: `a row of ${inputs} numbers`,
  });
  return { rows, laneRows, columns };
}
