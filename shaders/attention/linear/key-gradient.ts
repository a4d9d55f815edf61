/**
 * Gradients of the keys and values of linear attention. With the state of the queries that come after (linear-attention-reduce.ts,
 * `weighted`): U_de = Σ_i φ(q_id) p_i g_ie, u_d = Σ_i φ(q_id) n_i,
 *
 *   dk_jd = φ′(k_jd) (Σ_e v_je U_de + u_d),   dv_je = Σ_d φ(k_jd) U_de.
 *
 * For SIKF U and u are relative to exp(M_d), M_d the maximum of the whole parts of q_id − r_i, and φ(k_jd) = exp(k_jd + M_d): as r_i is at least
 * about q_id + k_jd for every key that the query sees, that is at most about e. Sums are taken in whole and fractional parts (feature-map.ts).
 *
 * Layout: queries (the keys), dk [B·H, N, D], values, dv [B·H, N, E], states [heads of the dispatch, chunks, state] (KeyStateLayout). A
 * workgroup does `rows` rows of one head, within one chunk. Workgroup → (head, row tile); lanes as in query-features.ts. φ of the rows and
 * their values stand in workgroup memory. Efficient Attention has a state of its own (efficient-key-state.ts).
 * Bindings: 0 queries, 1 states, 2 values, 3 dk, 4 dv, 5 lengths where there are such; then params.
 */
import { featureSlope, keyStateConstants, type KeyStateLayout } from "../feature-map.ts";
import { type Kernel, makeKernel, workgroupBytes } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthParams } from "../../wgsl/lengths.ts";
import { featureTileDeclarations, type FeatureTile, rowPitch, rowTile, rowTileBytes, tileLanes, togetherBytes } from "../query-features.ts";
import { loadVector, storeVector, vectorElement } from "../../wgsl/rows.ts";
import { loadRowTile, timesStateColumns, timesStateRows } from "../state-products.ts";
import { range, u32, wgsl } from "../../wgsl/wgsl.ts";

export interface KeyGradientKernelSpec extends FeatureTile {
  /** N */
  readonly length: number;
  /** E */
  readonly valueDim: number;
  readonly state: KeyStateLayout;
  /** A multiple of `rows`, unless there is one chunk only. */
  readonly chunkRows: number;
  readonly chunks: number;
  /** Add to what `dv` holds instead of overwriting it. */
  readonly accumulate: boolean;
}

/** Bytes of workgroup memory. */
export function keyGradientBytes(tile: Pick<KeyGradientKernelSpec, "headDim" | "valueDim" | "rows" | "laneRows" | "rowLanes">): number {
  return workgroupBytes(...rowTileBytes(tile, tile.headDim), ...rowTileBytes(tile, tile.valueDim), togetherBytes(tile));
}

export function keyGradientKernel(spec: KeyGradientKernelSpec): Kernel {
  const { headDim, valueDim, laneRows } = spec;
  const sikf = spec.featureMap === "sikf";
  const rows = range(laneRows);
  const rowTiles = Math.ceil(spec.length / spec.rows);
  const row = (i: number) => `first_row + ${u32(i)} * LANE_ROWS`;
  const body = wgsl`  let row_tile = group % ${u32(rowTiles)};
  let head = group / ${u32(rowTiles)};
  let bh = params.firstHead + head;
  let state = (head * CHUNKS + row_tile * ROWS / CHUNK_ROWS) * (STATE / 4u);
  let tokens = ${spec.variableLengths ? "length_of(bh)" : "N"};
  let lane_row = lane / ROW_LANES;
  let column = lane % ROW_LANES;
  let first_row = row_tile * ROWS + lane_row;
  let lane_phi = lane_row * PITCH;
  let lane_value = lane_row * VALUE_PITCH;
${loadRowTile(spec, { tile: "value", load: "load_values", vectors: "VALUE_VECTORS", at: "lane_value" })}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
${rows
  .map(
    (i) => `    {
      var feature = vec4f();
      if (${row(i)} < tokens) {
        let key = load_queries(bh * N + ${row(i)}, c);
        feature = features_only(${sikf ? "exponential4((round(key) + states[state + c]) + (key - round(key)))" : "feature4(key)"}, c);
      }
      phi${i}[lane_phi + c] = feature;
    }`,
  )
  .join("\n")}
  }
  workgroupBarrier();
  for (var c = column; c < VECTORS; c += ROW_LANES) {
    let query_sum = features_only(states[state + STATE_SUM / 4u + c], c);
${timesStateRows(spec, { rows: "value", vectors: "VALUE_VECTORS", at: "lane_value", sum: "t" })}
${rows
  .map(
    (i) => `    if (${row(i)} < N) {
      let feature = phi${i}[lane_phi + c];
      store_dk(bh * N + ${row(i)}, c, select(vec4f(), ${featureSlope(spec.featureMap, "feature")} * (t${i} + query_sum), vec4<bool>(${row(i)} < tokens)));
    }`,
  )
  .join("\n")}
  }
  for (var e = column; e < VALUE_VECTORS; e += ROW_LANES) {
${timesStateColumns(spec, { rows: "phi", at: "lane_phi", sum: "d" })}
${rows.map((i) => `    if (${row(i)} < N) { store_dv(bh * N + ${row(i)}, e, d${i}); }`).join("\n")}
  }
`;
  return makeKernel({
    label: `linear attention key gradient ${spec.featureMap}${spec.accumulate ? " + bias" : ""} ${spec.rows} rows`,
    workgroupSize: tileLanes(spec),
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim) },
      { name: "states", access: "read", element: "vec4f" },
      { name: "values", access: "read", element: vectorElement(valueDim) },
      { name: "dk", access: "read_write", element: vectorElement(headDim) },
      { name: "dv", access: "read_write", element: vectorElement(valueDim) },
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "valuesBase", "dkBase", "dvBase", ...lengthParams(spec)],
    declarations: wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const E = ${u32(valueDim)};
const CHUNKS = ${u32(spec.chunks)};
const CHUNK_ROWS = ${u32(spec.chunkRows)};
const VALUE_VECTORS = ${u32(Math.ceil(valueDim / 4))};
const VALUE_PITCH = ${u32(rowPitch(valueDim))};
${keyStateConstants(spec.state)}
${rowTile("value", spec, valueDim)}
${featureTileDeclarations(spec)}${loadVector("load_values", "values", valueDim)}${storeVector("store_dk", "dk", headDim, false)}${storeVector("store_dv", "dv", valueDim, spec.accumulate)}`,
    body,
  });
}
