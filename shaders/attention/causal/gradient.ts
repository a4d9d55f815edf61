/**
 * Gradient of causal linear attention, of pairs of rows j ≤ i in the same chunk: added to what comes of other chunks, if there are any. With g
 * the gradient of the output, (r, p, n) the statistics of a row (attention/linear/query-gradient.ts), w_ij = (g_i·v_j) p_i + n_i and
 * E_ijd = φ(q_id) φ(k_jd), for SIKF relative to r_i,
 *
 *   dq_id += φ′(q_id) Σ_{j≤i} w_ij φ(k_jd),   dk_jd += φ′(k_jd) Σ_{i≥j} w_ij φ(q_id),   dv_je += Σ_{i≥j} Σ_d E_ijd p_i g_ie.
 *
 * A kernel does one side: its rows are queries, and the others the keys that they see, or its rows are keys, and the others the queries that
 * see them. SIKF: pairs of the same KEY_ROWS rows have exponents of their own, whatever the keys are. Between different ones stands M_d,
 * the largest key of those rows: exp(k_jd − M_d) ≤ 1, and exp(q_id + M_d − r_i) ≤ about e, because the query sees that key.
 *
 * Layout: queries (the rows), others, out [B·H, N, D], rowValues, otherValues, dv [B·H, N, E], statistics [B·H, N]. A workgroup does
 * `rows` rows of one chunk. Workgroup → (head, row tile); lane → (row, column) as in attention/query-features.ts. A column is one of KEY_ROWS
 * others, then a vector of features or values. What the rows and a tile of others have in common, w or Σ_d E, stands in workgroup memory for all
 * others of the chunk; a lane keeps that of its rows as one vector.
 * Bindings: 0 queries, 1 others, 2 rowValues, 3 otherValues, 4 statistics, 5 out, then those that there are of: dv, lengths; then params.
 */
