/**
 * Queries times the combined key state, normalised, plus the bias:
 *
 *   out_ie = Σ_d φ(q_id) s_de / Σ_d φ(q_id) z_d  (+ out_ie, where the Toeplitz product has been put before)
 *
 * Layout: queries [B·H, N, D], states [heads of the dispatch, state] (KeyStateLayout), out [B·H, N, E]. A workgroup does `rows` rows ×
 * `valueTile` values of one head: φ(q) of its rows stands in workgroup memory, the state comes from cache.
 * Workgroup → (bh, row tile, value tile), value tile fastest; lane → (row, column), column fastest. A lane has `laneRows` rows, LANE_ROWS
 * apart. First these share its features out (attention/query-features.ts), then each sums four values of all its rows.
 * Bindings: 0 queries, 1 states, 2 out, 3 lengths where there are such; then params.
 */
import { type ChunkedStates, type KernelFeatureMap, keyStateConstants } from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { type Kernel, makeKernel, type Precision, workgroupBytes } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthParams, tokensOf } from "../../wgsl/lengths.ts";
import { featureTileDeclarations, featureTileVariables, laneRow, type LaneTile, ofRow, queryFeatures, tileLanes } from "../query-features.ts";
import { storeVector, type Strided, vectorElement } from "../../wgsl/rows.ts";
import { range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface ApplyKernelSpec extends HeadShape, Pick<ChunkedStates, "state">, Strided {
  readonly featureMap: KernelFeatureMap;
  readonly variableLengths: boolean;
  readonly precision: { readonly queries: Precision; readonly out: Precision };
  /** Add to what `out` holds instead of overwriting it. */
  readonly accumulate: boolean;
  /** Rows of a workgroup, a multiple of laneRows. */
  readonly rows: number;
  /** Rows of a lane. */
  readonly laneRows: number;
  /** Values of a row that a workgroup does, a multiple of 4. */
  readonly valueTile: number;
}

type Tile = Pick<ApplyKernelSpec, "rows" | "laneRows" | "valueTile">;

/** A row has a lane for every four of its values. */
function laneTile({ rows, laneRows, valueTile }: Tile): LaneTile {
  return { rows, laneRows, rowLanes: valueTile / 4 };
}

/** Lanes of a workgroup of an apply kernel. */
export function applyLanes(tile: Tile): number {
  return tileLanes(laneTile(tile));
}

/** Bytes of workgroup memory of an apply kernel. */
export function applyBytes(tile: Tile & { readonly headDim: number }): number {
  return workgroupBytes(featureTileVariables({ ...laneTile(tile), headDim: tile.headDim }));
}

export function applyKernel(spec: ApplyKernelSpec): Kernel {
  const { headDim, valueDim, laneRows, strides = {} } = spec;
  const tile = { ...spec, ...laneTile(spec), precision: spec.precision.queries };
  const rows = range(laneRows);
  const valueTiles = Math.ceil(valueDim / spec.valueTile);
  const rowTiles = Math.ceil(spec.length / spec.rows);
  const body = wgsl`  let value_tile = group % ${u32(valueTiles)};
  let row_tile = group / ${u32(valueTiles)} % ${u32(rowTiles)};
  let head = group / ${u32(valueTiles * rowTiles)};
  let bh = params.firstHead + head;
  let state = head * (STATE / 4u);
  let tokens = ${tokensOf(spec)};
  let lane_row = lane / ROW_LANES;
  let column = lane % ROW_LANES;
  let first_row = row_tile * ROWS + lane_row;
  let lane_phi = lane_row * PITCH;
${queryFeatures(tile)}
  let value_column = value_tile * VALUE_VECTORS + column; // in units of 4 values
  if (value_column * 4u >= E) { return; }
${unroll(rows, (i) => `  var sum${i} = vec4f();`)}
  let products = state + STATE_PRODUCTS / 4u + value_column;
  for (var c = 0u; c < ${u32(Math.floor(headDim / 4))}; c++) {
    let s = products + c * STATE_STRIDE;
${unroll(range(4), (j) => `    let s${j} = states[s + ${u32(j)} * (STATE_STRIDE / 4u)];`)}
${unroll(
  rows,
  (i) => `    {
      let feature = phi${i}[lane_phi + c];
${unroll(range(4), (j) => `      sum${i} = fma(vec4f(feature[${j}]), s${j}, sum${i});`)}
    }`,
)}
  }
${unroll(
  range(headDim % 4),
  (j) => `  {
    let s = states[products + ${u32(4 * Math.floor(headDim / 4) + j)} * (STATE_STRIDE / 4u)];
${unroll(rows, (i) => `    sum${i} = fma(vec4f(phi${i}[lane_phi + VECTORS - 1u][${j}]), s, sum${i});`)}
  }`,
)}
${unroll(
  rows,
  (i) => wgsl`  {
    let row = ${laneRow(i)};
    let denominator = ${ofRow("denominator", i)};
#if ${spec.variableLengths}
    let result = select(sum${i} / denominator, vec4f(), denominator == 0.0 || row >= tokens);
#else
    let result = select(sum${i} / denominator, vec4f(), denominator == 0.0);
#endif
    if (row < N) { store_values(bh * N + row, value_column, result); }
  }`,
)}
`;
  return makeKernel({
    id: "attention/linear/apply",
    label: `linear attention apply ${spec.featureMap}${spec.accumulate ? " + bias" : ""} ${spec.rows}×${spec.valueTile}`,
    constants: spec,
    workgroupSize: applyLanes(spec),
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim, spec.precision.queries, strides["queries"]) },
      { name: "states", access: "read", element: "vec4f" },
      { name: "out", access: "read_write", element: vectorElement(valueDim, spec.precision.out, strides["out"]) },
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "outBase", ...lengthParams(spec)],
    declarations: [
      wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const E = ${u32(valueDim)};
const VALUE_VECTORS = ${u32(spec.valueTile / 4)};
${keyStateConstants(spec.state)}`,
      ...featureTileDeclarations(tile),
      storeVector("store_values", "out", valueDim, spec.accumulate, spec.precision.out, strides["out"]),
    ],
    body,
  });
}
