/**
 * Gradient of causal linear attention, of pairs of rows j ≤ i in the same chunk: added to what comes of other chunks, if there are any. With g
 * the gradient of the output, (r, p, n) the statistics of a row (attention/linear/query-gradient.ts), w_ij = (g_i·v_j) p_i + n_i and
 * E_ijd = φ(q_id) φ(k_jd), for SIKF relative to r_i,
 *
 *   dq_id += φ′(q_id) Σ_{j≤i} w_ij φ(k_jd),   dk_jd += φ′(k_jd) Σ_{i≥j} w_ij φ(q_id),   dv_je += Σ_{i≥j} Σ_d E_ijd p_i g_ie.
 *
 * A kernel does one side: its rows are queries, and the others the keys that they see, or its rows are keys, and the others the queries that
 * see them. φ(q_id) is relative to r_i and to the level P_d of the tile, φ(k_jd) to P_d (attention/causal/tiles.ts): that of the first key of the
 * chunk and the first row of the tile, which all queries of either side see. Features where keys are steep go pair by pair.
 *
 * Layout: queries (the rows), others, out [B·H, N, D], rowValues, otherValues, dv [B·H, N, E], statistics [B·H, N]. A workgroup does
 * `rows` rows of one chunk. Workgroup → (head, row tile); lane → (row, column) as in attention/query-features.ts. A column is one of KEY_ROWS
 * others, then a vector of features or values. What the rows and a tile of others have in common, w or Σ_d E, stands in workgroup memory for all
 * others of the chunk; a lane keeps that of its rows as one vector.
 * Bindings: 0 queries, 1 others, 2 rowValues, 3 otherValues, 4 statistics, 5 out, then those that there are of: dv, lengths; then params.
 */
import type { HeadShape } from "../head-shape.ts";
import { type Kernel, makeKernel, workgroupBytes, type WorkgroupVariable } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthParams } from "../../wgsl/lengths.ts";
import { type FeatureTile, featureTileDeclarations, featureTileVariables, laneRow, rowPitch, rowTile, tileLanes } from "../query-features.ts";
import { loadVector, storeBases, storeBindings, storeVector, vectorArray, vectorElement, vectorsOf } from "../../wgsl/rows.ts";
import { loadRowTile } from "../state-products.ts";
import {
  causalConstants,
  type CausalMemory,
  causalStart,
  findLevels,
  levelFunctions,
  levelSlope,
  levelVariables,
  scorePitch,
  scoresVariable,
  vectorTiles,
  wholeSize,
} from "./tiles.ts";
import { LOWEST, range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface CausalGradientKernelSpec extends FeatureTile, CausalMemory, HeadShape {
  /** The tensor that the rows are of; the others are of the other one. */
  readonly of: "queries" | "keys";
  /** Add to what `out` and `dv` hold instead of overwriting it. */
  readonly accumulate: { readonly out: boolean; readonly dv: boolean };
}

/** Workgroup variables besides those of the features. */
function variables(tile: CausalMemory): readonly WorkgroupVariable[] {
  return [
    ...rowTile("row_value", tile, tile.valueDim),
    vectorArray("tile_vectors", tile.rowLanes * (tile.tileVectors | 1)),
    scoresVariable(tile),
    vectorArray("chunk_statistics", tile.chunkRows),
    ...levelVariables(tile),
  ];
}

/** Bytes of workgroup memory of a causal gradient kernel. */
export function causalGradientBytes(tile: CausalMemory): number {
  return workgroupBytes([...variables(tile), ...featureTileVariables(tile)]);
}

export function causalGradientKernel(spec: CausalGradientKernelSpec): Kernel {
  const { headDim, valueDim, laneRows, strides = {} } = spec;
  const { featureMap } = spec;
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
  const reference = (j: string) => `chunk_statistics[${j} - chunk_begin].x`;
  /** WGSL expression of the features of a row that the tensor of keys, or of queries, has in `x`. */
  const feature = (x: string, ofKey: boolean, level: string, j: string) =>
    ofKey ? `key_feature(${x}, ${level})` : `query_feature(${x}, ${level}, ${reference(j)})`;
  /** WGSL expression of what is left out of the product of the features of row i, which is `row_vector`, and `other`, number j. */
  const steepProduct = (rowVector: string, i: number, level: string) =>
    (featureMap === "sikf" ? "" : `steep_slope4(${rowVector}) * `) +
    (ofKeys
      ? `steep_product(other, ${rowVector}, ${level}, ${reference("j")})`
      : `steep_product(${rowVector}, other, ${level}, ${reference(laneRow(i))})`);
  const masked = (i: number, sum: string, next: string) => `${sum} = select(${sum}, ${next}, ${sees("tile + j", i)});`;
  const scoreAt = (j: string) => `scores[lane_row * SCORE_PITCH + tile - chunk_begin + ${j}]`;
  const seen = (score: string, j: string) =>
    `select(vec4f(), ${score}, vec4<bool>(${range(4)
      .map((i) => (i < laneRows ? sees(j, i) : "false"))
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
      ${scoreAt("column")} = ${seen("score", "tile + column")};`)}`;
  /** Statements that add the tile, times the scores, to sums of the rows. What a row does not see may be NaN, which 0 does not silence. */
  const addTile = (sum: string) => {
    const loop = (add: (i: number) => string) => `        for (var j = 0u; j < seen_here; j++) {
          let score = ${scoreAt("j")};
          let other = tile_vectors[j * TILE_PITCH + c];
${unroll(rows, (i) => `          ${add(i)}`)}
        }`;
    const next = (i: number) => `fma(vec4f(score[${i}]), other, ${sum}${i})`;
    return `      let seen_here = min(KEY_ROWS, end - tile);
      if (tile == block) {
${loop((i) => masked(i, `${sum}${i}`, next(i)))}
      } else {
${loop((i) => `${sum}${i} = ${next(i)};`)}
      }
      workgroupBarrier();`;
  };
  /** Statements that add to `sum<i>` the pairs in which keys are steep. */
  const steepSums = ofKeys
    ? unroll(
        rows,
        (i) => `      if (mine && ${laneRow(i)} < tokens && !all(are_gentle(${wholeSize(featureMap, `row_vector${i}`)}, level))) {
        for (var j = ${laneRow(i)}; j < end; j++) {
          let other = load_others(bh * N + j, first + c);
          sum${i} = fma(vec4f(scores[lane_row * SCORE_PITCH + j - chunk_begin][${i}]), ${steepProduct(`row_vector${i}`, i, "level")}, sum${i});
        }
      }`,
      )
    : `      if (mine && atomicLoad(&steep[0]) != 0u) {
        for (var j = begin; j < end; j++) {
          let other = load_others(bh * N + j, first + c);
          if (!all(are_gentle(${wholeSize(featureMap, "other")}, level))) {
            let score = scores[lane_row * SCORE_PITCH + j - chunk_begin];
${unroll(rows, (i) => `            if (j <= ${laneRow(i)}) { sum${i} = fma(vec4f(score[${i}]), ${steepProduct(`row_vector${i}`, i, "level")}, sum${i}); }`)}
          }
        }
      }`;
  const rowGradients = vectorTiles(
    "VECTORS",
    wgsl`      let c = min(column, count - 1u);
      let mine = column < count;