import { exponentialOfSum, featureSlope, wholeAndRest } from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { type Kernel, makeKernel, workgroupBytes, type WorkgroupVariable } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthParams } from "../../wgsl/lengths.ts";
import { type FeatureTile, featureTileDeclarations, featureTileVariables, laneRow, rowPitch, rowTile, tileLanes } from "../query-features.ts";
import { loadVector, storeVector, vectorArray, vectorElement, vectorsOf } from "../../wgsl/rows.ts";
import { loadRowTile } from "../state-products.ts";
import { causalConstants, type CausalMemory, causalStart, maximaVariable, scorePitch, scoresVariable, vectorTiles } from "./tiles.ts";
import { LOWEST, range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface CausalGradientKernelSpec extends FeatureTile, CausalMemory, HeadShape {
  /** The tensor that the rows are of; the others are of the other one. */
  readonly of: "queries" | "keys";
  /** Add to what `out` and `dv` hold instead of overwriting it. */
  readonly accumulate: { readonly out: boolean; readonly dv: boolean };
}

/** Workgroup variables besides those of the features. */
function variables(tile: CausalMemory, sikf: boolean): readonly WorkgroupVariable[] {
  return [
    ...rowTile("row_value", tile, tile.valueDim),
    vectorArray("tile_vectors", tile.rowLanes * (tile.tileVectors | 1)),
    scoresVariable(tile),
    vectorArray("chunk_statistics", tile.chunkRows),
    ...(sikf ? [maximaVariable(tile)] : []),
  ];
}

/** Bytes of workgroup memory of a causal gradient kernel, whatever the feature map. */
export function causalGradientBytes(tile: CausalMemory): number {
  return workgroupBytes([...variables(tile, true), ...featureTileVariables(tile)]);
}

export function causalGradientKernel(spec: CausalGradientKernelSpec): Kernel {
  const { headDim, valueDim, laneRows } = spec;
  const sikf = spec.featureMap === "sikf";
  const ofKeys = spec.of === "keys";
  const rows = range(laneRows);
  const sees = (j: string, i: number) => `${j} ${ofKeys ? ">=" : "<="} ${laneRow(i)}`;
  const others = (body: string) => `    for (var tile = begin; tile < end; tile += KEY_ROWS) {
${body}
    }`;
  /** Statements that fill the tile with the others from `tile` on, as `make` makes them of `vector`; from `end` on are zeros. They hold a barrier. */
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
  const reference = (i: number) => (ofKeys ? "chunk_statistics[tile + j - chunk_begin].x" : `chunk_statistics[${laneRow(i)} - chunk_begin].x`);
  /** WGSL expression of E for row i, which is `row_feature`, and the other `other`, number `j` in the tile. */
  const pair = (i: number) => exponentialOfSum(wholeAndRest("row_feature"), { whole: "whole_other", rest: "rest_other" }, reference(i));
  /** WGSL expression of the feature of a query times exp of a maximum, relative to the query's reference. */
  const relative = (query: string, maximum: string, r: string) => exponentialOfSum(wholeAndRest(query), wholeAndRest(maximum), r);
  /** WGSL expression of how the others come into workgroup memory, but for the rows' own block of SIKF. */
  const feature = sikf
    ? `select(${ofKeys ? relative("vector", "maxima[c]", "chunk_statistics[j - chunk_begin].x") : "vector"}, vector, vec4<bool>(tile == block))`
    : "feature4(vector)";
  const masked = (i: number, sum: string, next: string) => `${sum} = select(${sum}, ${next}, tile != block || ${sees("tile + j", i)});`;
  const scoreAt = (j: string) => `scores[lane_row * SCORE_PITCH + tile - chunk_begin + ${j}]`;
  const seen = (score: string) =>
    `select(vec4f(), ${score}, vec4<bool>(${range(4)
      .map((i) => (i < laneRows ? `tile != block || ${sees("tile + column", i)}` : "false"))
      .join(", ")}))`;
  /** Statements that put w of the rows and all others into the scores. */
  const weights = `
${others(`      var score = vec4f();
${vectorTiles(
  "VALUE_VECTORS",
  `${load("load_other_values")}
      for (var c = 0u; c < count; c++) {
        let other = tile_vectors[column * TILE_PITCH + c];
${unroll(rows, (i) => `        score[${i}] += dot(row_value${i}[lane_value + first + c], other);`)}
      }
      workgroupBarrier();`,
)}
${
  ofKeys
    ? `      var other_statistics = vec4f();
      if (tile + column < end) { other_statistics = chunk_statistics[tile + column - chunk_begin]; }
      score = fma(score, vec4f(other_statistics.y), vec4f(other_statistics.z));`
    : unroll(
        rows,
        (i) => `      if (${laneRow(i)} < tokens) {
        let own_statistics = chunk_statistics[${laneRow(i)} - chunk_begin];
        score[${i}] = fma(score[${i}], own_statistics.y, own_statistics.z);
      }`,
      )
}
      ${scoreAt("column")} = ${seen("score")};`)}`;
  /** Statements that make keys relative to the largest of their tile. Keys alone need it, and only those of other tiles than the rows' own. */
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
${unroll(rows, (i) => `          ${masked(i, `tile_sum${i}`, `fma(vec4f(score[${i}]), other, tile_sum${i})`)}`)}
        }`;
  const rowGradients = vectorTiles(
    "VECTORS",
    `      let c = min(column, count - 1u);
      let mine = column < count;
${unroll(rows, (i) => `      var sum${i} = vec4f();`)}
${unroll(rows, (i) => `      let row_vector${i} = ${own(i)};`)}
${others(`${load("load_others", feature)}
      let seen_here = min(KEY_ROWS, end - tile);
${sikf && !ofKeys ? relativeKeys : ""}
${unroll(rows, (i) => `      var tile_sum${i} = vec4f();`)}
${
  sikf
    ? `      if (tile == block) {
        for (var j = 0u; j < seen_here; j++) {
          let score = ${scoreAt("j")};
          let other = tile_vectors[j * TILE_PITCH + c];
          let whole_other = round(other);
          let rest_other = other - whole_other;
${unroll(
  rows,
  (i) => `          {
            let row_feature = row_vector${i};
            ${masked(i, `sum${i}`, `fma(vec4f(score[${i}]), ${pair(i)}, sum${i})`)}
          }`,
)}
        }
      } else {
${plainSums}
${unroll(rows, (i) => {
  const factor = ofKeys ? `exponential4(row_vector${i} - maxima[first + c])` : relative(`row_vector${i}`, "largest", reference(i));
  return `        sum${i} = fma(tile_sum${i}, ${factor}, sum${i});`;
})}
      }`
    : `      {
${plainSums}
${unroll(rows, (i) => `        sum${i} += tile_sum${i};`)}
      }`
}
      workgroupBarrier();`)}
${unroll(
  rows,
  (i) => wgsl`      if (mine && ${laneRow(i)} < N) {
#if ${!sikf}
        let row_feature = feature4(row_vector${i});
        sum${i} *= ${featureSlope(spec.featureMap, "row_feature")};
#endif
        store_out(bh * N + ${laneRow(i)}, first + c, select(vec4f(), sum${i}, ${laneRow(i)} < tokens));
      }`,
)}`,
  );
  /** Statements that put Σ_d E p_i of the others from `from` to `until` into the scores. */
  const productScores = (from: string, until: string, isBlock: boolean) => `    for (var tile = ${from}; tile < ${until}; tile += KEY_ROWS) {
      var score = vec4f();
${vectorTiles(
  "VECTORS",
  `${load("load_others", feature)}
      for (var c = 0u; c < count; c++) {
        let other = tile_vectors[column * TILE_PITCH + c];
${
  isBlock
    ? `        let j = column;
        let whole_other = round(other);
        let rest_other = other - whole_other;
${unroll(
  rows,
  (i) => `        {
          let row_feature = ${own(i)};
          score[${i}] += dot(features_only(${pair(i)}, first + c), vec4f(1.0));
        }`,
)}`
    : `        let known = features_only(other, first + c);
${unroll(rows, (i) => `        score[${i}] += dot(${own(i)}, known);`)}`
}
      }
      workgroupBarrier();`,
)}
      var p = 0.0;
      if (tile + column < end) { p = chunk_statistics[tile + column - chunk_begin].y; }
      ${scoreAt("column")} = ${seen("score * p")};
    }`;
  const ownFeatures = `    for (var c = column; c < VECTORS; c += ROW_LANES) {
${unroll(rows, (i) => {
  const at = `phi${i}[lane_phi + c]`;
  return `      ${at} = features_only(${sikf ? `exponential4(${at} - maxima[c])` : `feature4(${at})`}, c);`;
})}
    }
    workgroupBarrier();`;
  const valueGradients = `
${sikf ? productScores("begin", "min(begin + KEY_ROWS, end)", true) : ""}
${ownFeatures}
${productScores(sikf ? "begin + KEY_ROWS" : "begin", "end", false)}
    workgroupBarrier();
${vectorTiles(
  "VALUE_VECTORS",
  `      let c = min(column, count - 1u);
      let mine = column < count;
${unroll(rows, (i) => `      var tile_sum${i} = vec4f();`)}
${others(`${load("load_other_values")}
      let seen_here = min(KEY_ROWS, end - tile);
${plainSums}
      workgroupBarrier();`)}
${unroll(rows, (i) => `      if (mine && ${laneRow(i)} < N) { store_dv(bh * N + ${laneRow(i)}, first + c, select(vec4f(), tile_sum${i}, ${laneRow(i)} < tokens)); }`)}`,
)}`;
  const body = wgsl`${causalStart(spec)}
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
${loadRowTile(spec, "row_value", "load_row_values")}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
${unroll(rows, (i) => `    phi${i}[lane_phi + c] = load_row(bh * N, tokens, ${laneRow(i)}, c);`)}
  }
  workgroupBarrier();
