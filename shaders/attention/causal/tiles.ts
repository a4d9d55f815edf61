/**
 * What the kernels of causal linear attention share that pair the rows of a tile with others of their chunk. A workgroup does `rows` rows; lanes are
 * as in attention/query-features.ts. The others come KEY_ROWS at a time, of which a lane has LANE_KEYS, ROW_LANES apart, and their vectors
 * TILE_VECTORS at a time.
 *
 * Nothing may depend on later keys, so the exponents of a key and a query cannot be those relative to the largest key of the tile. Between them stands
 * the level P_d, a whole number about as large as the largest of keys that all rows of the tile see. Of SIKF, exp(q_id + P_d − r_i), the feature of the
 * query, times exp(k_jd − P_d), that of the key, which may exceed 1, are a plain product. A key that rises more than GENTLE above its level is *steep*:
 * it would make sums overflow, or what the feature of a query has lost below exp(−87) count. It has the feature zero there, and what it adds goes pair
 * by pair: Σ_d exp(q_id + k_jd − r_i), over its steep features. Steep is a key by itself, so rows before it do not change by a bit. Of the other maps
 * levels and references are powers of two: φ(q_id)·2^(P_d − r_i) times φ(k_jd)·2^−P_d.
 */
import { featureSize, featureSlope, type KernelFeatureMap } from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import type { LaneTile } from "../query-features.ts";
import { EXPONENTIAL_OF_PARTS4 } from "../../wgsl/exponential.ts";
import type { WorkgroupVariable } from "../../wgsl/kernel.ts";
import { tokensOf } from "../../wgsl/lengths.ts";
import { vectorArray, vectorsOf } from "../../wgsl/rows.ts";
import { f32, LOWEST, u32, wgsl } from "../../wgsl/wgsl.ts";

/** How far a key may rise above its level: gradients of values up to 10²⁸ stay finite, and what is lost is below exp(GENTLE − 87). */
const GENTLE = 20;
/** The same in powers of two. */
const GENTLE_BITS = 29;

/** A tile of rows, and a tile of others, `rowLanes` × `laneKeys`. The number of rows divides that of others. */
export interface CausalTile extends LaneTile {
  /** Others of a lane. */
  readonly laneKeys: number;
  /** vec4f of an other that stand in workgroup memory at a time. */
  readonly tileVectors: number;
}

/** The sizes that the workgroup memory of a causal kernel depends on. */
export interface CausalMemory extends CausalTile, Omit<HeadShape, "length"> {
  /** Rows of a chunk, a multiple of {@link tileKeys}. */
  readonly chunkRows: number;
}

/** Others of a tile. */
export function tileKeys({ rowLanes, laneKeys }: Pick<CausalTile, "rowLanes" | "laneKeys">): number {
  return rowLanes * laneKeys;
}

/** The workgroup variable `scores`: a vec4f for the rows of a lane and each other of the chunk. */
export function scoresVariable({ rows, laneRows, chunkRows }: CausalMemory): WorkgroupVariable {
  return vectorArray("scores", (rows / laneRows) * scorePitch(chunkRows));
}

/** vec4f from the scores of a lane's rows to those of the next lane's. */
export function scorePitch(chunkRows: number): number {
  return chunkRows | 1;
}

/** Workgroup variables of levels: `levels`, a vec4f for every four features, and whether a key is `steep`. */
export function levelVariables({ headDim }: CausalMemory): readonly WorkgroupVariable[] {
  return [vectorArray("levels", vectorsOf(headDim)), { name: "steep", element: "atomic<u32>", count: 1 }];
}

/** WGSL expression of the size of a key, or query, in whole numbers: what levels and references are found from. */
export function wholeSize(featureMap: KernelFeatureMap, x: string): string {
  return featureMap === "sikf" ? `round(${x})` : featureSize(featureMap, x);
}

/**
 * WGSL functions of features relative to levels and references. They need those of attention/feature-map.ts, and {@link levelVariables}.
 * `steep_slope4(x)` is what makes of the product of steep features its derivative with respect to the row x: φ′(x)/φ(x).
 */
export function levelFunctions(featureMap: KernelFeatureMap): string {
  return featureMap === "sikf" ? EXPONENTIAL_LEVELS : powerLevels(featureMap);
}

/**
 * WGSL expression of the derivative of a feature that is relative to `level`, of a query to `reference` too: of ReLU by its row, because features may be
 * less than a float. That of a key is 0 where it is steep.
 */
export function levelSlope(featureMap: KernelFeatureMap, of: "query" | "key", row: string, feature: string, reference: string): string {
  const gentle = of === "query" ? row : `select(vec4f(), ${row}, are_gentle(${wholeSize(featureMap, row)}, level))`;
  return featureSlope(featureMap, featureMap === "relu" ? gentle : feature, of === "query" ? `level - ${reference}` : "-level");
}

