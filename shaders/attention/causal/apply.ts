/**
 * Causal linear attention of a tile of rows, from the state of the chunks before its own and the keys of its chunk:
 *
 *   out_i = [Σ_d φ(q_id) s_de + Σ_{j≤i} A_ij v_je] / [Σ_d φ(q_id) z_d + Σ_{j≤i} A_ij],   A_ij = Σ_d φ(q_id) φ(k_jd),
 *
 * with j from the start of the chunk. It can write the statistics of the rows for the way back instead
 * (linear-attention-query-gradient.ts).
 *
 * SIKF: nothing may depend on later keys, so every row has maxima of its own, m_id = max over j ≤ i, and the reference
 * r_i ≈ max_d(q_id + m_id). Keys from `block` on, the last multiple of KEY_ROWS, go pair by pair: Σ_d exp(q_id + k_jd − r_i), whatever
 * they are. For those before, P_d, their maximum and that of the state's chunks, stands between: exp(q_id + P_d − r_i), the feature of the
 * query, times exp(k_jd − P_d) ≤ 1 is a plain product, and so is that with the state, times exp(m_d − P_d). A feature that rises above
 * P_d only makes factors smaller. Sums are taken in whole and fractional parts (feature-map.ts).
 *
 * Layout: queries, keys [B·H, N, D], values, out, gradients [B·H, N, E], states [heads of the dispatch, chunks, state], each that of
 * earlier chunks (linear-attention-scan.ts); no states where there is one chunk only. A workgroup does `rows` rows of one chunk.
 * Workgroup → (head, row tile); lane → (row, column) as in query-features.ts. A column is a vector of features, then one of the KEY_ROWS
 * keys of a tile, then four values. Tiles of keys, KEY_ROWS × TILE_VECTORS, and of values go through workgroup memory; a lane keeps the A
 * of its rows and a key as one vector.
 * Bindings: 0 queries, 1 keys, 2 values, then those that there are of: states, out, gradients and statistics, lengths; then params.
 */
import { keyStateConstants, type KeyStateLayout } from "../feature-map.ts";
import { type Kernel, makeKernel, type Precision, workgroupBytes, paddedToVec4 } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthParams } from "../../wgsl/lengths.ts";
import { featureTileDeclarations, type FeatureTile, rowTileBytes, tileLanes, together, togetherBytes } from "../query-features.ts";
import { loadVector, storeVector, vectorElement } from "../../wgsl/rows.ts";
import { timesStateColumns } from "../state-products.ts";
import { LOWEST, range, u32, wgsl } from "../../wgsl/wgsl.ts";

export interface CausalTile extends Pick<FeatureTile, "rows" | "laneRows" | "rowLanes"> {
  /** vec4f of a key in a tile of them. */
  readonly tileVectors: number;
}

export interface CausalApplyKernelSpec extends Omit<FeatureTile, "precision">, CausalTile {
  /** N */
  readonly length: number;
  /** E */
  readonly valueDim: number;
  readonly state: KeyStateLayout;
  /** A multiple of `rowLanes`, which is one of `rows`. */
  readonly chunkRows: number;
  readonly chunks: number;
  readonly precision: { readonly queries: Precision; readonly keys: Precision; readonly values: Precision; readonly out: Precision };
  /** `"sum"` adds to what `out` holds. */
  readonly into: "out" | "sum" | "statistics";
}

/** vec4f of a row of values in a tile of them. */
function valueVectors({ rowLanes }: CausalTile, valueDim: number): number {
  return Math.min(rowLanes, paddedToVec4(valueDim) / 4);
}

function tileSize(tile: CausalTile, valueDim: number): number {
  return tile.rowLanes * (Math.max(tile.tileVectors, valueVectors(tile, valueDim)) | 1);
}

/** vec4f of the scores of a lane's rows. */
function scorePitch(chunkRows: number): number {
  return chunkRows | 1;
}

/** Bytes of workgroup memory. */
export function causalApplyBytes(tile: CausalTile & { readonly headDim: number; readonly valueDim: number; readonly chunkRows: number }): number {
  return workgroupBytes(
    ...rowTileBytes(tile, tile.headDim),
    togetherBytes(tile),
    16 * tileSize(tile, tile.valueDim),
    16 * (tile.rows / tile.laneRows) * scorePitch(tile.chunkRows),
    4 * paddedToVec4(tile.headDim),
  );
}