#if ${sikf && ofKeys}
  for (var c = lane; c < VECTORS; c += LANES) {
    var m = vec4f(${LOWEST});
    for (var i = 0u; i < LANE_ROWS; i++) {
${unroll(rows, (i) => `      if (tile_row + i + ${u32(i)} * LANE_ROWS < tokens) { m = max(m, phi${i}[i * PITCH + c]); }`)}
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
    id: "attention/causal/gradient",
    label: `linear attention causal gradient of ${spec.of} ${spec.featureMap}${spec.accumulate.out ? ", added" : ""} ${spec.rows}×${spec.rowLanes} of ${spec.chunkRows}`,
    constants: spec,
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
    declarations: [
      wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
${causalConstants(spec)}
const VALUE_VECTORS = ${u32(vectorsOf(valueDim))};
const VALUE_PITCH = ${u32(rowPitch(valueDim))};
const SCORE_PITCH = ${u32(scorePitch(spec.chunkRows))};`,
      ...variables(spec, sikf),
      ...featureTileDeclarations(spec),
      wgsl`${loadVector("load_others", "others", headDim)}${loadVector("load_row_values", "rowValues", valueDim)}${loadVector("load_other_values", "otherValues", valueDim)}${storeVector("store_out", "out", headDim, spec.accumulate.out)}${
        ofKeys ? storeVector("store_dv", "dv", valueDim, spec.accumulate.dv) : ""
      }`,
    ],
    body,
  });
}
