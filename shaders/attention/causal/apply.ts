/**
 * Causal linear attention of a tile of rows, from the state of the chunks before its own and the keys of its chunk:
 *
 *   out_i = [Σ_d φ(q_id) s_de + Σ_{j≤i} A_ij v_je] / [Σ_d φ(q_id) z_d + Σ_{j≤i} A_ij],   A_ij = Σ_d φ(q_id) φ(k_jd),
 *
 * with j from the start of the chunk. It can write the statistics of the rows for the way back instead (attention/linear/query-gradient.ts).
 *
 * The level P_d of a tile (attention/causal/tiles.ts) is that of the keys of earlier chunks, of the first key of the chunk and of the first of the tile.
 * The reference r_i of a row is max_d(q_id + P_d) for SIKF, in whole numbers; in a tile that sees steep keys it rises to those that the row sees, and
 * all that is relative to it falls. The state is relative to exp(m_d): it is multiplied by exp(m_d − P_d). The other maps have powers of two in place of
 * exponentials.
 *
 * Layout: queries, keys [B·H, N, D], values, out, gradients [B·H, N, E], states [heads of the dispatch, chunks, state], each that of
 * earlier chunks (attention/causal/scan.ts); no states where there is one chunk only. A workgroup does `rows` rows of one chunk.
 * Workgroup → (head, row tile); lane → (row, column) as in attention/query-features.ts. A column is a vector of features, then the keys of a lane,
 * then four values. Tiles of keys, KEY_ROWS × TILE_VECTORS, and of values, VALUE_ROWS × VALUE_VECTORS, go through workgroup memory; a lane keeps
 * the A of its rows and a key as one vector.
 * Bindings: 0 queries, 1 keys, 2 values, then those that there are of: states, out, gradients and statistics, lengths; then params.
 */