export function causalApplyKernel(spec: CausalApplyKernelSpec): Kernel {
  const { headDim, valueDim, laneRows, precision } = spec;
  const sikf = spec.featureMap === "sikf";
  const statistics = spec.into === "statistics";
  const carried = spec.chunks > 1;
  const rows = range(laneRows);
  const rowTiles = Math.ceil(spec.length / spec.rows);
  const valueLanes = valueVectors(spec, valueDim);
  const row = (i: number) => `first_row + ${u32(i)} * LANE_ROWS`;
  /** Fills the tile with the keys from `begin` on, as `key` makes them; those from `end` on are zero. Holds a barrier. */
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
  /** Vectors of features, as many as a tile of keys has at a time. */
  const featureTiles = (body: string) => `    for (var first = 0u; first < VECTORS; first += TILE_VECTORS) {
      let count = min(TILE_VECTORS, VECTORS - first);
${body}
    }`;
  const ownColumns = "for (var c = column; c < VECTORS; c += ROW_LANES)";
  const visible = rows.map((i) => `${u32(i)} * LANE_ROWS`);
  /** Of the scores of a key of the tile at `block`, those of rows that see it. */
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
${rows
  .map(
    (i) => `        {
          let q = load_row(bh * N, tokens, ${row(i)}, first + c);
          phi${i}[lane_phi + first + c] = q;
          for (; j <= ${row(i)}; j++) { m = max(m, tile_vectors[(j - block) * TILE_PITCH + c]); }
          largest0[${i}] = max(largest0[${i}], largest_feature(round(q) + round(m), first + c));
        }`,
  )
  .join("\n")}
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
${rows
  .map(
    (i) => `        {
          let q = phi${i}[lane_phi + first + c];
          let whole = round(q);
          let features = exponential4((whole + whole_key - largest0[${i}]) + ((q - whole) + rest_key));
          score[${i}] += dot(features_only(features, first + c), vec4f(1.0));
        }`,
  )
  .join("\n")}
      }
      workgroupBarrier();`)}
    score = ${seen("score", "block + column")};
    denominator0 = score;
    scores[lane_row * SCORE_PITCH + block - chunk_begin + column] = score;
  }
  // Features of the queries for all that is before.
  ${ownColumns} {
    let maximum = maxima[c];
    let whole_maximum = round(maximum);
    let rest = maximum - whole_maximum;
${rows
  .map(
    (i) => `    {
      let q = phi${i}[lane_phi + c];
      let whole = round(q);
      phi${i}[lane_phi + c] = features_only(exponential4((whole + whole_maximum - largest0[${i}]) + ((q - whole) + rest)), c);
    }`,
  )
  .join("\n")}
  }`;
  const features = `
  ${ownColumns} {
${rows.map((i) => `    phi${i}[lane_phi + c] = features_only(feature4(load_row(bh * N, tokens, ${row(i)}, c)), c);`).join("\n")}
  }`;
  const products = wgsl`
  for (var tile = chunk_begin; tile < ${sikf ? "min(block, end)" : "end"}; tile += KEY_ROWS) {
    var score = vec4f();
${featureTiles(`${loadKeys("tile", `features_only(${sikf ? "exponential4(vector - maxima[c])" : "feature4(vector)"}, c)`)}
      for (var c = 0u; c < count; c++) {
        let key = tile_vectors[column * TILE_PITCH + c];
${rows.map((i) => `        score[${i}] += dot(phi${i}[lane_phi + first + c], key);`).join("\n")}
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
${rows
  .map(
    (i) => `    {
      let feature = phi${i}[lane_phi + c]${sikf ? " * factor" : ""};
      phi${i}[lane_phi + c] = feature;
      denominator0[${i}] += dot(feature, key_sum);
    }`,
  )
  .join("\n")}
  }
