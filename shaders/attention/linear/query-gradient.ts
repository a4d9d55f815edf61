/**
 * Gradient of the queries of linear attention, and the statistics of their rows. With g the gradient of the output, s and z the key state
 * (of all keys, or of those of earlier chunks), δ_i = Σ_d φ(q_id) z_d and o_i the output without bias,
 *
 *   p_i = 1/δ_i,   n_i = −(g_i·o_i)/δ_i,   dq_id = φ′(q_id) (p_i Σ_e g_ie s_de + n_i z_d),
 *
 * which is the quotient rule. Where p and n are not yet known (`statistics: "make"`), o is not needed either:
 * g_i·o_i = p_i Σ_d φ(q_id) Σ_e g_ie s_de. Where δ_i is 0, and beyond the length, p = n = 0. For SIKF all is relative to exp(r_i) with the
 * reference r_i of the row (query-features.ts), which cancels.
 *
 * Layout: queries, out [B·H, N, D], gradients [B·H, N, E], states [heads of the dispatch, chunks, state] (KeyStateLayout), statistics
 * [B·H, N] of (r, p, n, 0). A workgroup does `rows` rows of one head, within one chunk. Workgroup → (head, row tile); lanes as in
 * query-features.ts. φ of the rows, their gradients and Σ_e g_ie s_de stand in workgroup memory.
 * Bindings: 0 queries, 1 states, 2 gradients, 3 statistics, 4 out, 5 lengths where there are such; then params.
 */
import { featureSlope, keyStateConstants, type KeyStateLayout } from "../feature-map.ts";
import { type Kernel, makeKernel, workgroupBytes } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthParams } from "../../wgsl/lengths.ts";
import {
  featureTileDeclarations,
  type FeatureTile,
  ofRow,
  queryFeatures,
  rowPitch,
  rowTile,
  rowTileBytes,
  rowVectors,
  tileLanes,
  together,
  togetherBytes,
} from "../query-features.ts";
import { loadVector, storeVector, vectorElement } from "../../wgsl/rows.ts";
import { loadRowTile, timesStateRows } from "../state-products.ts";
import { range, u32, wgsl } from "../../wgsl/wgsl.ts";

export interface QueryGradientKernelSpec extends FeatureTile {
  /** N */
  readonly length: number;
  /** E */
  readonly valueDim: number;
  readonly state: KeyStateLayout;
  /** A multiple of `rows`, unless there is one chunk only. */
  readonly chunkRows: number;
  readonly chunks: number;
  /** `"make"`: from the state, which then is that of all keys. `"take"`: they are there. */
  readonly statistics: "make" | "take";
}

/** Bytes of workgroup memory. */
export function queryGradientBytes(tile: Pick<QueryGradientKernelSpec, "headDim" | "valueDim" | "rows" | "laneRows" | "rowLanes">): number {
  return workgroupBytes(
    ...rowTileBytes(tile, tile.headDim),
    ...rowTileBytes(tile, tile.headDim),
    ...rowTileBytes(tile, tile.valueDim),
    togetherBytes(tile),
  );
}

