/**
 * Gradient of causal linear attention, of pairs of rows j ≤ i in the same chunk: added to what comes of other chunks, if there are any. With g the gradient
 * of the output, (r, p, n) the statistics of a row (linear-attention-query-gradient.ts), w_ij = (g_i·v_j) p_i + n_i and
 * E_ijd = φ(q_id) φ(k_jd), for SIKF relative to r_i,
 *
 *   dq_id += φ′(q_id) Σ_{j≤i} w_ij φ(k_jd),   dk_jd += φ′(k_jd) Σ_{i≥j} w_ij φ(q_id),   dv_je += Σ_{i≥j} Σ_d E_ijd p_i g_ie.
 *
 * A kernel does one side: its rows are queries, and the others the keys that they see, or its rows are keys, and the others the queries that
 * see them. SIKF: pairs of the same KEY_ROWS rows have exponents of their own, whatever the keys are. Between different ones stands M_d,
 * the largest key of those rows: exp(k_jd − M_d) ≤ 1, and exp(q_id + M_d − r_i) ≤ about e, because the query sees that key.
 *
 * Layout: queries (the rows), others, out [B·H, N, D], rowValues, otherValues, dv [B·H, N, E], statistics [B·H, N]. A workgroup does
 * `rows` rows of one chunk. Workgroup → (head, row tile); lane → (row, column) as in query-features.ts. A column is one of KEY_ROWS others,
 * then a vector of features or values. What the rows and a tile of others have in common, w or Σ_d E, stands in workgroup memory for all
 * others of the chunk; a lane keeps that of its rows as one vector.
 * Bindings: 0 queries, 1 others, 2 rowValues, 3 otherValues, 4 statistics, 5 out, then those that there are of: dv, lengths; then params.
 */
import { featureSlope } from "../feature-map.ts";
import { type Kernel, makeKernel, workgroupBytes, paddedToVec4 } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthParams } from "../../wgsl/lengths.ts";
import type { CausalTile } from "./apply.ts";
import { featureTileDeclarations, type FeatureTile, rowPitch, rowTile, rowTileBytes, tileLanes, togetherBytes } from "../query-features.ts";
import { loadVector, storeVector, vectorElement } from "../../wgsl/rows.ts";
import { loadRowTile } from "../state-products.ts";
import { LOWEST, range, u32, wgsl } from "../../wgsl/wgsl.ts";

export interface CausalGradientKernelSpec extends FeatureTile, CausalTile {
  /** N */
  readonly length: number;
  /** E */
  readonly valueDim: number;
  /** A multiple of `rowLanes`, which is one of `rows`. */
  readonly chunkRows: number;
  /** What the rows are. */
  readonly of: "queries" | "keys";
  /** Add to what `out` and `dv` hold instead of overwriting it. */
  readonly accumulate: { readonly out: boolean; readonly dv: boolean };
}

/** Bytes of workgroup memory. */
export function causalGradientBytes(tile: CausalTile & { readonly headDim: number; readonly valueDim: number; readonly chunkRows: number }): number {
  return workgroupBytes(
    ...rowTileBytes(tile, tile.headDim),
    ...rowTileBytes(tile, tile.valueDim),
    togetherBytes(tile),
    16 * tile.rowLanes * (tile.tileVectors | 1),
    16 * (tile.rows / tile.laneRows) * (tile.chunkRows | 1),
    16 * tile.chunkRows,
    4 * paddedToVec4(tile.headDim),
  );
}