#endif`;
  /** Adds the values of the tile to the sums of the rows; where some do not see them all, 0 times them would not do: they may be NaN. */
  const addValues = (begin: string, masked: boolean) => `      for (var j = 0u; j < min(KEY_ROWS, end - ${begin}); j++) {
        let score = scores[lane_row * SCORE_PITCH + ${begin} - chunk_begin + j];
        let value = tile_vectors[j * VALUE_PITCH + min(column, ${u32(valueLanes - 1)})];
${rows
  .map((i) => {
    const sum = `fma(vec4f(score[${i}]), value, sum${i})`;
    return `        sum${i} = ${masked ? `select(sum${i}, ${sum}, ${begin} + j <= ${row(i)})` : sum};`;
  })
  .join("\n")}
      }`;
  const body = wgsl`  let row_tile = group % ${u32(rowTiles)};
  let head = group / ${u32(rowTiles)};
  let bh = params.firstHead + head;
  let tokens = ${spec.variableLengths ? "length_of(bh)" : "N"};
  let lane_row = lane / ROW_LANES;
  let column = lane % ROW_LANES;
  let tile_row = row_tile * ROWS;
  let first_row = tile_row + lane_row;
  let lane_phi = lane_row * PITCH;
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
${rows.map((i) => `    var sum${i} = vec4f();`).join("\n")}
#if ${carried}
    if (mine) {
${timesStateColumns(spec, { rows: "phi", at: "lane_phi", sum: "product_sum" })}
${rows.map((i) => `      sum${i} = product_sum${i};`).join("\n")}
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
${rows
  .map(
    (i) => wgsl`    {
      let row = ${row(i)};
      let result = select(sum${i} / denominator0[${i}], vec4f(), denominator0[${i}] == 0.0 || row >= tokens);
#if ${statistics}
      // Beyond E stands what padding of the state held.
      if (mine && row < tokens) { product0[${i}] += dot(load_gradients(bh * N + row, e), ${valueDim % 4 === 0 ? "result" : `select(vec4f(), result, vec4u(4u * e) + vec4u(0u, 1u, 2u, 3u) < vec4u(${u32(valueDim)}))`}); }
#else
      if (mine && row < N) { store_out(bh * N + row, e, result); }
#endif
    }`,
  )
  .join("\n")}
  }
#if ${statistics}
${together(spec, "product", (a, b) => `${a} + ${b}`)}
${rows
  .map(
    (i) => `  if (column == 0u && ${row(i)} < N) {
    let denominator = denominator0[${i}];
    let p = select(1.0 / denominator, 0.0, denominator == 0.0 || ${row(i)} >= tokens);
    let n = select(-product0[${i}] * p, 0.0, p == 0.0);
    statistics[bh * N + ${row(i)} - params.statisticsBase] = vec4f(${sikf ? `largest0[${i}]` : "0.0"}, p, n, 0.0);
  }`,
  )
  .join("\n")}
#endif
`;
  const into = { out: "", sum: " + bias", statistics: ", statistics" }[spec.into];
  return makeKernel({
    label: `linear attention causal apply ${spec.featureMap}${into} ${spec.rows}×${spec.rowLanes} of ${spec.chunkRows}`,
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
    declarations: wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const CHUNKS = ${u32(spec.chunks)};
const CHUNK_ROWS = ${u32(spec.chunkRows)};
const KEY_ROWS = ${u32(spec.rowLanes)};
const TILE_VECTORS = ${u32(spec.tileVectors)};
const TILE_PITCH = ${u32(spec.tileVectors | 1)};
const ALL_VALUE_VECTORS = ${u32(paddedToVec4(valueDim) / 4)};
const VALUE_VECTORS = ${u32(valueLanes)};
const VALUE_PITCH = ${u32(valueLanes | 1)};
const SCORE_PITCH = ${u32(scorePitch(spec.chunkRows))};
${keyStateConstants(spec.state)}
var<workgroup> tile_vectors: array<vec4f, ${u32(tileSize(spec, valueDim))}>;
var<workgroup> scores: array<vec4f, ${u32((spec.rows / laneRows) * scorePitch(spec.chunkRows))}>;
#if ${sikf}
var<workgroup> maxima: array<vec4f, ${u32(paddedToVec4(headDim) / 4)}>;
#endif
${featureTileDeclarations({ ...spec, precision: precision.queries })}${loadVector("load_keys", "keys", headDim, precision.keys)}${loadVector("load_values", "values", valueDim, precision.values)}${
      statistics ? loadVector("load_gradients", "gradients", valueDim) : storeVector("store_out", "out", valueDim, spec.into === "sum", precision.out)
    }`,
    body,
  });
}
