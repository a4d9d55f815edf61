/**
 * φ of a tile of rows, in workgroup memory. Lane → (lane_row, column), column fastest; a lane has `laneRows` rows, LANE_ROWS apart. The
 * ROW_LANES lanes of a row share its vectors out, column, column + ROW_LANES, …, and bring together what they found.
 */
import { featureFunctions, type KernelFeatureMap } from "./feature-map.ts";
import { lengthFunction } from "../wgsl/lengths.ts";
import { type Precision, paddedToVec4 } from "../wgsl/kernel.ts";
import { loadVector } from "../wgsl/rows.ts";
import { LOWEST, range, u32, wgsl } from "../wgsl/wgsl.ts";

export interface FeatureTile {
  /** D */
  readonly headDim: number;
  readonly featureMap: KernelFeatureMap;
  readonly variableLengths: boolean;
  /** A multiple of laneRows. */
  readonly rows: number;
  readonly laneRows: number;
  /** Lanes of a row. */
  readonly rowLanes: number;
  /** Of the rows; f32 when left out. */
  readonly precision?: Precision;
}

export function tileLanes(tile: Pick<FeatureTile, "rows" | "laneRows" | "rowLanes">): number {
  return (tile.rows / tile.laneRows) * tile.rowLanes;
}

/** vec4f of a row in workgroup memory: an odd number, so that rows start in different banks. */
export function rowPitch(dim: number): number {
  return (paddedToVec4(dim) / 4) | 1;
}

/** Bytes of the workgroup variables that hold a tile of rows: one for each row of a lane. */
export function rowTileBytes(tile: Pick<FeatureTile, "rows" | "laneRows">, dim: number): readonly number[] {
  return range(tile.laneRows).map(() => 16 * (tile.rows / tile.laneRows) * rowPitch(dim));
}

/** Bytes of the variable through which the lanes of a row come together. */
export function togetherBytes(tile: Pick<FeatureTile, "rows" | "laneRows" | "rowLanes">): number {
  return 16 * Math.ceil(tile.laneRows / 4) * tileLanes(tile);
}

/** A variable for each row of a lane: one index serves them all, and is checked once. */
export function rowTile(name: string, tile: Pick<FeatureTile, "rows" | "laneRows">, dim: number): string {
  return range(tile.laneRows)
    .map((i) => `var<workgroup> ${name}${i}: array<vec4f, ${u32((tile.rows / tile.laneRows) * rowPitch(dim))}>;`)
    .join("\n");
}

/** The number of row i among those that stand in vectors `<name>0`, …. */
export function ofRow(name: string, i: number): string {
  return `${name}${Math.floor(i / 4)}[${i % 4}]`;
}

/** The vectors that hold a number for each row of a lane. */
export function rowVectors({ laneRows }: Pick<FeatureTile, "laneRows">): readonly number[] {
  return range(Math.ceil(laneRows / 4));
}

/** Brings `<name>0`, … of the lanes of a row together. Holds barriers. */
export function together(tile: Pick<FeatureTile, "laneRows">, name: string, join: (a: string, b: string) => string): string {
  const vectors = rowVectors(tile);
  return `  workgroupBarrier();
${vectors.map((v) => `  shared_vectors[${u32(vectors.length)} * lane + ${u32(v)}] = ${name}${v};`).join("\n")}
  workgroupBarrier();
  for (var i = 1u; i < ROW_LANES; i++) {
    let other = ${u32(vectors.length)} * (lane_row * ROW_LANES + (column + i) % ROW_LANES);
${vectors.map((v) => `    ${name}${v} = ${join(`${name}${v}`, `shared_vectors[other + ${u32(v)}]`)};`).join("\n")}
  }`;
}

/**
 * Statements that put φ(q) of the rows first_row + i·LANE_ROWS of head `bh` into `phi<i>[lane_phi + c]`, relative to the state at `state`
 * (in vec4f), and set `denominator<v>`, for SIKF `largest<v>` too. Rows from `tokens` on count as zero. The features are there after the
 * next barrier.
 */
export function queryFeatures(tile: FeatureTile): string {
  const sikf = tile.featureMap === "sikf";
  const rows = range(tile.laneRows);
  const vectors = rowVectors(tile);
  return wgsl`
#if ${sikf}
${vectors.map((v) => `  var largest${v} = vec4f(${LOWEST});`).join("\n")}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
    let whole_maximum = round(states[state + c]);
${rows
  .map(
    (i) => `    {
      let q = load_row(bh * N, tokens, first_row + ${u32(i)} * LANE_ROWS, c);
      phi${i}[lane_phi + c] = q;
      ${ofRow("largest", i)} = max(${ofRow("largest", i)}, largest_feature(round(q) + whole_maximum, c));
    }`,
  )
  .join("\n")}
  }
${together(tile, "largest", (a, b) => `max(${a}, ${b})`)}
#endif
${vectors.map((v) => `  var denominator${v} = vec4f();`).join("\n")}
  for (var c = column; c < VECTORS; c += ROW_LANES) {
    let key_sum = features_only(states[state + STATE_SUM / 4u + c], c);
#if ${sikf}
    let maximum = features_only(states[state + c], c);
    let whole_maximum = round(maximum);
    let rest = maximum - whole_maximum;
#endif
${rows
  .map(
    (i) => `    {
${
  sikf
    ? `      let q = phi${i}[lane_phi + c];
      let whole = round(q);
      let feature = features_only(exponential4((whole + whole_maximum - ${ofRow("largest", i)}) + ((q - whole) + rest)), c);`
    : `      let feature = features_only(feature4(load_row(bh * N, tokens, first_row + ${u32(i)} * LANE_ROWS, c)), c);`
}
      phi${i}[lane_phi + c] = feature;
      ${ofRow("denominator", i)} += dot(feature, key_sum);
    }`,
  )
  .join("\n")}
  }
${together(tile, "denominator", (a, b) => `${a} + ${b}`)}`;
}

/** Declarations for it; rows come from the binding `queries`. Needs the constants N and D, and those of the state. */
export function featureTileDeclarations(tile: FeatureTile): string {
  const { headDim } = tile;
  return wgsl`const ROWS = ${u32(tile.rows)};
const LANE_ROWS = ${u32(tile.rows / tile.laneRows)};
const ROW_LANES = ${u32(tile.rowLanes)};
const VECTORS = ${u32(paddedToVec4(headDim) / 4)}; // of a query
const PITCH = ${u32(rowPitch(headDim))};
${rowTile("phi", tile, headDim)}
var<workgroup> shared_vectors: array<vec4f, ${u32(togetherBytes(tile) / 16)}>;
${featureFunctions(tile.featureMap)}${lengthFunction(tile)}${loadVector("load_queries", "queries", headDim, tile.precision)}
fn load_row(first: u32, tokens: u32, row: u32, c: u32) -> vec4f {
  if (row < tokens) { return load_queries(first + row, c); }
  return vec4f();
}

// Of the features 4·c … 4·c + 3 those below D.
fn are_features(c: u32) -> vec4<bool> { return vec4u(4u * c) + vec4u(0u, 1u, 2u, 3u) < vec4u(D); }

// The same, with zero for the others.
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
`;
}
