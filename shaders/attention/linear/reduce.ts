/**
 * Tiled reduction over keys: for one head, one chunk of rows and one tile of features × values,
 *
 *   z_d = Σ_j φ(k_jd),   s_de = Σ_j φ(k_jd) v_je      (Katharopoulos et al. 2020),
 *
 * relative to the chunk's own maximum m_d for SIKF (attention/feature-map.ts). The split along N fills a GPU also when there are few heads;
 * attention/linear/combine.ts adds the chunks.
 *
 * Rows go through workgroup memory `tileRows` at a time. The maximum runs along, as in online softmax: where a tile raises it, the sums
 * so far are scaled, so that keys are read once. A lane keeps 4·`featureVectors` × 4 sums in registers. Each tile of rows is summed on
 * its own before it joins the total, which keeps the rounding error of long chunks down.
 *
 * With `weighted` the rows are queries, and the values gradients, of the way back: with (r, p, n) the statistics of a row
 * (attention/linear/query-gradient.ts), u_d = Σ_i φ(q_id − r_i) n_i and U_de = Σ_i φ(q_id − r_i) p_i g_ie take the places of z and s, for SIKF
 * relative to the maximum of the whole parts of q_id − r_i.
 *
 * Layout: keys [B·H, N, D], values [B·H, N, E], states [heads of the dispatch, chunks, state] (KeyStateLayout).
 * Workgroup → (bh, chunk, feature tile, value tile), value tile fastest. Lane → (row group, features, values), values fastest: where the
 * tile is small, groups of lanes share its rows. While it loads keys, lane → (row, four features), features fastest.
 * Bindings: 0 keys, 1 values, 2 states, then those that there are of: statistics, lengths; then params.
 */