${unroll(rows, (i) => `      var sum${i} = vec4f();`)}
${others(`${load("load_others", feature("vector", !ofKeys, "levels[c]", "j"))}
${addTile("sum")}`)}
      let level = levels[first + c];
${unroll(
  rows,
  (i) => `      let row_vector${i} = ${own(i)};
      let row_feature${i} = ${feature(`row_vector${i}`, ofKeys, "level", laneRow(i))};
      sum${i} *= ${levelSlope(featureMap, ofKeys ? "key" : "query", `row_vector${i}`, `row_feature${i}`, reference(laneRow(i)))};`,
)}
${steepSums}
${unroll(
  rows,
  (i) => `      if (mine && ${laneRow(i)} < N) { store_out(bh * N + ${laneRow(i)}, first + c, select(vec4f(), sum${i}, ${laneRow(i)} < tokens)); }`,
)}`,
  );
  /** Statements that put Σ_d E p_i into the scores, from the features of the rows on. */
  const productScores = wgsl`
  for (var c = column; c < VECTORS; c += ROW_LANES) {
${unroll(rows, (i) => `    phi${i}[lane_phi + c] = features_only(${feature(`phi${i}[lane_phi + c]`, true, "levels[c]", "")}, c);`)}
  }
  workgroupBarrier();
