/**
 * Rows times a constant matrix, for the random features of FAVOR+ (Choromanski et al. 2020) and the way back from them:
 *
 *   out_r = Σ_d m_dr x_d               queries: with m = √scale·wᵀ, the logarithms of their features but for |x′|²/2, which cancels
 *   out_r = Σ_d m_dr x_d − h |x|²/2    keys: the logarithms of their features, h = scale
 *   out_d = Σ_r m_rd y_r               gradient of queries
 *   out_d = Σ_r m_rd y_r − h x_d Σ_r y_r   gradient of keys, x the keys themselves
 *
 * What follows takes exp of the results, so errors must stay small: sixteen products are summed on their own before they join the total.
 *
 * Layout: rows [B·H·N, I], matrix [I, O′] with O′ = O rounded up to 4, out [B·H·N, O]. A workgroup does `rows` rows × `columns` columns.
 * Workgroup → (row tile, column tile), column tile fastest; lane → (row, column), column fastest. A lane has `laneRows` rows, LANE_ROWS
 * apart, and four columns; the rows stand in workgroup memory.
 * Bindings: 0 rows, 1 tables (matrix), 2 out, 3 keys for their gradient; then params.
 */
import { type Kernel, makeKernel, type Precision, workgroupBytes } from "../wgsl/kernel.ts";
import { laneRow, rowPitch, rowTile, tileLanes } from "./query-features.ts";
import { loadVector, storeVector, type Strided, vectorElement, vectorsOf } from "../wgsl/rows.ts";
import { f32, range, u32, unroll, wgsl } from "../wgsl/wgsl.ts";

export interface ProjectionKernelSpec extends Strided {
  /** Numbers of a row that comes in, `I`. */
  readonly inputs: number;
  /** Numbers of a row that goes out, `O`. */
  readonly outputs: number;
  /** The tensor that the rows are of. */
  readonly of: "queries" | "keys" | "queryGradients" | "keyGradients";
  /** The factor `h` of keys and their gradients. */
  readonly scale: number;
  /** How the rows that come in are stored. */
  readonly precision: Precision;
  /** Rows of a workgroup, a multiple of laneRows. */
  readonly rows: number;
  /** Rows of a lane. */
  readonly laneRows: number;
  /** Numbers of the output that a workgroup does of each row, a multiple of 4. */
  readonly columns: number;
}

type Tile = Pick<ProjectionKernelSpec, "rows" | "laneRows" | "columns">;

/** Lanes of a workgroup of a projection. */
export function projectionLanes({ rows, laneRows, columns }: Tile): number {
  return tileLanes({ rows, laneRows, rowLanes: columns / 4 });
}

/** Bytes of workgroup memory of a projection. */
export function projectionBytes(tile: Tile & { readonly inputs: number }): number {
  return workgroupBytes(rowTile("input", tile, tile.inputs));
}

/** Vectors of inputs that are summed on their own. */
const BLOCK = 4;

export function projectionKernel(spec: ProjectionKernelSpec): Kernel {
  const { inputs, outputs, laneRows, strides = {} } = spec;
  const columnTiles = Math.ceil(outputs / spec.columns);
  const rows = range(laneRows);
  const keys = spec.of === "keys";
  const keyGradients = spec.of === "keyGradients";
  const body = wgsl`  let column_tile = group % ${u32(columnTiles)};
  let lane_row = lane / COLUMN_VECTORS;
  let column = lane % COLUMN_VECTORS;
  let first_row = group / ${u32(columnTiles)} * ROWS + lane_row;
  let lane_input = lane_row * PITCH;
  for (var c = column; c < VECTORS; c += COLUMN_VECTORS) {
${unroll(
  rows,
  (i) => `    {
      let row = ${laneRow(i)};
      var x = vec4f();
      if (row < params.rows) { x = load_rows(params.firstRow + row, c); }
      input${i}[lane_input + c] = x;
    }`,
)}
  }
  workgroupBarrier();
  let out_column = column_tile * COLUMN_VECTORS + column; // in units of 4
  if (out_column * 4u >= ${u32(outputs)}) { return; }
${unroll(rows, (i) => `  var sum${i} = vec4f();\n  var extra${i} = 0.0;`)}
  for (var block = 0u; block < VECTORS; block += ${u32(BLOCK)}) {
${unroll(rows, (i) => `    var part${i} = vec4f();`)}
    for (var c = block; c < min(block + ${u32(BLOCK)}, VECTORS); c++) {
      // Of inputs that are not there, the last row again: they are zero.
${unroll(range(4), (j) => `      let m${j} = tables[min(c * 4u + ${u32(j)}, ${u32(inputs - 1)}) * COLUMNS + out_column];`)}
${unroll(
  rows,
  (i) => wgsl`      {
        let x = input${i}[lane_input + c];
${unroll(range(4), (j) => `        part${i} = fma(vec4f(x[${j}]), m${j}, part${i});`)}
#if ${keys}
        extra${i} += dot(x, x);
#elif ${keyGradients}
        extra${i} += dot(x, vec4f(1.0));
#endif
      }`,
)}
    }
${unroll(rows, (i) => `    sum${i} += part${i};`)}
  }
${unroll(
  rows,
  (i) => wgsl`  {
    let row = ${laneRow(i)};
    if (row < params.rows) {
#if ${keys}
      store_out(params.firstRow + row, out_column, sum${i} - ${f32(spec.scale / 2)} * extra${i});
#elif ${keyGradients}
      // Beyond the length of a sequence its keys may be NaN, which 0 does not silence.
      let change = fma(load_keys(params.firstRow + row, out_column), vec4f(-${f32(spec.scale)} * extra${i}), sum${i});
      store_out(params.firstRow + row, out_column, select(change, sum${i}, extra${i} == 0.0));
#else
      store_out(params.firstRow + row, out_column, sum${i});
#endif
    }
  }`,
)}
`;
  return makeKernel({
    id: "attention/random-features",
    label: `random features of ${spec.of} ${inputs} → ${outputs}, ${spec.rows}×${spec.columns}`,
    constants: spec,
    workgroupSize: projectionLanes(spec),
    bindings: [
      { name: "rows", access: "read", element: vectorElement(inputs, spec.precision, strides["rows"]) },
      { name: "tables", access: "read", element: "vec4f" },
      { name: "out", access: "read_write", element: vectorElement(outputs, "f32", strides["out"]) },
      ...(keyGradients ? [{ name: "keys", access: "read", element: vectorElement(outputs, "f32", strides["keys"]) } as const] : []),
    ],
    params: ["rows", "firstRow", "rowsBase", "outBase", ...(keyGradients ? ["keysBase"] : [])],
    declarations: [
      wgsl`const ROWS = ${u32(spec.rows)};
const LANE_ROWS = ${u32(spec.rows / laneRows)};
const VECTORS = ${u32(vectorsOf(inputs))}; // of a row
const PITCH = ${u32(rowPitch(inputs))};
const COLUMN_VECTORS = ${u32(spec.columns / 4)};
const COLUMNS = ${u32(vectorsOf(outputs))}; // vectors of a row of the matrix`,
      ...rowTile("input", spec, inputs),
      wgsl`${loadVector("load_rows", "rows", inputs, spec.precision, strides["rows"])}${storeVector("store_out", "out", outputs, false, "f32", strides["out"])}${keyGradients ? loadVector("load_keys", "keys", outputs, "f32", strides["keys"]) : ""}`,
    ],
    body,
  });
}
