/**
 * Gradient of the queries of linear attention, and the statistics of their rows. With g the gradient of the output, s and z the key state
 * (of all keys, or of those of earlier chunks), δ_i = Σ_d φ(q_id) z_d and o_i the output without bias,
 *
 *   p_i = 1/δ_i,   n_i = −(g_i·o_i)/δ_i,   dq_id = φ′(q_id) (p_i Σ_e g_ie s_de + n_i z_d),
 *
 * which is the quotient rule. Where p and n are not yet known (`statistics: "make"`), o is not needed either:
 * g_i·o_i = p_i Σ_d φ(q_id) Σ_e g_ie s_de. Where δ_i is 0, and beyond the length, p = n = 0. All is relative to the reference r_i of the
 * row (attention/query-features.ts), which cancels.
 *
 * Layout: queries, out [B·H, N, D], gradients [B·H, N, E], states [heads of the dispatch, chunks, state] (KeyStateLayout), statistics
 * [B·H, N] of (r, p, n, 0). A workgroup does `rows` rows of one head, within one chunk. Workgroup → (head, row tile); lanes as in
 * attention/query-features.ts. The gradients of the rows stand in workgroup memory; φ and Σ_e g_ie s_de, with the lane that needs them.
 * Bindings: 0 queries, 1 states, 2 gradients, 3 statistics, 4 out, 5 lengths where there are such; then params.
 */
import { exponentialOfSum, featureSlope, slopedFeature, wholeAndRest, MAXIMUM, takeMaximum, UNSEEING } from "../feature-map.ts";
import { type Kernel, makeKernel, workgroupBytes, type WorkgroupVariable } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthParams } from "../../wgsl/lengths.ts";
import {
  featureTileDeclarations,
  type HeadTile,
  laneRow,
  ofRow,
  queryFeatures,
  rowTile,
  rowVectors,
  sharedVectors,
  tileLanes,
  together,
} from "../query-features.ts";
import { loadVector, storeVector, vectorElement, vectorsOf } from "../../wgsl/rows.ts";
import {
  loadRowTile,
  type StateTile,
  stateTileConstants,
  stateTileStart,
  stateProduct,
  type MatrixTile,
  matrixVariables,
} from "../state-products.ts";
import { range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface QueryGradientKernelSpec extends StateTile, MatrixTile {
  /** `"make"`: compute statistics from the state, which then is that of all keys. `"take"`: they are there. */
  readonly statistics: "make" | "take";
}

function variables(tile: HeadTile & MatrixTile): readonly WorkgroupVariable[] {
  return [...rowTile("gradient", tile, tile.valueDim), ...matrixVariables(tile), sharedVectors(tile)];
}

/** Bytes of workgroup memory of a query gradient kernel. */
export function queryGradientBytes(tile: HeadTile & MatrixTile): number {
  return workgroupBytes(variables(tile));
}

export function queryGradientKernel(spec: QueryGradientKernelSpec): Kernel {
  const { headDim, valueDim, strides = {} } = spec;
  const { featureMap } = spec;
  const sikf = featureMap === "sikf";
  const make = spec.statistics === "make";
  const rows = range(spec.laneRows);
  const vectors = rowVectors(spec);
  /** Of maps other than SIKF, the power of two that features are multiplied by, from the reference of their row. */
  const power = (reference: string) => `states[state + c] - ${reference}`;
  /** Where the lane has what belongs to its vector c. */
  const at = "c / ROW_LANES";
  const takeFeatures = wgsl`
${unroll(
  rows,
  (i) => `  var statistics${i} = vec4f();
  if (${laneRow(i)} < tokens) { statistics${i} = statistics[bh * N + ${laneRow(i)} - params.statisticsBase]; }`,
)}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
#if ${sikf}
${takeMaximum("states[state + c]")}
#endif
${unroll(
  rows,
  (i) => `    {
      let q = load_row(bh * N, tokens, ${laneRow(i)}, c);
${
  featureMap === "sikf"
    ? `      let whole = round(q);
      phi${i}[${at}] = features_only(${exponentialOfSum(wholeAndRest("q", "whole"), MAXIMUM, `statistics${i}.x`)}, c);`
    : `      phi${i}[${at}] = features_only(${slopedFeature(featureMap, "q", power(`statistics${i}.x`))}, c);`
}
    }`,
)}
  }`;
  const body = wgsl`${stateTileStart(spec)}
${unroll(["phi", "sums"], (name) => unroll(rows, (i) => `  var ${name}${i}: array<vec4f, ${u32(Math.ceil(vectorsOf(headDim) / spec.rowLanes))}>;`))}
${loadRowTile(spec, "gradient", "load_gradients")}
${make ? queryFeatures(spec, at) : takeFeatures}
${unroll(vectors, (v) => `  var product${v} = vec4f();`)}
${stateProduct(
  spec,
  { over: "values", rows: "gradient", sum: "t" },
  unroll(
    rows,
    (i) => wgsl`      sums${i}[${at}] = t${i};
#if ${make}
      ${ofRow("product", i)} += dot(phi${i}[${at}], t${i});
#endif`,
  ),
)}
${make ? together(spec, "product", (a, b) => `${a} + ${b}`) : ""}
${unroll(
  rows,
  (i) => wgsl`
#if ${make}
  let inside${i} = ${laneRow(i)} < tokens && ${ofRow("denominator", i)} != 0.0;
  let p${i} = select(1.0 / ${ofRow("denominator", i)}, 0.0, !inside${i});
  let n${i} = select(-${ofRow("product", i)} * p${i} * p${i}, 0.0, !inside${i});
  let reference${i} = ${sikf ? ofRow("largest", i) : `select(${UNSEEING}, ${ofRow("largest", i)}, inside${i})`};
  if (column == 0u && ${laneRow(i)} < N) {
    statistics[bh * N + ${laneRow(i)} - params.statisticsBase] = vec4f(reference${i}, p${i}, n${i}, 0.0);
  }
#else
  let reference${i} = statistics${i}.x;
  let p${i} = statistics${i}.y;
  let n${i} = statistics${i}.z;
#endif`,
)}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
    let key_sum = features_only(states[state + STATE_SUM / 4u + c], c);
${unroll(
  rows,
  (i) => `    if (${laneRow(i)} < N) {
      let feature = phi${i}[${at}];
      let gradient = ${featureSlope(featureMap, "feature", power(`reference${i}`))} * fma(sums${i}[${at}], vec4f(p${i}), n${i} * key_sum);
      store_out(bh * N + ${laneRow(i)}, c, gradient);
    }`,
)}
  }
`;
  return makeKernel({
    id: "attention/linear/query-gradient",
    label: `linear attention query gradient ${spec.featureMap}${make ? "" : ", given statistics"} ${spec.rows} rows`,
    constants: spec,
    workgroupSize: tileLanes(spec),
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim, "f32", strides["queries"]) },
      { name: "states", access: "read", element: "vec4f" },
      { name: "gradients", access: "read", element: vectorElement(valueDim, "f32", strides["gradients"]) },
      { name: "statistics", access: make ? "read_write" : "read", element: "vec4f" },
      { name: "out", access: "read_write", element: vectorElement(headDim, "f32", strides["out"]) },
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "gradientsBase", "statisticsBase", "outBase", ...lengthParams(spec)],
    declarations: [
      stateTileConstants(spec),
      ...featureTileDeclarations(spec, variables(spec)),
      wgsl`${loadVector("load_gradients", "gradients", valueDim, "f32", strides["gradients"])}${storeVector("store_out", "out", headDim, false, "f32", strides["out"])}`,
    ],
    body,
  });
}
