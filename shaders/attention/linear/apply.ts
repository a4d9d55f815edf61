/**
 * Queries times the combined key state, normalised, plus the bias:
 *
 *   out_ie = Σ_d φ(q_id) s_de / Σ_d φ(q_id) z_d  (+ out_ie, where the Toeplitz product has been put before)
 *
 * Layout: queries [B·H, N, D], states [heads of the dispatch, state] (KeyStateLayout), out [B·H, N, E]. A workgroup does `rows` rows ×
 * `valueTile` values of one head: φ(q) of its rows stands in workgroup memory, the state comes from cache.
 * Workgroup → (bh, row tile, value tile), value tile fastest; lane → (row, column), column fastest. A lane has `laneRows` rows, LANE_ROWS
 * apart. First these share its features out (query-features.ts), then each sums four values of all its rows.
 * Bindings: 0 queries, 1 states, 2 out, 3 lengths where there are such; then params.
 */
import { type KernelFeatureMap, keyStateConstants, type KeyStateLayout } from "../feature-map.ts";
import { type Kernel, makeKernel, type Precision, workgroupBytes } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthParams } from "../../wgsl/lengths.ts";
import { featureTileDeclarations, type FeatureTile, ofRow, queryFeatures, rowTileBytes, tileLanes, togetherBytes } from "../query-features.ts";
import { storeVector, vectorElement } from "../../wgsl/rows.ts";
import { range, u32, wgsl } from "../../wgsl/wgsl.ts";

export interface ApplyKernelSpec {
  /** N */
  readonly length: number;
  /** D, E */
  readonly headDim: number;
  readonly valueDim: number;
  readonly featureMap: KernelFeatureMap;
  readonly variableLengths: boolean;
  readonly precision: { readonly queries: Precision; readonly out: Precision };
  readonly state: KeyStateLayout;
  /** Add to what `out` holds instead of overwriting it. */
  readonly accumulate: boolean;
  /** A multiple of laneRows. */
  readonly rows: number;
  readonly laneRows: number;
  /** A multiple of 4. */
  readonly valueTile: number;
}

type Tile = Pick<ApplyKernelSpec, "rows" | "laneRows" | "valueTile">;

export function applyLanes(tile: Tile): number {
  return tileLanes({ ...tile, rowLanes: tile.valueTile / 4 });
}

/** Bytes of workgroup memory. */
export function applyBytes(tile: Tile & { readonly headDim: number }): number {
  return workgroupBytes(...rowTileBytes(tile, tile.headDim), togetherBytes({ ...tile, rowLanes: tile.valueTile / 4 }));
}

export function applyKernel(spec: ApplyKernelSpec): Kernel {
  const { headDim, valueDim, laneRows } = spec;
  const lanes = applyLanes(spec);
  const tile: FeatureTile = { ...spec, rowLanes: spec.valueTile / 4, precision: spec.precision.queries };
  const rows = range(laneRows);
  const valueTiles = Math.ceil(valueDim / spec.valueTile);
  const rowTiles = Math.ceil(spec.length / spec.rows);
  const body = wgsl`  let value_tile = group % ${u32(valueTiles)};
  let row_tile = group / ${u32(valueTiles)} % ${u32(rowTiles)};
  let head = group / ${u32(valueTiles * rowTiles)};
  let bh = params.firstHead + head;
  let state = head * (STATE / 4u);
  let tokens = ${spec.variableLengths ? "length_of(bh)" : "N"};
  let lane_row = lane / ROW_LANES;
  let column = lane % ROW_LANES;
  let first_row = row_tile * ROWS + lane_row;
  let lane_phi = lane_row * PITCH;
${queryFeatures(tile)}
  let value_column = value_tile * VALUE_VECTORS + column; // in units of 4 values
  if (value_column * 4u >= E) { return; }
${rows.map((i) => `  var sum${i} = vec4f();`).join("\n")}
  let products = state + STATE_PRODUCTS / 4u + value_column;
  for (var c = 0u; c < ${u32(Math.floor(headDim / 4))}; c++) {
    let s = products + c * STATE_STRIDE;
${range(4)
  .map((j) => `    let s${j} = states[s + ${u32(j)} * (STATE_STRIDE / 4u)];`)
  .join("\n")}
${rows
  .map(
    (i) => `    {
      let feature = phi${i}[lane_phi + c];
${range(4)
  .map((j) => `      sum${i} = fma(vec4f(feature[${j}]), s${j}, sum${i});`)
  .join("\n")}
    }`,
  )
  .join("\n")}
  }
${range(headDim % 4)
  .map(
    (j) => `  {
    let s = states[products + ${u32(4 * Math.floor(headDim / 4) + j)} * (STATE_STRIDE / 4u)];
${rows.map((i) => `    sum${i} = fma(vec4f(phi${i}[lane_phi + VECTORS - 1u][${j}]), s, sum${i});`).join("\n")}
  }`,
  )
  .join("\n")}
${rows
  .map(
    (i) => wgsl`  {
    let row = first_row + ${u32(i)} * LANE_ROWS;
    let denominator = ${ofRow("denominator", i)};
#if ${spec.variableLengths}
    let result = select(sum${i} / denominator, vec4f(), denominator == 0.0 || row >= tokens);
#else
    let result = select(sum${i} / denominator, vec4f(), denominator == 0.0);
#endif
    if (row < N) { store_values(bh * N + row, value_column, result); }
  }`,
  )
  .join("\n")}
`;
  return makeKernel({
    label: `linear attention apply ${spec.featureMap}${spec.accumulate ? " + bias" : ""} ${spec.rows}×${spec.valueTile}`,
    workgroupSize: lanes,
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim, spec.precision.queries) },
      { name: "states", access: "read", element: "vec4f" },
      { name: "out", access: "read_write", element: vectorElement(valueDim, spec.precision.out) },
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "outBase", ...lengthParams(spec)],
    declarations: wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const E = ${u32(valueDim)};
const VALUE_VECTORS = ${u32(spec.valueTile / 4)};
${keyStateConstants(spec.state)}
${featureTileDeclarations(tile)}${storeVector("store_values", "out", valueDim, spec.accumulate, spec.precision.out)}`,
    body,
  });
}