import { chunkConstants, type ChunkedStates, featureFunctions, type KernelFeatureMap, keyStateConstants } from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { type Kernel, makeKernel, type Precision, workgroupBytes, type WorkgroupVariable } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams, tokensOf } from "../../wgsl/lengths.ts";
import { loadVector, type Strided, vectorArray, vectorElement } from "../../wgsl/rows.ts";
import { LOWEST, range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface ReduceKernelSpec extends HeadShape, ChunkedStates, Strided {
  readonly featureMap: KernelFeatureMap;
  /** Whether the rows are queries of the way back, with the weights of their statistics. */
  readonly weighted: boolean;
  readonly variableLengths: boolean;
  readonly precision: { readonly keys: Precision; readonly values: Precision };
  /** Features of a workgroup, a multiple of 4·featureVectors. */
  readonly featureTile: number;
  /** Values of a workgroup, a multiple of 4·featureVectors, so that the lanes fill whole rows of keys. */
  readonly valueTile: number;
  /** Rows in workgroup memory at a time, a multiple of {@link reduceLoadRows}. */
  readonly tileRows: number;
  /** Groups of four features that a lane sums. */
  readonly featureVectors: 1 | 2;
  /** Groups of lanes that share the rows of a tile. */
  readonly rowGroups: number;
}

type Tile = Pick<ReduceKernelSpec, "featureTile" | "valueTile" | "tileRows" | "featureVectors" | "rowGroups">;

/** Lanes of a workgroup of a reduce kernel. */
export function reduceLanes({ featureTile, valueTile, featureVectors, rowGroups }: Omit<Tile, "tileRows">): number {
  return rowGroups * (featureTile / 4 / featureVectors) * (valueTile / 4);
}

/** Rows of keys that the lanes load at a time. */
export function reduceLoadRows(tile: Omit<Tile, "tileRows">): number {
  return reduceLanes(tile) / (tile.featureTile / 4);
}

/** Workgroup variables: a tile of rows has one for each load, because one index serves them all then, and is checked once. */
function variables(tile: Tile, sikf: boolean): readonly WorkgroupVariable[] {
  const [lanes, loadRows] = [reduceLanes(tile), reduceLoadRows(tile)];
  return [
    ...range(tile.tileRows / loadRows).flatMap((j) => [
      vectorArray(`key_tile${j}`, lanes),
      vectorArray(`values_tile${j}`, (loadRows * tile.valueTile) / 4),
    ]),
    vectorArray("shared_vectors", lanes),
    ...(sikf ? [vectorArray("factors", tile.featureTile / 4)] : []),
  ];
}

/** Bytes of workgroup memory of a reduce kernel, whatever the feature map. */
export function reduceBytes(tile: Tile): number {
  return workgroupBytes(variables(tile, true));
}

export function reduceKernel(spec: ReduceKernelSpec): Kernel {
  const { headDim, valueDim, featureTile, valueTile, tileRows, strides = {} } = spec;
  const lanes = reduceLanes(spec);
  const sikf = spec.featureMap === "sikf";
  const loadRows = reduceLoadRows(spec);
  const loads = range(tileRows / loadRows);
  const vectors = range(spec.featureVectors);
  const features = vectors.flatMap((vector) => range(4).map((i) => ({ vector, i, sum: `s${4 * vector + i}` })));
  const featureTiles = Math.ceil(headDim / featureTile);
  const valueTiles = Math.ceil(valueDim / valueTile);
  // Relative to the row's reference in whole numbers, which a maximum of 1e4 does not round; the rest goes through exp beside it.
  const whole = (j: number) => (sikf && spec.weighted ? `round(key${j}) - row_statistics${j}.x` : `key${j}`);
  const rest = (j: number) => (spec.weighted ? ` + (key${j} - round(key${j}))` : "");
  /** From one vector of features that a lane sums to the next, within a row of the tile. */
  const apart = featureTile / 4 / spec.featureVectors;
  const body = wgsl`  let value_tile = group % ${u32(valueTiles)};
  let feature_tile = group / ${u32(valueTiles)} % ${u32(featureTiles)};
  let chunk = group / ${u32(valueTiles * featureTiles)} % CHUNKS;
  let head = group / (${u32(valueTiles * featureTiles)} * CHUNKS);
  let bh = params.firstHead + head;
  let begin = chunk * CHUNK_ROWS;
  let end = min(begin + CHUNK_ROWS, ${tokensOf(spec)});
  let first_row = bh * N;
  // As a loader of keys: four features of the rows part, part + LOAD_ROWS, …
  let column = lane % KEY_VECTORS;
  let part = lane / KEY_VECTORS;
  let key_column = feature_tile * KEY_VECTORS + column;
  var z = vec4f();
#if ${sikf}
  var maximum = vec4f(${LOWEST});
#endif
  // As an adder: four values, and one or two vectors of features, of the rows row_group, row_group + ROW_GROUPS, …
  let row_group = lane / ${u32(lanes / spec.rowGroups)};
  let lane_feature = lane % ${u32(lanes / spec.rowGroups)} / VALUE_VECTORS;
  let lane_value = lane % VALUE_VECTORS;
${unroll(features, ({ sum }) => `  var ${sum} = vec4f();`)}
  for (var tile = begin; tile < end; tile += TILE_ROWS) {
${unroll(
  loads,
  (j) => wgsl`    let row${j} = tile + part + ${u32(j * loadRows)};
    let inside${j} = row${j} < end;
    var key${j} = vec4f(${LOWEST});
#if ${spec.weighted}
    var row_statistics${j} = vec4f();
    if (inside${j}) { row_statistics${j} = statistics[first_row + row${j} - params.statisticsBase]; }
#endif
    if (inside${j}) { key${j} = load_keys(first_row + row${j}, key_column); }`,
)}
#if ${sikf}
    shared_vectors[lane] = ${loads.reduce((largest, j) => (j === 0 ? whole(0) : `max(${largest}, ${whole(j)})`), "")};
    workgroupBarrier();
    var largest = maximum;
    for (var i = column; i < LANES; i += KEY_VECTORS) { largest = max(largest, shared_vectors[i]); }
    if (tile == begin) { maximum = largest; } // nothing to scale yet, and no difference that overflows
    let factor = exponential4(maximum - largest);
    maximum = largest;
    z *= factor;
    if (part == 0u) { factors[column] = factor; }
${unroll(loads, (j) => `    key${j} = exponential4(${whole(j)} - largest${rest(j)});`)}
#else
    workgroupBarrier();
${unroll(loads, (j) => `    key${j} = feature4(key${j});`)}
#endif
${unroll(
  loads,
  (j) => `    key${j} = select(vec4f(), key${j}, inside${j});
    z += key${j}${spec.weighted ? ` * row_statistics${j}.z` : ""};
    key_tile${j}[lane] = key${j}${spec.weighted ? ` * row_statistics${j}.y` : ""};`,
)}
    for (var i = lane; i < LOAD_ROWS * VALUE_VECTORS; i += LANES) {
      let row = tile + i / VALUE_VECTORS;
      let value_column = value_tile * VALUE_VECTORS + i % VALUE_VECTORS;
${unroll(
  loads,
  (j) => `      var value${j} = vec4f();
      if (row + ${u32(j * loadRows)} < end) { value${j} = load_values(first_row + row + ${u32(j * loadRows)}, value_column); }
      values_tile${j}[i] = value${j};`,
)}
    }
    workgroupBarrier();
${unroll(features, ({ sum }) => `    var tile_${sum} = vec4f();`)}
    for (var r = row_group; r < LOAD_ROWS; r += ROW_GROUPS) {
      let key_at = r * KEY_VECTORS + lane_feature;
      let value_at = r * VALUE_VECTORS + lane_value;
${unroll(
  loads,
  (j) => `      {
        let value = values_tile${j}[value_at];
${unroll(vectors, (vector) => `        let phi${vector} = key_tile${j}[key_at + ${u32(apart * vector)}];`)}
${unroll(features, ({ vector, i, sum }) => `        tile_${sum} = fma(vec4f(phi${vector}[${i}]), value, tile_${sum});`)}
      }`,
)}
    }
#if ${sikf}
${unroll(vectors, (vector) => `    let factor${vector} = factors[lane_feature + ${u32(apart * vector)}];`)}
${unroll(features, ({ vector, i, sum }) => `    ${sum} = fma(${sum}, vec4f(factor${vector}[${i}]), tile_${sum});`)}
#else
${unroll(features, ({ sum }) => `    ${sum} += tile_${sum};`)}
#endif
  }
#if ${spec.rowGroups > 1}
${unroll(
  features,
  ({ sum }) => `  workgroupBarrier();
  shared_vectors[lane] = ${sum};
  workgroupBarrier();
  for (var other = lane + ${u32(lanes / spec.rowGroups)}; other < LANES; other += ${u32(lanes / spec.rowGroups)}) { ${sum} += shared_vectors[other]; }`,
)}
#endif
  let state = (head * CHUNKS + chunk) * STATE;
  let first_value = value_tile * ${u32(valueTile)} + lane_value * 4u;
${unroll(
  features,
  ({ vector, i, sum }) => `  {
    let d = feature_tile * ${u32(featureTile)} + (lane_feature + ${u32(apart * vector)}) * 4u + ${u32(i)};
    if (row_group == 0u && d < D) {
${unroll(range(4), (j) => `      if (first_value + ${u32(j)} < E) { states[state + STATE_PRODUCTS + d * STATE_STRIDE + first_value + ${u32(j)}] = ${sum}[${j}]; }`)}
    }
  }`,
)}
  workgroupBarrier();
  shared_vectors[lane] = z;
  workgroupBarrier();
  if (part == 0u && value_tile == 0u) {
    for (var i = column + KEY_VECTORS; i < LANES; i += KEY_VECTORS) { z += shared_vectors[i]; }
    for (var i = 0u; i < min(4u, D - min(D, 4u * key_column)); i++) {
#if ${sikf}
      states[state + 4u * key_column + i] = maximum[i];
#endif
      states[state + STATE_SUM + 4u * key_column + i] = z[i];
    }
  }
`;
  return makeKernel({
    id: "attention/linear/reduce",
    label: `linear attention reduce ${spec.weighted ? "queries " : ""}${spec.featureMap} ${featureTile}×${valueTile}, ${tileRows} rows`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "keys", access: "read", element: vectorElement(headDim, spec.precision.keys, strides["keys"]) },
      { name: "values", access: "read", element: vectorElement(valueDim, spec.precision.values, strides["values"]) },
      { name: "states", access: "read_write", element: "f32" },
      ...(spec.weighted ? [{ name: "statistics", access: "read", element: "vec4f" } as const] : []),
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "keysBase", "valuesBase", ...(spec.weighted ? ["statisticsBase"] : []), ...lengthParams(spec)],
    declarations: [
      wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const E = ${u32(valueDim)};
${chunkConstants(spec)}
const TILE_ROWS = ${u32(tileRows)};
const LOAD_ROWS = ${u32(loadRows)};
const ROW_GROUPS = ${u32(spec.rowGroups)};
const KEY_VECTORS = ${u32(featureTile / 4)}; // of a row of the tile
const VALUE_VECTORS = ${u32(valueTile / 4)};
${keyStateConstants(spec.state)}`,
      ...variables(spec, sikf),
      wgsl`${featureFunctions(spec.featureMap)}${lengthFunction(spec)}${loadVector("load_keys", "keys", headDim, spec.precision.keys, strides["keys"])}${loadVector("load_values", "values", valueDim, spec.precision.values, strides["values"])}`,
    ],
    body,
  });
}
