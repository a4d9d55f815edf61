/**
 * Causal linear attention of a tile of rows, from the state of the chunks before its own and the keys of its chunk:
 *
 *   out_i = [Σ_d φ(q_id) s_de + Σ_{j≤i} A_ij v_je] / [Σ_d φ(q_id) z_d + Σ_{j≤i} A_ij],   A_ij = Σ_d φ(q_id) φ(k_jd),
 *
 * with j from the start of the chunk. It can write the statistics of the rows for the way back instead (attention/linear/query-gradient.ts).
 *
 * SIKF: nothing may depend on later keys, so every row has maxima of its own, m_id = max over j ≤ i, and the reference
 * r_i ≈ max_d(q_id + m_id). Keys from `block` on, the last multiple of KEY_ROWS, go pair by pair: Σ_d exp(q_id + k_jd − r_i), whatever
 * they are. For those before, P_d, their maximum and that of the state's chunks, stands between: exp(q_id + P_d − r_i), the feature of the
 * query, times exp(k_jd − P_d) ≤ 1 is a plain product, and so is that with the state, times exp(m_d − P_d). A feature that rises above
 * P_d only makes factors smaller. Sums are taken in whole and fractional parts (attention/feature-map.ts).
 *
 * Layout: queries, keys [B·H, N, D], values, out, gradients [B·H, N, E], states [heads of the dispatch, chunks, state], each that of
 * earlier chunks (attention/causal/scan.ts); no states where there is one chunk only. A workgroup does `rows` rows of one chunk.
 * Workgroup → (head, row tile); lane → (row, column) as in attention/query-features.ts. A column is a vector of features, then one of the
 * KEY_ROWS keys of a tile, then four values. Tiles of keys, KEY_ROWS × TILE_VECTORS, and of values go through workgroup memory; a lane keeps the
 * A of its rows and a key as one vector.
 * Bindings: 0 queries, 1 keys, 2 values, then those that there are of: states, out, gradients and statistics, lengths; then params.
 */