export function queryGradientKernel(spec: QueryGradientKernelSpec): Kernel {
  const { headDim, valueDim, laneRows } = spec;
  const sikf = spec.featureMap === "sikf";
  const make = spec.statistics === "make";
  const rows = range(laneRows);
  const vectors = rowVectors(spec);
  const rowTiles = Math.ceil(spec.length / spec.rows);
  const takeFeatures = wgsl`
${rows
  .map(
    (i) => `  var statistics${i} = vec4f();
  if (first_row + ${u32(i)} * LANE_ROWS < tokens) { statistics${i} = statistics[bh * N + first_row + ${u32(i)} * LANE_ROWS - params.statisticsBase]; }`,
  )
  .join("\n")}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
#if ${sikf}
    let maximum = states[state + c];
    let whole_maximum = round(maximum);
    let rest = maximum - whole_maximum;
#endif
${rows
  .map(
    (i) => `    {
      let q = load_row(bh * N, tokens, first_row + ${u32(i)} * LANE_ROWS, c);
${
  sikf
    ? `      let whole = round(q);
      phi${i}[lane_phi + c] = features_only(exponential4((whole + whole_maximum - statistics${i}.x) + ((q - whole) + rest)), c);`
    : `      phi${i}[lane_phi + c] = features_only(feature4(q), c);`
}
    }`,
  )
  .join("\n")}
  }`;
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
${loadRowTile(spec, { tile: "gradient", load: "load_gradients", vectors: "VALUE_VECTORS", at: "lane_value" })}
${make ? queryFeatures(spec) : takeFeatures}
  workgroupBarrier();
${vectors.map((v) => `  var product${v} = vec4f();`).join("\n")}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
${timesStateRows(spec, { rows: "gradient", vectors: "VALUE_VECTORS", at: "lane_value", sum: "t" })}
${rows
  .map(
    (i) => wgsl`    sums${i}[lane_phi + c] = t${i};
#if ${make}
    ${ofRow("product", i)} += dot(phi${i}[lane_phi + c], t${i});
#endif`,
  )
  .join("\n")}
  }
${make ? together(spec, "product", (a, b) => `${a} + ${b}`) : ""}
${rows
  .map(
    (i) => wgsl`
#if ${make}
  let inside${i} = first_row + ${u32(i)} * LANE_ROWS < tokens && ${ofRow("denominator", i)} != 0.0;
  let p${i} = select(1.0 / ${ofRow("denominator", i)}, 0.0, !inside${i});
  let n${i} = select(-${ofRow("product", i)} * p${i} * p${i}, 0.0, !inside${i});
  if (column == 0u && first_row + ${u32(i)} * LANE_ROWS < N) {
    statistics[bh * N + first_row + ${u32(i)} * LANE_ROWS - params.statisticsBase] = vec4f(${sikf ? ofRow("largest", i) : "0.0"}, p${i}, n${i}, 0.0);
  }
#else
  let p${i} = statistics${i}.y;
  let n${i} = statistics${i}.z;
#endif`,
  )
  .join("\n")}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
    let key_sum = features_only(states[state + STATE_SUM / 4u + c], c);
${rows
  .map(
    (i) => `    if (first_row + ${u32(i)} * LANE_ROWS < N) {
      let feature = phi${i}[lane_phi + c];
      let gradient = ${featureSlope(spec.featureMap, "feature")} * fma(sums${i}[lane_phi + c], vec4f(p${i}), n${i} * key_sum);
      store_out(bh * N + first_row + ${u32(i)} * LANE_ROWS, c, gradient);
    }`,
  )
  .join("\n")}
  }
`;
  return makeKernel({
    label: `linear attention query gradient ${spec.featureMap}${make ? "" : ", given statistics"} ${spec.rows} rows`,
    workgroupSize: tileLanes(spec),
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim) },
      { name: "states", access: "read", element: "vec4f" },
      { name: "gradients", access: "read", element: vectorElement(valueDim) },
      { name: "statistics", access: make ? "read_write" : "read", element: "vec4f" },
      { name: "out", access: "read_write", element: vectorElement(headDim) },
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "queriesBase", "gradientsBase", "statisticsBase", "outBase", ...lengthParams(spec)],
    declarations: wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const E = ${u32(valueDim)};
const CHUNKS = ${u32(spec.chunks)};
const CHUNK_ROWS = ${u32(spec.chunkRows)};
const VALUE_VECTORS = ${u32(Math.ceil(valueDim / 4))};
const VALUE_PITCH = ${u32(rowPitch(valueDim))};
${keyStateConstants(spec.state)}
${rowTile("gradient", spec, valueDim)}
${rowTile("sums", spec, headDim)}
${featureTileDeclarations(spec)}${loadVector("load_gradients", "gradients", valueDim)}${storeVector("store_out", "out", headDim, false)}`,
    body,
  });
}
