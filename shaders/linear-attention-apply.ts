/**
 * Queries times the combined key state, normalised, plus the bias:
 *
 *   out_ie = Σ_d φ(q_id) s_de / Σ_d φ(q_id) z_d  (+ out_ie, where the Toeplitz product has been put before)
 *
 * Layout: queries [B·H, N, D], states [B·H, state] (KeyStateLayout), out [B·H, N, E]. A workgroup does `rows` rows × `valueTile` values
 * of one head: φ(q) of its rows stands in workgroup memory, the state comes from cache.
 * Workgroup → (bh, row tile, value tile), value tile fastest; lane → (row, column), column fastest. A lane has `laneRows` rows, LANE_ROWS
 * apart. The lanes of a row share its queries out, column, column + VALUE_VECTORS, …, and bring together what they found for its maximum
 * and its denominator; then each sums four values of all its rows.
 * Bindings: 0 queries, 1 states, 2 out, 3 params.
 */
import { ELU_PLUS_ONE4, EXPONENTIAL4, keyStateConstants, type KeyStateLayout, paddedToVec4 } from "./feature-map.ts";
import { type Kernel, makeKernel, workgroupBytes } from "./kernel.ts";
import { loadVector, storeVector, vectorElement } from "./row-vectors.ts";
import { LOWEST, range, u32, wgsl } from "./wgsl.ts";

export interface ApplyKernelSpec {
  /** N */
  readonly length: number;
  /** D, E */
  readonly headDim: number;
  readonly valueDim: number;
  readonly featureMap: "sikf" | "elu+1";
  readonly state: KeyStateLayout;
  /** Add to what `out` holds instead of overwriting it. */
  readonly accumulate: boolean;
  /** A multiple of laneRows. */
  readonly rows: number;
  readonly laneRows: number;
  /** A multiple of 4. */
  readonly valueTile: number;
}

type Tile = Pick<ApplyKernelSpec, "rows" | "laneRows" | "valueTile">;

export function applyLanes(tile: Tile): number {
  return (tile.rows / tile.laneRows) * (tile.valueTile / 4);
}

/** vec4f of a row in workgroup memory: an odd number, so that rows start in different banks. */
function pitch(headDim: number): number {
  return (paddedToVec4(headDim) / 4) | 1;
}

/** Bytes of workgroup memory. */
export function applyBytes(tile: Tile & { readonly headDim: number }): number {
  const rows = range(tile.laneRows).map(() => 16 * (tile.rows / tile.laneRows) * pitch(tile.headDim));
  return workgroupBytes(...rows, 16 * Math.ceil(tile.laneRows / 4) * applyLanes(tile));
}

export function applyKernel(spec: ApplyKernelSpec): Kernel {
  const { headDim, valueDim, laneRows } = spec;
  const lanes = applyLanes(spec);
  const sikf = spec.featureMap === "sikf";
  const rows = range(laneRows);
  const vectors = range(Math.ceil(laneRows / 4));
  const valueTiles = Math.ceil(valueDim / spec.valueTile);
  const rowTiles = Math.ceil(spec.length / spec.rows);
  /** The number of row i among those that stand in vectors. */
  const ofRow = (name: string, i: number) => `${name}${Math.floor(i / 4)}[${i % 4}]`;
  /** Brings `<name>0`, … of the lanes of a row together. Holds barriers. */
  const together = (name: string, join: (a: string, b: string) => string) => `  workgroupBarrier();
${vectors.map((v) => `  shared_vectors[${u32(vectors.length)} * lane + ${u32(v)}] = ${name}${v};`).join("\n")}
  workgroupBarrier();
  for (var i = 1u; i < VALUE_VECTORS; i++) {
    let other = ${u32(vectors.length)} * (lane_row * VALUE_VECTORS + (column + i) % VALUE_VECTORS);
${vectors.map((v) => `    ${name}${v} = ${join(`${name}${v}`, `shared_vectors[other + ${u32(v)}]`)};`).join("\n")}
  }`;
  const body = wgsl`  let value_tile = group % ${u32(valueTiles)};
  let row_tile = group / ${u32(valueTiles)} % ${u32(rowTiles)};
  let bh = params.firstHead + group / ${u32(valueTiles * rowTiles)};
  let state = bh * (STATE / 4u);
  let lane_row = lane / VALUE_VECTORS;
  let column = lane % VALUE_VECTORS;
  let first_row = row_tile * ROWS + lane_row;
  let lane_phi = lane_row * PITCH;
#if ${sikf}
${vectors.map((v) => `  var largest${v} = vec4f(${LOWEST});`).join("\n")}
  for (var c = column; c < VECTORS; c += VALUE_VECTORS) {
    let whole_maximum = round(states[state + c]);
${rows
  .map(
    (i) => `    {
      let q = load_row(bh * N, first_row + ${u32(i)} * LANE_ROWS, c);
      phi${i}[lane_phi + c] = q;
      ${ofRow("largest", i)} = max(${ofRow("largest", i)}, largest_feature(round(q) + whole_maximum, c));
    }`,
  )
  .join("\n")}
  }
${together("largest", (a, b) => `max(${a}, ${b})`)}
#endif
${vectors.map((v) => `  var denominator${v} = vec4f();`).join("\n")}
  for (var c = column; c < VECTORS; c += VALUE_VECTORS) {
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
    : `      let feature = elu_plus_one4(load_row(bh * N, first_row + ${u32(i)} * LANE_ROWS, c));`
}
      phi${i}[lane_phi + c] = feature;
      ${ofRow("denominator", i)} += dot(feature, key_sum);
    }`,
  )
  .join("\n")}
  }