import {
  type ChunkedStates,
  exponentialOfSum,
  wholeAndRest,
  type KernelFeatureMap,
  keyStateConstants,
  MAXIMUM,
  takeMaximum,
} from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { type Kernel, makeKernel, type Precision, workgroupBytes, type WorkgroupVariable } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthParams } from "../../wgsl/lengths.ts";
import { featureTileDeclarations, featureTileVariables, laneRow, tileLanes, together } from "../query-features.ts";
import { loadVector, storeVector, vectorArray, vectorElement, vectorsOf, withinRow } from "../../wgsl/rows.ts";
import { timesStateColumns } from "../state-products.ts";
import { causalConstants, type CausalMemory, causalStart, maximaVariable, scorePitch, scoresVariable, vectorTiles } from "./tiles.ts";
import { LOWEST, range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface CausalApplyKernelSpec extends CausalMemory, HeadShape, ChunkedStates {
  readonly featureMap: KernelFeatureMap;
  readonly variableLengths: boolean;
  readonly precision: { readonly queries: Precision; readonly keys: Precision; readonly values: Precision; readonly out: Precision };
  /** `"sum"` adds to what `out` holds. `"statistics"` writes the statistics of the rows, and no output. */
  readonly into: "out" | "sum" | "statistics";
}

/** vec4f of a row of values in a tile of them. */
function valueVectors({ rowLanes, valueDim }: CausalMemory): number {
  return Math.min(rowLanes, vectorsOf(valueDim));
}

/** Workgroup variables besides those of the features: tiles of keys and of values stand in the same one, in turn. */
function variables(tile: CausalMemory, sikf: boolean): readonly WorkgroupVariable[] {
  const pitch = Math.max(tile.tileVectors, valueVectors(tile)) | 1;
  return [vectorArray("tile_vectors", tile.rowLanes * pitch), scoresVariable(tile), ...(sikf ? [maximaVariable(tile)] : [])];
}

/** Bytes of workgroup memory of a causal apply kernel, whatever the feature map. */
export function causalApplyBytes(tile: CausalMemory): number {
  return workgroupBytes([...variables(tile, true), ...featureTileVariables(tile)]);
}

export function causalApplyKernel(spec: CausalApplyKernelSpec): Kernel {
  const { headDim, valueDim, laneRows, precision } = spec;
  const sikf = spec.featureMap === "sikf";
  const statistics = spec.into === "statistics";
  const carried = spec.chunks > 1;
  const rows = range(laneRows);
  const valueLanes = valueVectors(spec);
  /** Statements that fill the tile with the keys from `begin` on, as `key` makes them; keys from `end` on are zero. They hold a barrier. */
  const loadKeys = (begin: string, key: string) => `      for (var i = lane; i < KEY_ROWS * TILE_VECTORS; i += LANES) {
        let j = ${begin} + i / TILE_VECTORS;
        let c = first + i % TILE_VECTORS;
        var vector = vec4f();
        if (j < end && c < VECTORS) {
          vector = load_keys(bh * N + j, c);
          vector = ${key};
        }
        tile_vectors[i / TILE_VECTORS * TILE_PITCH + i % TILE_VECTORS] = vector;
      }
      workgroupBarrier();`;
  const featureTiles = (body: string) => vectorTiles("VECTORS", body);
  const ownColumns = "for (var c = column; c < VECTORS; c += ROW_LANES)";
  const visible = rows.map((i) => `${u32(i)} * LANE_ROWS`);
  /** WGSL expression of the scores of key j, with zero for the rows that do not see it. */
  const seen = (score: string, j: string) =>
    `select(vec4f(), ${score}, vec4u(${j}) <= vec4u(first_row) + vec4u(${[...visible, "0u", "0u", "0u"].slice(0, 4).join(", ")}))`;
  const pairs = wgsl`
  // The maximum of the state's chunks and of the keys before the block.
  ${ownColumns} {
    var m = ${carried ? "states[state + c]" : `vec4f(${LOWEST})`};
    for (var j = chunk_begin + lane_row; j < min(block, end); j += LANE_ROWS) { m = max(m, load_keys(bh * N + j, c)); }
    phi0[lane_phi + c] = m;
  }
  workgroupBarrier();
  for (var c = lane; c < VECTORS; c += LANES) {
    var m = phi0[c];
    for (var i = 1u; i < LANE_ROWS; i++) { m = max(m, phi0[i * PITCH + c]); }
    maxima[c] = m;
  }
  workgroupBarrier();
  // References of the rows.
  var largest0 = vec4f(${LOWEST});
  {
${featureTiles(`${loadKeys("block", "vector")}
      for (var c = column; c < count; c += ROW_LANES) {
        var m = maxima[first + c];
        var j = block;
${unroll(
  rows,
  (i) => `        {
          let q = load_row(bh * N, tokens, ${laneRow(i)}, first + c);
          phi${i}[lane_phi + first + c] = q;
          for (; j <= ${laneRow(i)}; j++) { m = max(m, tile_vectors[(j - block) * TILE_PITCH + c]); }
          largest0[${i}] = max(largest0[${i}], largest_feature(round(q) + round(m), first + c));
        }`,
)}
      }
${spec.tileVectors * 4 < headDim ? "      workgroupBarrier();" : ""}`)}
  }
${together(spec, "largest", (a, b) => `max(${a}, ${b})`)}
  // Pair by pair.
  {
    var score = vec4f();
${featureTiles(`${spec.tileVectors * 4 < headDim ? loadKeys("block", "vector") : ""}
      for (var c = 0u; c < count; c++) {
        let key = tile_vectors[column * TILE_PITCH + c];
        let whole_key = round(key);
        let rest_key = key - whole_key;
${unroll(
  rows,
  (i) => `        {
          let q = phi${i}[lane_phi + first + c];
          let whole = round(q);
          let features = ${exponentialOfSum(wholeAndRest("q", "whole"), { whole: "whole_key", rest: "rest_key" }, `largest0[${i}]`)};
          score[${i}] += dot(features_only(features, first + c), vec4f(1.0));
        }`,
)}
      }
      workgroupBarrier();`)}
    score = ${seen("score", "block + column")};
    denominator0 = score;
    scores[lane_row * SCORE_PITCH + block - chunk_begin + column] = score;
  }
  // Features of the queries for all that is before.
  ${ownColumns} {
${takeMaximum("maxima[c]")}
${unroll(
  rows,
  (i) => `    {
      let q = phi${i}[lane_phi + c];
      let whole = round(q);
      phi${i}[lane_phi + c] = features_only(${exponentialOfSum(wholeAndRest("q", "whole"), MAXIMUM, `largest0[${i}]`)}, c);
    }`,
)}
  }`;
  const features = `
  ${ownColumns} {
${unroll(rows, (i) => `    phi${i}[lane_phi + c] = features_only(feature4(load_row(bh * N, tokens, ${laneRow(i)}, c)), c);`)}
  }`;
  const products = wgsl`
  for (var tile = chunk_begin; tile < ${sikf ? "min(block, end)" : "end"}; tile += KEY_ROWS) {
    var score = vec4f();
${featureTiles(`${loadKeys("tile", `features_only(${sikf ? "exponential4(vector - maxima[c])" : "feature4(vector)"}, c)`)}
      for (var c = 0u; c < count; c++) {
        let key = tile_vectors[column * TILE_PITCH + c];
${unroll(rows, (i) => `        score[${i}] += dot(phi${i}[lane_phi + first + c], key);`)}
      }
      workgroupBarrier();`)}
    ${sikf ? "" : `score = ${seen("score", "tile + column")};`}
    denominator0 += score;
    scores[lane_row * SCORE_PITCH + tile - chunk_begin + column] = score;
  }
#if ${carried}
  ${ownColumns} {
    let key_sum = features_only(states[state + STATE_SUM / 4u + c], c);
#if ${sikf}
    let factor = features_only(exponential4(states[state + c] - maxima[c]), c);
#endif
${unroll(
  rows,
  (i) => `    {
      let feature = phi${i}[lane_phi + c]${sikf ? " * factor" : ""};
      phi${i}[lane_phi + c] = feature;
      denominator0[${i}] += dot(feature, key_sum);
    }`,
)}
  }
#endif`;
  /** Statements that add the values of the tile to the sums of the rows. Values that a row does not see may be NaN, which 0 does not silence. */
  const addValues = (begin: string, masked: boolean) => `      for (var j = 0u; j < min(KEY_ROWS, end - ${begin}); j++) {
        let score = scores[lane_row * SCORE_PITCH + ${begin} - chunk_begin + j];
        let value = tile_vectors[j * VALUE_PITCH + min(column, ${u32(valueLanes - 1)})];
${unroll(rows, (i) => {
  const sum = `fma(vec4f(score[${i}]), value, sum${i})`;
  return `        sum${i} = ${masked ? `select(sum${i}, ${sum}, ${begin} + j <= ${laneRow(i)})` : sum};`;
})}
      }`;
  const body = wgsl`${causalStart(spec)}
  let chunk = tile_row / CHUNK_ROWS;
  let chunk_begin = chunk * CHUNK_ROWS;
  let block = tile_row - tile_row % KEY_ROWS;
  let end = min(tile_row + ROWS, tokens); // of the keys that the tile may see
#if ${carried}
  let state = (head * CHUNKS + chunk) * (STATE / 4u);
#endif
  var denominator0 = vec4f();
${sikf ? pairs : features}
  workgroupBarrier();
${products}
${together(spec, "denominator", (a, b) => `${a} + ${b}`)}
#if ${statistics}
  var product0 = vec4f();
#endif
  for (var first_value = 0u; first_value < ALL_VALUE_VECTORS; first_value += VALUE_VECTORS) {
    let e = first_value + column;
    let mine = column < VALUE_VECTORS && e < ALL_VALUE_VECTORS;
${unroll(rows, (i) => `    var sum${i} = vec4f();`)}
#if ${carried}
    if (mine) {
${timesStateColumns(spec, "product_sum")}
${unroll(rows, (i) => `      sum${i} = product_sum${i};`)}
    }
#endif
    for (var tile = chunk_begin; tile < end; tile += KEY_ROWS) {
      for (var i = lane; i < KEY_ROWS * VALUE_VECTORS; i += LANES) {
        let j = tile + i / VALUE_VECTORS;
        let c = first_value + i % VALUE_VECTORS;
        var vector = vec4f();
        if (j < end && c < ALL_VALUE_VECTORS) { vector = load_values(bh * N + j, c); }
        tile_vectors[i / VALUE_VECTORS * VALUE_PITCH + i % VALUE_VECTORS] = vector;
      }
      workgroupBarrier();
      if (tile < block) {
${addValues("tile", false)}
      } else {
${addValues("tile", true)}
      }
      workgroupBarrier();
    }
${unroll(
  rows,
  (i) => wgsl`    {
      let row = ${laneRow(i)};
      let result = select(sum${i} / denominator0[${i}], vec4f(), denominator0[${i}] == 0.0 || row >= tokens);
#if ${statistics}
      // Beyond E stands what padding of the state held.
      if (mine && row < tokens) { product0[${i}] += dot(load_gradients(bh * N + row, e), ${valueDim % 4 === 0 ? "result" : `select(vec4f(), result, ${withinRow("e", u32(valueDim))})`}); }
#else
      if (mine && row < N) { store_out(bh * N + row, e, result); }
#endif
    }`,
)}
  }
#if ${statistics}
${together(spec, "product", (a, b) => `${a} + ${b}`)}
${unroll(
  rows,
  (i) => `  if (column == 0u && ${laneRow(i)} < N) {
    let denominator = denominator0[${i}];
    let p = select(1.0 / denominator, 0.0, denominator == 0.0 || ${laneRow(i)} >= tokens);
    let n = select(-product0[${i}] * p, 0.0, p == 0.0);
    statistics[bh * N + ${laneRow(i)} - params.statisticsBase] = vec4f(${sikf ? `largest0[${i}]` : "0.0"}, p, n, 0.0);
  }`,
)}
#endif
`;
  const into = { out: "", sum: " + bias", statistics: ", statistics" }[spec.into];
  return makeKernel({
    id: "attention/causal/apply",
    label: `linear attention causal apply ${spec.featureMap}${into} ${spec.rows}×${spec.rowLanes} of ${spec.chunkRows}`,
    constants: spec,
    workgroupSize: tileLanes(spec),
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim, precision.queries) },
      { name: "keys", access: "read", element: vectorElement(headDim, precision.keys) },
      { name: "values", access: "read", element: vectorElement(valueDim, precision.values) },
      ...(carried ? [{ name: "states", access: "read", element: "vec4f" } as const] : []),
      ...(statistics
        ? ([
            { name: "gradients", access: "read", element: vectorElement(valueDim) },
            { name: "statistics", access: "read_write", element: "vec4f" },
          ] as const)
        : [{ name: "out", access: "read_write", element: vectorElement(valueDim, precision.out) } as const]),
      ...lengthBinding(spec),
    ],
    params: [
      "firstHead",
      "queriesBase",
      "keysBase",
      "valuesBase",
      ...(statistics ? ["gradientsBase", "statisticsBase"] : ["outBase"]),
      ...lengthParams(spec),
    ],
    declarations: [
      wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const CHUNKS = ${u32(spec.chunks)};
${causalConstants(spec)}
const ALL_VALUE_VECTORS = ${u32(vectorsOf(valueDim))};
const VALUE_VECTORS = ${u32(valueLanes)};
const VALUE_PITCH = ${u32(valueLanes | 1)};
const SCORE_PITCH = ${u32(scorePitch(spec.chunkRows))};
${keyStateConstants(spec.state)}`,
      ...variables(spec, sikf),
      ...featureTileDeclarations({ ...spec, precision: precision.queries }),
      wgsl`${loadVector("load_keys", "keys", headDim, precision.keys)}${loadVector("load_values", "values", valueDim, precision.values)}${
        statistics
          ? loadVector("load_gradients", "gradients", valueDim)
          : storeVector("store_out", "out", valueDim, spec.into === "sum", precision.out)
      }`,
    ],
    body,
  });
}