export function causalGradientKernel(spec: CausalGradientKernelSpec): Kernel {
  const { headDim, valueDim, laneRows } = spec;
  const sikf = spec.featureMap === "sikf";
  const ofKeys = spec.of === "keys";
  const rows = range(laneRows);
  const rowTiles = Math.ceil(spec.length / spec.rows);
  const row = (i: number) => `first_row + ${u32(i)} * LANE_ROWS`;
  const sees = (j: string, i: number) => `${j} ${ofKeys ? ">=" : "<="} ${row(i)}`;
  /** Vectors of rows, as many as a tile has at a time. */
  const tiles = (vectors: string, body: string) => `    for (var first = 0u; first < ${vectors}; first += TILE_VECTORS) {
      let count = min(TILE_VECTORS, ${vectors} - first);
${body}
    }`;
  const others = (body: string) => `    for (var tile = begin; tile < end; tile += KEY_ROWS) {
${body}
    }`;
  /** Fills the tile with the others from `tile` on, as `make` makes them of `vector`; those from `end` on are zero. Holds a barrier. */
  const load = (from: string, make = "vector") => `      for (var i = lane; i < KEY_ROWS * count; i += LANES) {
        let j = tile + i / count;
        let c = first + i % count;
        var vector = vec4f();
        if (j < end) {
          vector = ${from}(bh * N + j, c);
          vector = ${make};
        }
        tile_vectors[i / count * TILE_PITCH + i % count] = vector;
      }
      workgroupBarrier();`;
  const own = (i: number) => `phi${i}[lane_phi + first + c]`;
  const reference = (i: number) => (ofKeys ? "chunk_statistics[tile + j - chunk_begin].x" : `chunk_statistics[${row(i)} - chunk_begin].x`);
  /** E of row i, which is `row_feature`, and the other `other`, with its number `j` in the tile. */
  const pair = (i: number) =>
    `exponential4((round(row_feature) + whole_other - ${reference(i)}) + ((row_feature - round(row_feature)) + rest_other))`;
  /** Of a query and a maximum, relative to the query's reference. */
  const relative = (query: string, maximum: string, r: string) =>
    `exponential4((round(${query}) + round(${maximum}) - ${r}) + ((${query} - round(${query})) + (${maximum} - round(${maximum}))))`;
  /** How the others come into workgroup memory, but for the rows' own block of SIKF. */
  const feature = sikf
    ? `select(${ofKeys ? relative("vector", "maxima[c]", "chunk_statistics[j - chunk_begin].x") : "vector"}, vector, vec4<bool>(tile == block))`
    : "feature4(vector)";
  const masked = (i: number, sum: string, next: string) => `${sum} = select(${sum}, ${next}, tile != block || ${sees("tile + j", i)});`;
  const scoreAt = (j: string) => `scores[lane_row * SCORE_PITCH + tile - chunk_begin + ${j}]`;
  const seen = (score: string) =>
    `select(vec4f(), ${score}, vec4<bool>(${range(4)
      .map((i) => (i < laneRows ? `tile != block || ${sees("tile + column", i)}` : "false"))
      .join(", ")}))`;
  // w of the rows and all others.
  const weights = `
${others(`      var score = vec4f();
${tiles(
  "VALUE_VECTORS",
  `${load("load_other_values")}
      for (var c = 0u; c < count; c++) {
        let other = tile_vectors[column * TILE_PITCH + c];
${rows.map((i) => `        score[${i}] += dot(row_value${i}[lane_value + first + c], other);`).join("\n")}
      }
      workgroupBarrier();`,
)}
${
  ofKeys
    ? `      var other_statistics = vec4f();
      if (tile + column < end) { other_statistics = chunk_statistics[tile + column - chunk_begin]; }
      score = fma(score, vec4f(other_statistics.y), vec4f(other_statistics.z));`
    : rows
        .map(
          (i) => `      if (${row(i)} < tokens) {
        let own_statistics = chunk_statistics[${row(i)} - chunk_begin];
        score[${i}] = fma(score[${i}], own_statistics.y, own_statistics.z);
      }`,
        )
        .join("\n")
}
      ${scoreAt("column")} = ${seen("score")};`)}`;
  /** The largest of the tile's own columns, and then what they are relative to it: only for keys that come one tile after the other. */
  const relativeKeys = `      var largest = vec4f(${LOWEST});
      if (tile != block) {
        for (var j = 0u; j < KEY_ROWS; j++) { largest = max(largest, tile_vectors[j * TILE_PITCH + c]); }
        workgroupBarrier();
        if (mine) {
          for (var j = lane_row; j < KEY_ROWS; j += LANE_ROWS) { tile_vectors[j * TILE_PITCH + c] = exponential4(tile_vectors[j * TILE_PITCH + c] - largest); }
        }
        workgroupBarrier();
      }`;
  const plainSums = `        for (var j = 0u; j < seen_here; j++) {
          let score = ${scoreAt("j")};
          let other = tile_vectors[j * TILE_PITCH + c];
${rows.map((i) => `          ${masked(i, `tile_sum${i}`, `fma(vec4f(score[${i}]), other, tile_sum${i})`)}`).join("\n")}
        }`;
  const rowGradients = tiles(
    "VECTORS",
    `      let c = min(column, count - 1u);
      let mine = column < count;
${rows.map((i) => `      var sum${i} = vec4f();`).join("\n")}
${rows.map((i) => `      let row_vector${i} = ${own(i)};`).join("\n")}
${others(`${load("load_others", feature)}
      let seen_here = min(KEY_ROWS, end - tile);
${sikf && !ofKeys ? relativeKeys : ""}
${rows.map((i) => `      var tile_sum${i} = vec4f();`).join("\n")}
${
  sikf
    ? `      if (tile == block) {
        for (var j = 0u; j < seen_here; j++) {
          let score = ${scoreAt("j")};
          let other = tile_vectors[j * TILE_PITCH + c];
          let whole_other = round(other);
          let rest_other = other - whole_other;
${rows
  .map(
    (i) => `          {
            let row_feature = row_vector${i};
            ${masked(i, `sum${i}`, `fma(vec4f(score[${i}]), ${pair(i)}, sum${i})`)}
          }`,
  )
  .join("\n")}
        }
      } else {
${plainSums}
${rows
  .map((i) => {
    const factor = ofKeys ? `exponential4(row_vector${i} - maxima[first + c])` : relative(`row_vector${i}`, "largest", reference(i));
    return `        sum${i} = fma(tile_sum${i}, ${factor}, sum${i});`;
  })
  .join("\n")}
      }`
    : `      {
${plainSums}
${rows.map((i) => `        sum${i} += tile_sum${i};`).join("\n")}
      }`
}
      workgroupBarrier();`)}
${rows
  .map(
    (i) => wgsl`      if (mine && ${row(i)} < N) {
#if ${!sikf}
        let row_feature = feature4(row_vector${i});
        sum${i} *= ${featureSlope(spec.featureMap, "row_feature")};
#endif
        store_out(bh * N + ${row(i)}, first + c, select(vec4f(), sum${i}, ${row(i)} < tokens));
      }`,
  )
  .join("\n")}`,
  );
  /** Σ_d E p_i of the others in `range`, into the scores. */
  const productScores = (from: string, until: string, isBlock: boolean) => `    for (var tile = ${from}; tile < ${until}; tile += KEY_ROWS) {
      var score = vec4f();
${tiles(
  "VECTORS",
  `${load("load_others", feature)}
      for (var c = 0u; c < count; c++) {
        let other = tile_vectors[column * TILE_PITCH + c];
${
  isBlock
    ? `        let j = column;
        let whole_other = round(other);
        let rest_other = other - whole_other;
${rows
  .map(
    (i) => `        {
          let row_feature = ${own(i)};
          score[${i}] += dot(features_only(${pair(i)}, first + c), vec4f(1.0));
        }`,
  )
  .join("\n")}`
    : `        let known = features_only(other, first + c);
${rows.map((i) => `        score[${i}] += dot(${own(i)}, known);`).join("\n")}`
}
      }
      workgroupBarrier();`,
)}
      var p = 0.0;
      if (tile + column < end) { p = chunk_statistics[tile + column - chunk_begin].y; }
      ${scoreAt("column")} = ${seen("score * p")};
    }`;
  const ownFeatures = `    for (var c = column; c < VECTORS; c += ROW_LANES) {
${rows
  .map((i) => {
    const at = `phi${i}[lane_phi + c]`;
    return `      ${at} = features_only(${sikf ? `exponential4(${at} - maxima[c])` : `feature4(${at})`}, c);`;
  })
  .join("\n")}
    }
    workgroupBarrier();`;
  const valueGradients = `
${sikf ? productScores("begin", "min(begin + KEY_ROWS, end)", true) : ""}
${ownFeatures}
${productScores(sikf ? "begin + KEY_ROWS" : "begin", "end", false)}
    workgroupBarrier();
${tiles(
  "VALUE_VECTORS",
  `      let c = min(column, count - 1u);
      let mine = column < count;
${rows.map((i) => `      var tile_sum${i} = vec4f();`).join("\n")}
${others(`${load("load_other_values")}
      let seen_here = min(KEY_ROWS, end - tile);
${plainSums}
      workgroupBarrier();`)}
${rows.map((i) => `      if (mine && ${row(i)} < N) { store_dv(bh * N + ${row(i)}, first + c, select(vec4f(), tile_sum${i}, ${row(i)} < tokens)); }`).join("\n")}`,
)}`;
  const body = wgsl`  let row_tile = group % ${u32(rowTiles)};
  let head = group / ${u32(rowTiles)};
  let bh = params.firstHead + head;
  let tokens = ${spec.variableLengths ? "length_of(bh)" : "N"};
  let lane_row = lane / ROW_LANES;
  let column = lane % ROW_LANES;
  let tile_row = row_tile * ROWS;
  let first_row = tile_row + lane_row;
  let lane_phi = lane_row * PITCH;
  let lane_value = lane_row * VALUE_PITCH;
  let chunk_begin = tile_row - tile_row % CHUNK_ROWS;
  let block = tile_row - tile_row % KEY_ROWS;
  // The others.
#if ${ofKeys}
  let begin = block;
  let end = min(chunk_begin + CHUNK_ROWS, tokens);
  let statistics_begin = block;
#else
  let begin = chunk_begin;
  let end = min(tile_row + ROWS, tokens);
  let statistics_begin = tile_row;
#endif
  for (var i = statistics_begin + lane; i < end; i += LANES) { chunk_statistics[i - chunk_begin] = statistics[bh * N + i - params.statisticsBase]; }
${loadRowTile(spec, { tile: "row_value", load: "load_row_values", vectors: "VALUE_VECTORS", at: "lane_value" })}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
${rows.map((i) => `    phi${i}[lane_phi + c] = load_row(bh * N, tokens, ${row(i)}, c);`).join("\n")}
  }
  workgroupBarrier();
#if ${sikf && ofKeys}
  for (var c = lane; c < VECTORS; c += LANES) {
    var m = vec4f(${LOWEST});
    for (var i = 0u; i < LANE_ROWS; i++) {
${rows.map((i) => `      if (tile_row + i + ${u32(i)} * LANE_ROWS < tokens) { m = max(m, phi${i}[i * PITCH + c]); }`).join("\n")}
    }
    maxima[c] = m;
  }
#endif
${weights}
  workgroupBarrier();
${rowGradients}
${ofKeys ? valueGradients : ""}
`;
  return makeKernel({
    label: `linear attention causal gradient of ${spec.of} ${spec.featureMap}${spec.accumulate.out ? ", added" : ""} ${spec.rows}×${spec.rowLanes} of ${spec.chunkRows}`,
    workgroupSize: tileLanes(spec),
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim) },
      { name: "others", access: "read", element: vectorElement(headDim) },
      { name: "rowValues", access: "read", element: vectorElement(valueDim) },
      { name: "otherValues", access: "read", element: vectorElement(valueDim) },
      { name: "statistics", access: "read", element: "vec4f" },
      { name: "out", access: "read_write", element: vectorElement(headDim) },
      ...(ofKeys ? [{ name: "dv", access: "read_write", element: vectorElement(valueDim) } as const] : []),
      ...lengthBinding(spec),
    ],
    params: [
      "firstHead",
      ...["queries", "others", "rowValues", "otherValues", "statistics", "out", ...(ofKeys ? ["dv"] : [])].map((name) => `${name}Base`),
      ...lengthParams(spec),
    ],
    declarations: wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const CHUNK_ROWS = ${u32(spec.chunkRows)};