${together("denominator", (a, b) => `${a} + ${b}`)}
  let value_column = value_tile * VALUE_VECTORS + column; // in units of 4 values
  if (value_column * 4u >= E) { return; }
${rows.map((i) => `  var sum${i} = vec4f();`).join("\n")}
  let products = state + STATE_PRODUCTS / 4u + value_column;
  for (var c = 0u; c < ${u32(Math.floor(headDim / 4))}; c++) {
    let s = products + c * STATE_STRIDE;
${range(4)
  .map((j) => `    let s${j} = states[s + ${u32(j)} * (STATE_STRIDE / 4u)];`)
  .join("\n")}
${rows
  .map(
    (i) => `    {
      let feature = phi${i}[lane_phi + c];
${range(4)
  .map((j) => `      sum${i} = fma(vec4f(feature[${j}]), s${j}, sum${i});`)
  .join("\n")}
    }`,
  )
  .join("\n")}
  }
${range(headDim % 4)
  .map(
    (j) => `  {
    let s = states[products + ${u32(4 * Math.floor(headDim / 4) + j)} * (STATE_STRIDE / 4u)];
${rows.map((i) => `    sum${i} = fma(vec4f(phi${i}[lane_phi + VECTORS - 1u][${j}]), s, sum${i});`).join("\n")}
  }`,
  )
  .join("\n")}
${rows
  .map(
    (i) => `  {
    let row = first_row + ${u32(i)} * LANE_ROWS;
    let denominator = ${ofRow("denominator", i)};
    if (row < N) { store_values(bh * N + row, value_column, select(sum${i} / denominator, vec4f(), denominator == 0.0)); }
  }`,
  )
  .join("\n")}
`;
  return makeKernel({
    label: `linear attention apply ${spec.featureMap}${spec.accumulate ? " + bias" : ""} ${spec.rows}×${spec.valueTile}`,
    workgroupSize: lanes,
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim) },
      { name: "states", access: "read", element: "vec4f" },
      { name: "out", access: "read_write", element: vectorElement(valueDim) },
    ],
    params: ["firstHead", "queriesBase", "outBase"],
    declarations: wgsl`const N = ${u32(spec.length)};
const D = ${u32(headDim)};
const E = ${u32(valueDim)};
const ROWS = ${u32(spec.rows)};
const LANE_ROWS = ${u32(spec.rows / laneRows)};
const VECTORS = ${u32(paddedToVec4(headDim) / 4)}; // of a query
const PITCH = ${u32(pitch(headDim))};
const VALUE_VECTORS = ${u32(spec.valueTile / 4)};
${keyStateConstants(spec.state)}
// A variable for each row of a lane: one index serves them all, and is checked once.
${rows.map((i) => `var<workgroup> phi${i}: array<vec4f, ${u32((spec.rows / laneRows) * pitch(headDim))}>;`).join("\n")}
var<workgroup> shared_vectors: array<vec4f, ${u32(vectors.length * lanes)}>;
${EXPONENTIAL4}
#if ${!sikf}
${ELU_PLUS_ONE4}
#endif
${loadVector("load_queries", "queries", headDim)}${storeVector("store_values", "out", valueDim, spec.accumulate)}
fn load_row(first: u32, row: u32, c: u32) -> vec4f {
  if (row < N) { return load_queries(first + row, c); }
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
`,
    body,
  });
}
