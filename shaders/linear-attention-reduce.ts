/**
 * Tiled reduction over keys: for one head, one chunk of rows and one tile of features × values,
 *
 *   z_d = Σ_j φ(k_jd),   s_de = Σ_j φ(k_jd) v_je      (Katharopoulos et al. 2020),
 *
 * relative to the chunk's own maximum m_d for SIKF (feature-map.ts). The split along N fills a GPU also when there are few heads;
 * linear-attention-combine.ts adds the chunks.
 *
 * Rows go through workgroup memory `tileRows` at a time; a lane keeps `laneFeatures` × `laneValues` sums in registers. Each tile of
 * rows is summed on its own before it joins the total, which keeps the rounding error of long chunks down.
 *
 * Layout: keys [B·H, N, D], values [B·H, N, E], states [B·H, chunks, state] (KeyStateLayout).
 * Workgroup → (bh, chunk, feature tile, value tile), value tile fastest; lane → (feature, value) group, value fastest.
 * Bindings: 0 keys, 1 values, 2 states, 3 params.
 */
import { ELU_PLUS_ONE, EXPONENTIAL, keyStateConstants, type KeyStateLayout } from "./feature-map.ts";
import { type Kernel, makeKernel, workgroupBytes } from "./kernel.ts";
import { keyMaximum } from "./key-maximum.ts";
import { range, u32, wgsl } from "./wgsl.ts";

export interface ReduceKernelSpec {
  /** N */
  readonly length: number;
  /** D, E */
  readonly headDim: number;
  readonly valueDim: number;
  readonly featureMap: "sikf" | "elu+1";
  readonly state: KeyStateLayout;
  /** Rows per chunk, and chunks per head. */
  readonly chunkRows: number;
  readonly chunks: number;
  readonly featureTile: number;
  readonly valueTile: number;
  readonly tileRows: number;
  readonly laneFeatures: number;
  /** 1, 2 or 4 */
  readonly laneValues: number;
}

export function reduceLanes(spec: Pick<ReduceKernelSpec, "featureTile" | "valueTile" | "laneFeatures" | "laneValues">): number {
  return (spec.featureTile / spec.laneFeatures) * (spec.valueTile / spec.laneValues);
}

/** Bytes of workgroup memory. */
export function reduceBytes(spec: Pick<ReduceKernelSpec, "featureTile" | "valueTile" | "tileRows">): number {
  return workgroupBytes(4 * spec.tileRows * spec.featureTile, 4 * spec.tileRows * spec.valueTile, 4 * spec.featureTile);
}

const VECTOR = { 1: "f32", 2: "vec2f", 4: "vec4f" } as const;