const KEY_ROWS = ${u32(spec.rowLanes)};
const TILE_VECTORS = ${u32(spec.tileVectors)};
const TILE_PITCH = ${u32(spec.tileVectors | 1)};
const VALUE_VECTORS = ${u32(paddedToVec4(valueDim) / 4)};
const VALUE_PITCH = ${u32(rowPitch(valueDim))};
const SCORE_PITCH = ${u32(spec.chunkRows | 1)};
${rowTile("row_value", spec, valueDim)}
var<workgroup> tile_vectors: array<vec4f, ${u32(spec.rowLanes * (spec.tileVectors | 1))}>;
var<workgroup> scores: array<vec4f, ${u32((spec.rows / laneRows) * (spec.chunkRows | 1))}>;
var<workgroup> chunk_statistics: array<vec4f, ${u32(spec.chunkRows)}>;
#if ${sikf}
var<workgroup> maxima: array<vec4f, ${u32(paddedToVec4(headDim) / 4)}>;
#endif
${featureTileDeclarations(spec)}${loadVector("load_others", "others", headDim)}${loadVector("load_row_values", "rowValues", valueDim)}${loadVector("load_other_values", "otherValues", valueDim)}${storeVector("store_out", "out", headDim, spec.accumulate.out)}${
      ofKeys ? storeVector("store_dv", "dv", valueDim, spec.accumulate.dv) : ""
    }`,
    body,
  });
}
