/**
 * Gradients of the keys and values of linear attention. With the state of the queries that come after (attention/linear/reduce.ts, `weighted`):
 * U_de = Σ_i φ(q_id) p_i g_ie, u_d = Σ_i φ(q_id) n_i,
 *
 *   dk_jd = φ′(k_jd) (Σ_e v_je U_de + u_d),   dv_je = Σ_d φ(k_jd) U_de.
 *
 * For SIKF U and u are relative to exp(M_d), M_d the maximum of the whole parts of q_id − r_i, and φ(k_jd) = exp(k_jd + M_d): as r_i is at least
 * about q_id + k_jd for every key that the query sees, that is at most about e. Sums are taken in whole and fractional parts
 * (attention/feature-map.ts).
 *
 * Layout: queries (the keys), dk [B·H, N, D], values, dv [B·H, N, E], states [heads of the dispatch, chunks, state] (KeyStateLayout). A
 * workgroup does `rows` rows of one head, within one chunk. Workgroup → (head, row tile); lanes as in attention/query-features.ts. φ of the rows
 * and their values stand in workgroup memory. Efficient Attention has a state of its own (attention/linear/efficient-key-state.ts).
 * Bindings: 0 queries, 1 states, 2 values, 3 dk, 4 dv, 5 lengths where there are such; then params.
 */
import { featureSlope } from "../feature-map.ts";
import { type Kernel, makeKernel, workgroupBytes, type WorkgroupVariable } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthParams } from "../../wgsl/lengths.ts";
import { featureTileDeclarations, type HeadTile, laneRow, rowTile, tileLanes } from "../query-features.ts";
import { loadVector, storeBases, storeBindings, storeVector, vectorElement } from "../../wgsl/rows.ts";
import {
  loadRowTile,
  type StateTile,
  stateProduct,
  stateTileConstants,
  stateTileStart,
  type MatrixTile,
  matrixVariables,
} from "../state-products.ts";
import { range, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface KeyGradientKernelSpec extends StateTile, MatrixTile {
  /** Add to what `dv` holds instead of overwriting it. */
  readonly accumulate: boolean;
}

function variables(tile: HeadTile & MatrixTile): readonly WorkgroupVariable[] {
  return [...rowTile("value", tile, tile.valueDim), ...rowTile("phi", tile, tile.headDim), ...matrixVariables(tile)];
}

/** Bytes of workgroup memory of a key gradient kernel. */
export function keyGradientBytes(tile: HeadTile & MatrixTile): number {
  return workgroupBytes(variables(tile));
}

export function keyGradientKernel(spec: KeyGradientKernelSpec): Kernel {
  const { headDim, valueDim, strides = {} } = spec;
  const sikf = spec.featureMap === "sikf";
  const rows = range(spec.laneRows);
  const body = wgsl`${stateTileStart(spec)}
${loadRowTile(spec, "value", "load_values")}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
${unroll(
  rows,
  (i) => `    {
      var feature = vec4f();
      if (${laneRow(i)} < tokens) {
        let key = load_queries(bh * N + ${laneRow(i)}, c);
        feature = features_only(${sikf ? "exponential4((round(key) + states[state + c]) + (key - round(key)))" : "feature4(key)"}, c);
      }
      phi${i}[lane_phi + c] = feature;
    }`,
)}
  }
${stateProduct(
  spec,
  { over: "values", rows: "value", sum: "t" },
  `      let query_sum = features_only(states[state + STATE_SUM / 4u + c], c);
${unroll(
  rows,
  (i) => `      if (${laneRow(i)} < N) {
        let feature = phi${i}[lane_phi + c];
        store_dk(bh * N + ${laneRow(i)}, c, select(vec4f(), ${featureSlope(spec.featureMap, "feature")} * (t${i} + query_sum), vec4<bool>(${laneRow(i)} < tokens)));
      }`,
)}`,
)}
${stateProduct(
  spec,
  { over: "features", rows: "phi", sum: "d" },
  unroll(rows, (i) => `      if (${laneRow(i)} < N) { store_dv(bh * N + ${laneRow(i)}, e, d${i}); }`),
)}
`;
  return makeKernel({
    id: "attention/linear/key-gradient",
    label: `linear attention key gradient ${spec.featureMap}${spec.accumulate ? " + bias" : ""} ${spec.rows} rows`,
    constants: spec,
    workgroupSize: tileLanes(spec),
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim, "f32", strides["queries"]) },
      { name: "states", access: "read", element: "vec4f" },
      { name: "values", access: "read", element: vectorElement(valueDim, "f32", strides["values"]) },
      ...storeBindings({ dk: headDim, dv: valueDim }, strides),
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "valuesBase", ...storeBases(["dk", "dv"], strides), ...lengthParams(spec)],
    declarations: [
      stateTileConstants(spec),
      ...featureTileDeclarations(spec, variables(spec)),
      wgsl`${loadVector("load_values", "values", valueDim, "f32", strides["values"])}${storeVector("store_dk", "dk", headDim, false, "f32", strides["dk"])}${storeVector("store_dv", "dv", valueDim, spec.accumulate, "f32", strides["dv"])}`,
    ],
    body,
  });
}