export function reduceKernel(spec: ReduceKernelSpec): Kernel {
  const lanes = reduceLanes(spec);
  const sikf = spec.featureMap === "sikf";
  const vector = VECTOR[spec.laneValues as 1 | 2 | 4];
  const valueVectors = spec.valueTile / spec.laneValues;
  const features = range(spec.laneFeatures);
  const component = (j: number) => (spec.laneValues === 1 ? "" : `[${j}]`);
  const featureTiles = Math.ceil(spec.headDim / spec.featureTile);
  const valueTiles = Math.ceil(spec.valueDim / spec.valueTile);
  const body = wgsl`  let value_tile = group % ${u32(valueTiles)};
  let feature_tile = group / ${u32(valueTiles)} % ${u32(featureTiles)};
  let chunk = group / ${u32(valueTiles * featureTiles)} % CHUNKS;
  let local_bh = group / (${u32(valueTiles * featureTiles)} * CHUNKS);
  let feature = feature_tile * FEATURE_TILE; // first feature and value of the tile
  let value = value_tile * VALUE_TILE;
  let bh = params.firstHead + local_bh;
  let first_key = bh * N * D - params.keysBase;
  let first_value = bh * N * E - params.valuesBase;
  let begin = chunk * CHUNK_ROWS;
  let end = min(begin + CHUNK_ROWS, N);
#if ${sikf}
  find_key_maximum(lane, first_key, begin, end, feature);
#endif
  let lane_feature = lane / VALUE_VECTORS * ${u32(spec.laneFeatures)};
  let lane_value = lane % VALUE_VECTORS;
${features.map((i) => `  var z${i} = 0.0;\n  var s${i} = ${vector}();`).join("\n")}
  for (var tile = begin; tile < end; tile += TILE_ROWS) {
    for (var i = lane; i < TILE_ROWS * FEATURE_TILE; i += LANES) {
      let row = tile + i / FEATURE_TILE;
      let d = i % FEATURE_TILE;
      var phi = 0.0;
      if (row < end && feature + d < D) {
#if ${sikf}
        phi = exponential(keys[first_key + row * D + feature + d] - key_maximum[d]);
#else
        phi = elu_plus_one(keys[first_key + row * D + feature + d]);
#endif
      }
      key_tile[i] = phi;
    }
    for (var i = lane; i < TILE_ROWS * VALUE_TILE; i += LANES) {
      let row = tile + i / VALUE_TILE;
      let e = i % VALUE_TILE;
      var v = 0.0;
      if (row < end && value + e < E) { v = values[first_value + row * E + value + e]; }
      value_tile_rows[i / ${u32(spec.laneValues)}]${spec.laneValues === 1 ? "" : `[i % ${u32(spec.laneValues)}]`} = v;
    }
    workgroupBarrier();
${features.map((i) => `    var tile_z${i} = 0.0;\n    var tile_s${i} = ${vector}();`).join("\n")}
    for (var r = 0u; r < TILE_ROWS; r++) {
      let v = value_tile_rows[r * VALUE_VECTORS + lane_value];
${features
  .map(
    (i) =>
      `      let phi${i} = key_tile[r * FEATURE_TILE + lane_feature + ${u32(i)}];\n      tile_z${i} += phi${i};\n      tile_s${i} += phi${i} * v;`,
  )
  .join("\n")}
    }
${features.map((i) => `    z${i} += tile_z${i};\n    s${i} += tile_s${i};`).join("\n")}
    workgroupBarrier();
  }
  let state = (bh * CHUNKS + chunk) * STATE;
  let column = value + lane_value * ${u32(spec.laneValues)};
${features
  .map(
    (i) => `  {
    let d = feature + lane_feature + ${u32(i)};
    if (d < D) {
      if (value_tile == 0u && lane_value == 0u) {
        ${sikf ? `states[state + d] = key_maximum[lane_feature + ${u32(i)}];` : ""}
        states[state + STATE_SUM + d] = z${i};
      }
${range(spec.laneValues)
  .map((j) => `      if (column + ${u32(j)} < E) { states[state + STATE_PRODUCTS + d * STATE_STRIDE + column + ${u32(j)}] = s${i}${component(j)}; }`)
  .join("\n")}
    }
  }`,
  )
  .join("\n")}
`;
  return makeKernel({
    label: `linear attention reduce ${spec.featureMap} ${spec.featureTile}×${spec.valueTile}`,
    workgroupSize: lanes,
    bindings: [
      { name: "keys", access: "read", element: "f32" },
      { name: "values", access: "read", element: "f32" },
      { name: "states", access: "read_write", element: "f32" },
    ],
    params: ["firstHead", "keysBase", "valuesBase"],
    declarations: wgsl`const N = ${u32(spec.length)};
const D = ${u32(spec.headDim)};
const E = ${u32(spec.valueDim)};
const CHUNKS = ${u32(spec.chunks)};
const CHUNK_ROWS = ${u32(spec.chunkRows)};
const TILE_ROWS = ${u32(spec.tileRows)};
const FEATURE_TILE = ${u32(spec.featureTile)};
const VALUE_TILE = ${u32(spec.valueTile)};
const VALUE_VECTORS = ${u32(valueVectors)};
${keyStateConstants(spec.state)}
var<workgroup> key_tile: array<f32, ${u32(spec.tileRows * spec.featureTile)}>;
var<workgroup> value_tile_rows: array<${vector}, ${u32(spec.tileRows * valueVectors)}>;
${EXPONENTIAL}
#if ${sikf}
${keyMaximum({ tile: spec.featureTile, lanes, scratchRows: spec.tileRows, scratch: "key_tile" })}
#else
${ELU_PLUS_ONE}
#endif
`,
    body,
  });
}
