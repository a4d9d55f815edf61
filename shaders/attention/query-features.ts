/**
 * φ of a tile of rows, in workgroup memory. Lane → (lane_row, column), column fastest; a lane has `laneRows` rows, LANE_ROWS apart. The
 * ROW_LANES lanes of a row share its vectors out, column, column + ROW_LANES, …, and bring together what they found.
 */
import { exponentialOfSum, featureFunctions, wholeAndRest, type KernelFeatureMap, MAXIMUM, takeMaximum } from "./feature-map.ts";
import type { HeadShape } from "./head-shape.ts";
import type { Declarations, Precision, WorkgroupVariable } from "../wgsl/kernel.ts";
import { lengthFunction } from "../wgsl/lengths.ts";
import { loadVector, type Strided, vectorArray, vectorsOf, withinRow } from "../wgsl/rows.ts";
import { LOWEST, range, u32, unroll, wgsl } from "../wgsl/wgsl.ts";

/** How the lanes of a workgroup share out a tile of rows. */
export interface LaneTile {
  /** Rows of the tile, a multiple of laneRows. */
  readonly rows: number;
  /** Rows of a lane. */
  readonly laneRows: number;
  /** Lanes of a row. */
  readonly rowLanes: number;
}

/** A tile of rows whose features stand in workgroup memory. */
export interface FeatureTile extends LaneTile, Strided {
  /** Numbers of a row, `D`. */
  readonly headDim: number;
  readonly featureMap: KernelFeatureMap;
  readonly variableLengths: boolean;
  /** How the rows are stored; f32 when left out. */
  readonly precision?: Precision;
}

/** A tile of rows of queries or keys, of whose head the values are known too. */
export type HeadTile = LaneTile & Omit<HeadShape, "length">;

/** Lanes of the workgroup of a tile. */
export function tileLanes(tile: LaneTile): number {
  return (tile.rows / tile.laneRows) * tile.rowLanes;
}

/** vec4f from one row of `dim` numbers to the next in workgroup memory: an odd number, so that rows start in different banks. */
export function rowPitch(dim: number): number {
  return vectorsOf(dim) | 1;
}

/**
 * Workgroup variables `<name>0`, … for a tile of rows of `dim` numbers. There is one for each row of a lane, so that one index serves all of them,
 * and is checked once.
 */
export function rowTile(name: string, { rows, laneRows }: Omit<LaneTile, "rowLanes">, dim: number): readonly WorkgroupVariable[] {
  return range(laneRows).map((i) => vectorArray(`${name}${i}`, (rows / laneRows) * rowPitch(dim)));
}

/** WGSL expression of the row i of a lane, within its sequence. */
export function laneRow(i: number): string {
  return `first_row + ${u32(i)} * LANE_ROWS`;
}

/** WGSL expression of the number of row i among those that stand in vectors `<name>0`, …, one for four rows of a lane. */
export function ofRow(name: string, i: number): string {
  return `${name}${Math.floor(i / 4)}[${i % 4}]`;
}

/** The numbers of the vectors that hold a number for each row of a lane. */
export function rowVectors({ laneRows }: Pick<LaneTile, "laneRows">): readonly number[] {
  return range(Math.ceil(laneRows / 4));
}

/** Statements that join the vectors `<name>0`, … of the lanes of a row, in each of these lanes. They hold barriers. */
export function together(tile: Pick<LaneTile, "laneRows">, name: string, join: (a: string, b: string) => string): string {
  const vectors = rowVectors(tile);
  return `  workgroupBarrier();
${unroll(vectors, (v) => `  shared_vectors[${u32(vectors.length)} * lane + ${u32(v)}] = ${name}${v};`)}
  workgroupBarrier();
  for (var i = 1u; i < ROW_LANES; i++) {
    let other = ${u32(vectors.length)} * (lane_row * ROW_LANES + (column + i) % ROW_LANES);
${unroll(vectors, (v) => `    ${name}${v} = ${join(`${name}${v}`, `shared_vectors[other + ${u32(v)}]`)};`)}
  }`;
}