import { keyStateConstants, sizeFactor } from "../feature-map.ts";
import { type Kernel, makeKernel, workgroupBytes, type WorkgroupVariable } from "../../wgsl/kernel.ts";
import { featureTileDeclarations, featureTileVariables, laneRow, tileLanes, together } from "../query-features.ts";
import { vectorArray, vectorsOf, withinRow } from "../../wgsl/rows.ts";
import { causalProduct, causalProductFunctions, type CausalProductSpec, storeStatistics } from "./product.ts";
import { timesStateColumns } from "../state-products.ts";
import {
  causalConstants,
  type CausalMemory,
  causalStart,
  type CausalTile,
  findLevels,
  levelVariables,
  scorePitch,
  scoresVariable,
  tileKeys,
  vectorTiles,
  wholeSize,
} from "./tiles.ts";
import { LOWEST, range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface CausalApplyKernelSpec extends CausalMemory, CausalProductSpec {}

/** vec4f of a row of values in a tile of them. */
function valueVectors({ rowLanes, valueDim }: CausalMemory): number {
  return Math.min(rowLanes, vectorsOf(valueDim));
}

/** Rows of values that stand in workgroup memory at a time: as many as keys, or half or a quarter of them where they are wider. */
function valueRows(tile: CausalMemory): number {
  let rows = tileKeys(tile);
  while (rows > tile.rowLanes && rows * (valueVectors(tile) | 1) > tileKeys(tile) * (tile.tileVectors | 1)) rows /= 2;
  return rows;
}

/** Workgroup variables besides those of the features: tiles of keys and of values stand in the same one, in turn. */
function variables(tile: CausalMemory): readonly WorkgroupVariable[] {
  const vectors = Math.max(tileKeys(tile) * (tile.tileVectors | 1), valueRows(tile) * (valueVectors(tile) | 1));
  return [vectorArray("tile_vectors", vectors), scoresVariable(tile), ...levelVariables(tile)];
}

/** Bytes of workgroup memory of a causal apply kernel. */
export function causalApplyBytes(tile: CausalMemory): number {
  return workgroupBytes([...variables(tile), ...featureTileVariables(tile)]);
}

/** Statements that put the features of the rows into `phi<i>`, relative to the levels and to references `largest0`. They hold barriers. */
function rowFeatures(spec: CausalApplyKernelSpec): string {
  const rows = range(spec.laneRows);
  return `${findLevels(spec.featureMap, (j) => `load_keys(bh * N + ${j}, c)`, spec.chunks > 1 ? "states[state + c]" : `vec4f(${LOWEST})`)}
  workgroupBarrier();
  var largest0 = vec4f(${LOWEST});
  ${OWN_COLUMNS} {
    let level = levels[c];
${unroll(
  rows,
  (i) => `    {
      let q = load_row(bh * N, tokens, ${laneRow(i)}, c);
      phi${i}[lane_phi + c] = q;
      largest0[${i}] = max(largest0[${i}], largest_feature(${wholeSize(spec.featureMap, "q")} + level, c));
    }`,
)}
  }
${together(spec, "largest", (a, b) => `max(${a}, ${b})`)}
  ${OWN_COLUMNS} {
    let level = levels[c];
${unroll(rows, (i) => `    phi${i}[lane_phi + c] = features_only(query_feature(phi${i}[lane_phi + c], level, largest0[${i}]), c);`)}
  }
  workgroupBarrier();`;
}

/** A loop over the vectors of a row that a lane has. */
const OWN_COLUMNS = "for (var c = column; c < VECTORS; c += ROW_LANES)";

/** WGSL expression of the scores of key j, with zero for the rows that do not see it. */
function seen({ laneRows }: CausalTile, score: string, j: string): string {
  const rows = range(4).map((i) => (i < laneRows ? `${u32(i)} * LANE_ROWS` : "0u"));
  return `select(vec4f(), ${score}, vec4u(${j}) <= vec4u(first_row) + vec4u(${rows.join(", ")}))`;
}

/** Statements that put the scores of the rows and the keys that they see into `scores`, and their sum into `denominator0`. They hold barriers. */
function keyScores(spec: CausalApplyKernelSpec): string {
  const { laneRows, rowLanes, laneKeys, chunkRows } = spec;
  const keys = range(laneKeys);
  const products = range(laneRows).flatMap((i) => keys.map((b) => ({ i, b })));
  /** Where a tile of keys is one of rows, no row i of a lane sees its keys b in the rows' own tile. */
  const later = ({ i, b }: { i: number; b: number }) => spec.rows === tileKeys(spec) && b * rowLanes >= (i + 1) * (spec.rows / laneRows);
  const sum = ({ i, b }: { i: number; b: number }) => `        score${b}[${i}] += dot(x${i}, key${b});`;
  const before = products.filter(later);
  return wgsl`
  for (var tile = chunk_begin; tile < end; tile += KEY_ROWS) {
${unroll(keys, (b) => `    var score${b} = vec4f();`)}
${vectorTiles(
  "VECTORS",
  wgsl`      for (var i = lane; i < KEY_ROWS * TILE_VECTORS; i += LANES) {
        let j = tile + i / TILE_VECTORS;
        let c = first + i % TILE_VECTORS;
        var vector = vec4f();
        if (j < end && c < VECTORS) { vector = key_feature(load_keys(bh * N + j, c), levels[c]); }
        tile_vectors[i / TILE_VECTORS * TILE_PITCH + i % TILE_VECTORS] = vector;
      }
      workgroupBarrier();
      for (var c = 0u; c < count; c++) {
${unroll(keys, (b) => `        let key${b} = tile_vectors[(column + ${u32(b)} * ROW_LANES) * TILE_PITCH + c];`)}
${unroll(range(laneRows), (i) => `        let x${i} = phi${i}[lane_phi + first + c];`)}
${unroll(
  products.filter((pair) => !later(pair)),
  sum,
)}
#if ${before.length > 0 && chunkRows > tileKeys(spec)}
        if (tile < block) {
${unroll(before, sum)}
        }
#endif
      }
      workgroupBarrier();`,
)}
${unroll(
  keys,
  (b) => `    {
      let j = tile + column + ${u32(b)} * ROW_LANES;
      let score = ${seen(spec, `score${b}`, "j")};
      denominator0 += score;
      scores[lane_row * SCORE_PITCH + j - chunk_begin] = score;
    }`,
)}
  }`;
}

/** Statements that add to the scores what steep keys add, with references that are above these. This is rare, so it is short rather than fast. */
function steepScores(spec: CausalApplyKernelSpec): string {
  const query = "load_row(bh * N, tokens, first_row + i * LANE_ROWS, c)";
  const size = (x: string) => wholeSize(spec.featureMap, x);
  const ofRows = `for (var i = 0u; i < ${u32(spec.laneRows)}; i++)`;
  return `
  if (atomicLoad(&steep[0]) != 0u) {
    var raised = largest0;
    for (var c = 0u; c < VECTORS; c++) {
      let level = levels[c];
      var m = level;
      var j = chunk_begin;
      ${ofRows} {
        for (; j < min(first_row + i * LANE_ROWS + 1u, end); j++) {
          let key = ${size("load_keys(bh * N + j, c)")};
          m = max(m, select(key, level, are_gentle(key, level)));
        }
        raised[i] = max(raised[i], largest_feature(${size(query)} + m, c));
      }
    }
    let fall = ${sizeFactor(spec.featureMap, "largest0 - raised")};
    largest0 = raised;
    denominator0 *= fall;
    ${OWN_COLUMNS} {
${unroll(range(spec.laneRows), (i) => `      phi${i}[lane_phi + c] *= fall[${i}];`)}
    }
    for (var j = chunk_begin + column; j < end; j += ROW_LANES) {
      var score = vec4f();
      for (var c = 0u; c < VECTORS; c++) {
        let level = levels[c];
        let key = load_keys(bh * N + j, c);
        if (!all(are_gentle(${size("key")}, level))) {
          ${ofRows} { score[i] += dot(steep_product(${query}, key, level, largest0[i]), vec4f(1.0)); }
        }
      }
      score = ${seen(spec, "score", "j")};
      denominator0 += score;
      let at = lane_row * SCORE_PITCH + j - chunk_begin;
      scores[at] = fma(scores[at], fall, score);
    }
  }`;
}

/** Statements that multiply the features by what the state is relative to, and add their products with its sums to `denominator0`. */
function stateSums(spec: CausalApplyKernelSpec): string {
  return `
  ${OWN_COLUMNS} {
    let key_sum = features_only(states[state + STATE_SUM / 4u + c], c);
    let factor = features_only(${sizeFactor(spec.featureMap, "states[state + c] - levels[c]")}, c);
${unroll(
  range(spec.laneRows),
  (i) => `    {
      let feature = phi${i}[lane_phi + c] * factor;
      phi${i}[lane_phi + c] = feature;
      denominator0[${i}] += dot(feature, key_sum);
    }`,
)}
  }`;
}

/** Statements that add the values that the rows see to `sum<i>`. Values that a row does not see may be NaN, which 0 does not silence. */
function addValues(spec: CausalApplyKernelSpec): string {
  const rows = range(spec.laneRows);
  const add = (until: string, body: readonly string[]) => `      for (; j < min(stop, ${until}); j++) {
        let score = scores[lane_row * SCORE_PITCH + j - chunk_begin];
        let value = tile_vectors[(j - tile) * VALUE_PITCH + min(column, VALUE_VECTORS - 1u)];
${body.join("\n")}
      }`;
  const sum = (i: number) => `fma(vec4f(score[${i}]), value, sum${i})`;
  const plain = (i: number) => `        sum${i} = ${sum(i)};`;
  return `    for (var tile = chunk_begin; tile < end; tile += VALUE_ROWS) {
      for (var i = lane; i < VALUE_ROWS * VALUE_VECTORS; i += LANES) {
        let j = tile + i / VALUE_VECTORS;
        let c = first_value + i % VALUE_VECTORS;
        var vector = vec4f();
        if (j < end && c < ALL_VALUE_VECTORS) { vector = load_values(bh * N + j, c); }
        tile_vectors[i / VALUE_VECTORS * VALUE_PITCH + i % VALUE_VECTORS] = vector;
      }
      workgroupBarrier();
      let stop = min(tile + VALUE_ROWS, end);
      var j = tile;
${add("tile_row", rows.map(plain))}
${unroll(rows, (own) =>
  add(
    `tile_row + ${u32(own + 1)} * LANE_ROWS`,
    rows.slice(own).map((i) => (i === own ? `        sum${i} = select(sum${i}, ${sum(i)}, j <= ${laneRow(i)});` : plain(i))),
  ),
)}
      workgroupBarrier();
    }`;
}

/** Statements that divide the scores by the sums of the rows: they may exceed 1 by far, and so may their products with values. */
const NORMALISE_SCORES = `  let share0 = 1.0 / denominator0;
  for (var j = chunk_begin + column; j < end; j += ROW_LANES) { scores[lane_row * SCORE_PITCH + j - chunk_begin] *= share0; }
  workgroupBarrier();`;

export function causalApplyKernel(spec: CausalApplyKernelSpec): Kernel {
  const { headDim, valueDim, laneRows, precision } = spec;
  const statistics = spec.into === "statistics";
  const carried = spec.chunks > 1;
  const rows = range(laneRows);
  const valueLanes = valueVectors(spec);
  const body = wgsl`${causalStart(spec)}
  let chunk = tile_row / CHUNK_ROWS;
  let chunk_begin = chunk * CHUNK_ROWS;
  let block = tile_row - tile_row % KEY_ROWS;
  let end = select(chunk_begin, min(tile_row + ROWS, tokens), tile_row < tokens); // of the keys that the tile may see
#if ${carried}
  let state = (head * CHUNKS + chunk) * (STATE / 4u);
#endif
  var denominator0 = vec4f();
${rowFeatures(spec)}
${keyScores(spec)}
${steepScores(spec)}
${carried ? stateSums(spec) : ""}
${together(spec, "denominator", (a, b) => `${a} + ${b}`)}
${NORMALISE_SCORES}
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
${unroll(rows, (i) => `      sum${i} = product_sum${i} * share0[${i}];`)}
    }
#endif
${addValues(spec)}
${unroll(
  rows,
  (i) => wgsl`    {
      let row = ${laneRow(i)};
      let result = select(sum${i}, vec4f(), denominator0[${i}] == 0.0 || row >= tokens);
#if ${statistics}
      // Beyond E stands what padding of the state held.
      if (mine && row < tokens) { product0[${i}] += dot(load_gradients(bh * N + row, e), ${valueDim % 4 === 0 ? "result" : `select(vec4f(), result, ${withinRow("e", u32(valueDim))})`}); }
#else
      if (mine && row < N) { store_out(bh * N + row, e, result); }
#endif
    }`,
)}
  }
${statistics ? together(spec, "product", (a, b) => `${a} + ${b}`) + "\n" + storeStatistics(spec, laneRows, laneRow) : ""}
`;
  return makeKernel({
    id: "attention/causal/apply",
    ...causalProduct(spec, `${spec.rows}×${spec.rowLanes} of ${spec.chunkRows}`),
    workgroupSize: tileLanes(spec),
    declarations: [
      wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const CHUNKS = ${u32(spec.chunks)};
${causalConstants(spec)}
const ALL_VALUE_VECTORS = ${u32(vectorsOf(valueDim))};
const VALUE_VECTORS = ${u32(valueLanes)};
const VALUE_PITCH = ${u32(valueLanes | 1)};
const VALUE_ROWS = ${u32(valueRows(spec))};
const SCORE_PITCH = ${u32(scorePitch(spec.chunkRows))};
${keyStateConstants(spec.state)}`,
      ...variables(spec),
      ...featureTileDeclarations({ ...spec, precision: precision.queries }),
      causalProductFunctions(spec),
    ],
    body,
  });
}