function powerLevels(featureMap: KernelFeatureMap): string {
  const slope = featureMap === "relu" ? "select(vec4f(), 1.0 / x, x > vec4f())" : "1.0 / (max(x, vec4f()) + 1.0)";
  return `
fn query_feature(query: vec4f, level: vec4f, reference: f32) -> vec4f { return relative_feature4(query, level - reference); }

fn are_gentle(size: vec4f, level: vec4f) -> vec4<bool> { return size - level <= vec4f(${f32(GENTLE_BITS)}); }

fn key_feature(key: vec4f, level: vec4f) -> vec4f {
  let gentle = are_gentle(feature_exponent4(key), level);
  if (!all(gentle)) { atomicStore(&steep[0], 1u); }
  return select(vec4f(), relative_feature4(key, -level), gentle);
}

fn steep_product(query: vec4f, key: vec4f, level: vec4f, reference: f32) -> vec4f {
  let size = feature_exponent4(key);
  return select(relative_feature4(query, size - reference) * relative_feature4(key, -size), vec4f(), are_gentle(size, level));
}

fn steep_slope4(x: vec4f) -> vec4f { return ${slope}; }
`;
}

const EXPONENTIAL_LEVELS = wgsl`${EXPONENTIAL_OF_PARTS4}
fn query_feature(query: vec4f, level: vec4f, reference: f32) -> vec4f {
  let whole = round(query);
  return exponential_of_parts4(whole + level - reference, query - whole);
}

fn are_gentle(whole_key: vec4f, level: vec4f) -> vec4<bool> { return whole_key - level <= vec4f(${f32(GENTLE)}); }

// It says so if the key is steep.
fn key_feature(key: vec4f, level: vec4f) -> vec4f {
  let whole = round(key);
  let gentle = are_gentle(whole, level);
  if (!all(gentle)) { atomicStore(&steep[0], 1u); }
  return select(vec4f(), exponential_of_parts4(whole - level, key - whole), gentle);
}

// What key_feature leaves out of the product with query_feature.
fn steep_product(query: vec4f, key: vec4f, level: vec4f, reference: f32) -> vec4f {
  let whole_query = round(query);
  let whole = round(key);
  let product = exponential_of_parts4(whole_query + whole - reference, (query - whole_query) + (key - whole));
  return select(product, vec4f(), are_gentle(whole, level));
}
`;

/**
 * Statements that find the levels of a tile of rows. `key` is the WGSL expression of vector c of key j, and `earlier` that of the maximum of the keys
 * before the chunk. A feature of ReLU that none of these keys has gets the level of the largest that one has; where they have none at all, keys that
 * have are steep. The levels are there after the next barrier.
 */
export function findLevels(featureMap: KernelFeatureMap, key: (j: string) => string, earlier: string): string {
  const size = (j: string) => featureSize(featureMap, key(j));
  const level = {
    sikf: "round(features_only(level, c))",
    "elu+1": "features_only(level, c)",
    relu: `select(vec4f(${LOWEST}), level, are_features(c))`,
  };
  return wgsl`  for (var c = lane; c < VECTORS; c += LANES) {
    var level = ${earlier};
    if (tile_row < tokens) { level = max(level, max(${size("chunk_begin")}, ${size("tile_row")})); }
    levels[c] = ${level[featureMap]};
  }
#if ${featureMap === "relu"}
  workgroupBarrier();
  var largest_level = vec4f(${LOWEST});
  for (var c = 0u; c < VECTORS; c++) { largest_level = max(largest_level, levels[c]); }
  largest_level = max(max(largest_level, largest_level.yzwx), max(largest_level.zwxy, largest_level.wxyz));
  workgroupBarrier();
  for (var c = lane; c < VECTORS; c += LANES) { levels[c] = select(levels[c], largest_level, levels[c] == vec4f(${LOWEST})); }
#endif`;
}

/** WGSL constants of the two tiles. */
export function causalConstants({ chunkRows, tileVectors, ...tile }: CausalMemory): string {
  return wgsl`const CHUNK_ROWS = ${u32(chunkRows)};
const KEY_ROWS = ${u32(tileKeys(tile))};
const TILE_VECTORS = ${u32(tileVectors)};
const TILE_PITCH = ${u32(tileVectors | 1)};`;
}

/** Statements that start a kernel with workgroup → (head, row tile): which rows the lane has, and where they stand. */
export function causalStart(spec: Pick<HeadShape, "length"> & Pick<LaneTile, "rows"> & { readonly variableLengths: boolean }): string {
  const rowTiles = u32(Math.ceil(spec.length / spec.rows));
  return wgsl`  let row_tile = group % ${rowTiles};
  let head = group / ${rowTiles};
  let bh = params.firstHead + head;
  let tokens = ${tokensOf(spec)};
  let lane_row = lane / ROW_LANES;
  let column = lane % ROW_LANES;
  let tile_row = row_tile * ROWS;
  let first_row = tile_row + lane_row;
  let lane_phi = lane_row * PITCH;`;
}

/** Statements of a loop over `vectors` vec4f of rows, as many as a tile of others has at a time: `count` of them, from `first` on. */
export function vectorTiles(vectors: string, body: string): string {
  return `    for (var first = 0u; first < ${vectors}; first += TILE_VECTORS) {
      let count = min(TILE_VECTORS, ${vectors} - first);
${body}
    }`;
}