/**
 * Statements that put φ(q) of the rows {@link laneRow} of head `bh` into `phi<i>[<at>]`, relative to the state at `state` (in vec4f), and
 * set `denominator<v>`, for SIKF `largest<v>` too. Rows from `tokens` on count as zero. The features are there after the next barrier.
 */
export function queryFeatures(tile: FeatureTile, at = "lane_phi + c"): string {
  const sikf = tile.featureMap === "sikf";
  const rows = range(tile.laneRows);
  const vectors = rowVectors(tile);
  return wgsl`
#if ${sikf}
${unroll(vectors, (v) => `  var largest${v} = vec4f(${LOWEST});`)}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
    let whole_maximum = round(states[state + c]);
${unroll(
  rows,
  (i) => `    {
      let q = load_row(bh * N, tokens, ${laneRow(i)}, c);
      phi${i}[${at}] = q;
      ${ofRow("largest", i)} = max(${ofRow("largest", i)}, largest_feature(round(q) + whole_maximum, c));
    }`,
)}
  }
${together(tile, "largest", (a, b) => `max(${a}, ${b})`)}
#endif
${unroll(vectors, (v) => `  var denominator${v} = vec4f();`)}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
    let key_sum = features_only(states[state + STATE_SUM / 4u + c], c);
#if ${sikf}
${takeMaximum("features_only(states[state + c], c)")}
#endif
${unroll(
  rows,
  (i) => wgsl`    {
#if ${sikf}
      let q = phi${i}[${at}];
      let whole = round(q);
      let feature = features_only(${exponentialOfSum(wholeAndRest("q", "whole"), MAXIMUM, ofRow("largest", i))}, c);
#else
      let feature = features_only(feature4(load_row(bh * N, tokens, ${laneRow(i)}, c)), c);
#endif
      phi${i}[${at}] = feature;
      ${ofRow("denominator", i)} += dot(feature, key_sum);
    }`,
)}
  }
${together(tile, "denominator", (a, b) => `${a} + ${b}`)}`;
}

/** `shared_vectors`, through which the lanes of a row come together. */
export function sharedVectors(tile: LaneTile): WorkgroupVariable {
  return vectorArray("shared_vectors", rowVectors(tile).length * tileLanes(tile));
}

/** Workgroup variables of a tile: `phi<i>`, its features, and {@link sharedVectors}. */
export function featureTileVariables(tile: LaneTile & Pick<HeadShape, "headDim">): readonly WorkgroupVariable[] {
  return [...rowTile("phi", tile, tile.headDim), sharedVectors(tile)];
}

/** Declarations for a tile whose rows come from the binding `queries`. They need the constants N and D. */
export function featureTileDeclarations(tile: FeatureTile, variables = featureTileVariables(tile)): Declarations {
  const { headDim } = tile;
  return [
    wgsl`const ROWS = ${u32(tile.rows)};
const LANE_ROWS = ${u32(tile.rows / tile.laneRows)};
const ROW_LANES = ${u32(tile.rowLanes)};
const VECTORS = ${u32(vectorsOf(headDim))}; // of a query
const PITCH = ${u32(rowPitch(headDim))};`,
    ...variables,
    wgsl`${featureFunctions(tile.featureMap)}${lengthFunction(tile)}${loadVector("load_queries", "queries", headDim, tile.precision, tile.strides?.["queries"])}
fn load_row(first: u32, tokens: u32, row: u32, c: u32) -> vec4f {
  if (row < tokens) { return load_queries(first + row, c); }
  return vec4f();
}

// Which of the features 4·c … 4·c + 3 are below D.
fn are_features(c: u32) -> vec4<bool> { return ${withinRow("c", "D")}; }

// Four features, with zero for those that are not below D.
fn features_only(vector: vec4f, c: u32) -> vec4f {
#if ${headDim % 4 === 0}
  return vector;
#else
  return select(vec4f(), vector, are_features(c));
#endif
}

fn largest_feature(vector: vec4f, c: u32) -> f32 {
#if ${headDim % 4 === 0}
  let v = vector;
#else
  let v = select(vec4f(${LOWEST}), vector, are_features(c));
#endif
  return max(max(v.x, v.y), max(v.z, v.w));
}
`,
  ];
}