${others(`      var score = vec4f();
${vectorTiles(
  "VECTORS",
  `${load("load_others", feature("vector", false, "levels[c]", "j"))}
      for (var c = 0u; c < count; c++) {
        let known = features_only(tile_vectors[column * TILE_PITCH + c], first + c);
${unroll(rows, (i) => `        score[${i}] += dot(${own(i)}, known);`)}
      }
      workgroupBarrier();`,
)}
      var p = 0.0;
      if (tile + column < end) { p = chunk_statistics[tile + column - chunk_begin].y; }
      ${scoreAt("column")} = ${seen("score * p", "tile + column")};`)}
  if (atomicLoad(&steep[0]) != 0u) {
    for (var j = block + column; j < end; j += ROW_LANES) {
      var score = vec4f();
      for (var c = 0u; c < VECTORS; c++) {
        let level = levels[c];
        let other = load_others(bh * N + j, c);
        for (var i = 0u; i < ${u32(laneRows)}; i++) {
          let key = load_row(bh * N, tokens, first_row + i * LANE_ROWS, c);
          score[i] += dot(steep_product(other, key, level, ${reference("j")}), vec4f(1.0));
        }
      }
      scores[lane_row * SCORE_PITCH + j - chunk_begin] += ${seen("score * chunk_statistics[j - chunk_begin].y", "j")};
    }
  }`;
  const valueGradients = `${productScores}
    workgroupBarrier();
${vectorTiles(
  "VALUE_VECTORS",
  `      let c = min(column, count - 1u);
      let mine = column < count;
${unroll(rows, (i) => `      var sum${i} = vec4f();`)}
${others(`${load("load_other_values")}
${addTile("sum")}`)}
${unroll(rows, (i) => `      if (mine && ${laneRow(i)} < N) { store_dv(bh * N + ${laneRow(i)}, first + c, select(vec4f(), sum${i}, ${laneRow(i)} < tokens)); }`)}`,
)}`;
  const body = wgsl`${causalStart(spec)}
  let lane_value = lane_row * VALUE_PITCH;
  let chunk_begin = tile_row - tile_row % CHUNK_ROWS;
  let block = tile_row - tile_row % KEY_ROWS;
  // The others.
#if ${ofKeys}
  let begin = block;
  let end = select(begin, min(chunk_begin + CHUNK_ROWS, tokens), tile_row < tokens);
  let statistics_begin = block;
#else
  let begin = chunk_begin;
  let end = select(begin, min(tile_row + ROWS, tokens), tile_row < tokens);
  let statistics_begin = tile_row;
#endif
  for (var i = statistics_begin + lane; i < end; i += LANES) { chunk_statistics[i - chunk_begin] = statistics[bh * N + i - params.statisticsBase]; }
${loadRowTile(spec, "row_value", "load_row_values")}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
${unroll(rows, (i) => `    phi${i}[lane_phi + c] = load_row(bh * N, tokens, ${laneRow(i)}, c);`)}
  }
${findLevels(featureMap, (j) => `${ofKeys ? "load_queries" : "load_others"}(bh * N + ${j}, c)`, `vec4f(${LOWEST})`)}
  workgroupBarrier();
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
      { name: "queries", access: "read", element: vectorElement(headDim, "f32", strides["queries"]) },
      { name: "others", access: "read", element: vectorElement(headDim, "f32", strides["others"]) },
      { name: "rowValues", access: "read", element: vectorElement(valueDim, "f32", strides["rowValues"]) },
      { name: "otherValues", access: "read", element: vectorElement(valueDim, "f32", strides["otherValues"]) },
      { name: "statistics", access: "read", element: "vec4f" },
      ...storeBindings({ out: headDim, ...(ofKeys && { dv: valueDim }) }, strides),
      ...lengthBinding(spec),
    ],
    params: [
      "firstHead",
      ...["queries", "others", "rowValues", "otherValues", "statistics"].map((name) => `${name}Base`),
      ...storeBases(["out", ...(ofKeys ? ["dv"] : [])], strides),
      ...lengthParams(spec),
    ],
    declarations: [
      wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
${causalConstants(spec)}
const VALUE_VECTORS = ${u32(vectorsOf(valueDim))};
const VALUE_PITCH = ${u32(rowPitch(valueDim))};
const SCORE_PITCH = ${u32(scorePitch(spec.chunkRows))};`,
      ...variables(spec),
      ...featureTileDeclarations(spec),
      wgsl`${levelFunctions(featureMap)}${loadVector("load_others", "others", headDim, "f32", strides["others"])}${loadVector("load_row_values", "rowValues", valueDim, "f32", strides["rowValues"])}${loadVector("load_other_values", "otherValues", valueDim, "f32", strides["otherValues"])}${storeVector("store_out", "out", headDim, spec.accumulate.out, "f32", strides["out"])}${
        ofKeys ? storeVector("store_dv", "dv", valueDim, spec.accumulate.dv, "f32", strides["dv"]) : ""
      }`,
    ],
    body,
  });
}
