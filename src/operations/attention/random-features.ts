/** Rows of queries and keys to the logarithms of their random features, gradients back, and the table of the features. */
import { paddedToVec4 } from "../../../shaders/wgsl/kernel.ts";
import { projectionBytes, projectionKernel, type ProjectionKernelSpec, projectionLanes } from "../../../shaders/attention/random-features.ts";
import { orthogonalFeatures } from "../../math/random-features.ts";
import { groupBytes, groupRows, type HeadGroup, type Rows } from "./head-groups.ts";
import type { LinearWork } from "./linear/parts.ts";
import { limitError } from "../../program/program.ts";
import { partEntries, type TablePart } from "../../program/tables.ts";

const PREFERRED_LANES = 64;
/** Columns per workgroup. */
const COLUMNS = 64;
const LANE_ROWS = 4;
const ROWS = [16, 8, 4, 2, 1] as const;

/** Adds the projection of a group's rows, or the gradient of rows from that of their features; that of keys depends on the keys themselves. */
export function addProjectionOf(work: LinearWork, group: HeadGroup, from: Rows, to: Rows, of: ProjectionKernelSpec["of"], keyRows?: Rows): void {
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
  const { limits } = program;
  const mostLanes = Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
  const candidates = [COLUMNS, 32, 16, 8, 4].flatMap((width) =>
    ROWS.map((rows) => ({ rows, laneRows: Math.min(LANE_ROWS, rows), columns: Math.min(width, paddedToVec4(outputs)), inputs })),
  );
  const possible = candidates.filter((tile) => projectionLanes(tile) <= mostLanes && projectionBytes(tile) <= limits.maxComputeWorkgroupStorageSize);
  const tile = possible.find((candidate) => projectionLanes(candidate) >= Math.min(PREFERRED_LANES, mostLanes)) ?? possible[0];
  if (tile) {
    const { rows, laneRows, columns } = tile;
    return { rows, laneRows, columns };
  }
  const bytes = projectionBytes(candidates.at(-1)!);
  throw limitError(program.caller, "maxComputeWorkgroupStorageSize", bytes, limits.maxComputeWorkgroupStorageSize, `a row of ${inputs} numbers`);
}

/** The table `"randomFeatures"`. */
export function randomFeatureRows(part: Extract<TablePart, { kind: "randomFeatures" }>): Float32Array {
  const { count, dim, seed, scale, to } = part;
  const features = orthogonalFeatures(count, dim, seed);
  const width = paddedToVec4(to === "features" ? count : dim);
  const rows = new Float32Array(2 * partEntries(part));
  for (let r = 0; r < count; r++) {
    for (let d = 0; d < dim; d++) rows[to === "features" ? d * width + r : r * width + d] = Math.sqrt(scale) * features[r * dim + d]!;
  }
  return rows;
}
