/**
 * Queries times the combined key state, normalised, plus the bias:
 *
 *   out_ie = Σ_d φ(q_id) s_de / Σ_d φ(q_id) z_d  (+ out_ie, where the Toeplitz product has been put before)
 *
 * Layout: queries [B·H, N, D], states [B·H, state] (KeyStateLayout), out [B·H, N, E]. A workgroup does `rows` rows × `valueTile` values
 * of one head: φ(q) of its rows stands in workgroup memory, the state comes from cache, a lane keeps `laneRows` rows × 4 values.
 * Workgroup → (bh, row tile, value tile), value tile fastest; lane → (rows, values), values fastest.
 * Bindings: 0 queries, 1 states, 2 out, 3 params.
 */
import { ELU_PLUS_ONE, EXPONENTIAL, keyStateConstants, type KeyStateLayout } from "./feature-map.ts";
import { type Kernel, makeKernel, workgroupBytes } from "./kernel.ts";
import { LOWEST, range, u32, wgsl } from "./wgsl.ts";

export interface ApplyKernelSpec {
  /** N */
  readonly length: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly featureMap: "sikf" | "elu+1";
  readonly state: KeyStateLayout;
  /** Add to what `out` holds instead of overwriting it. */
  readonly accumulate: boolean;
  readonly rows: number;
  readonly laneRows: number;
  /** A multiple of 4. */
  readonly valueTile: number;
}

/** Values per lane: the state is read as vec4f. */
const LANE_VALUES = 4;

export function applyLanes(spec: Pick<ApplyKernelSpec, "rows" | "laneRows" | "valueTile">): number {
  return (spec.rows / spec.laneRows) * (spec.valueTile / LANE_VALUES);
}

/** Bytes of workgroup memory. */
export function applyBytes(spec: Pick<ApplyKernelSpec, "rows" | "laneRows" | "valueTile" | "headDim">): number {
  const dims = 4 * spec.headDim; // key_sum, key_maximum
  return workgroupBytes(4 * spec.rows * (spec.headDim + 1), dims, dims, 4 * spec.rows, 4 * Math.max(applyLanes(spec), spec.rows));
}

export function applyKernel(spec: ApplyKernelSpec): Kernel {
  const lanes = applyLanes(spec);
  const sikf = spec.featureMap === "sikf";
  const rows = range(spec.laneRows);
  const valueTiles = Math.ceil(spec.valueDim / spec.valueTile);
  const rowTiles = Math.ceil(spec.length / spec.rows);
  const whole = spec.valueDim % LANE_VALUES === 0;
  // Lanes that search one row's maximum together; with fewer lanes than rows, each lane takes several rows.
  const searchers = Math.max(1, Math.floor(lanes / spec.rows));
  const body = wgsl`  let value_tile = group % ${u32(valueTiles)};
  let row_tile = group / ${u32(valueTiles)} % ${u32(rowTiles)};
  let bh = params.firstHead + group / ${u32(valueTiles * rowTiles)};
  let first_row = row_tile * ROWS;
  let first_query = (bh * N + first_row) * D - params.queriesBase;
  let state = bh * (STATE / 4u);
  for (var d = lane; d < D; d += LANES) {
    key_sum[d] = states[state + (STATE_SUM + d) / 4u][d % 4u];
#if ${sikf}
    key_maximum[d] = states[state + d / 4u][d % 4u];
#endif
  }
  for (var i = lane; i < ROWS * D; i += LANES) {
    let r = i / D;
    let d = i % D;
    var q = 0.0;
    if (first_row + r < N) { q = queries[first_query + i]; }
#if ${sikf}
    phi[r * PITCH + d] = q;
#else
    phi[r * PITCH + d] = elu_plus_one(q);
#endif
  }
  workgroupBarrier();
#if ${sikf}
  for (var i = lane; i < ROWS * SEARCHERS; i += LANES) {
    let r = i % ROWS;
    var largest = ${LOWEST};
    for (var d = i / ROWS; d < D; d += SEARCHERS) { largest = max(largest, round(phi[r * PITCH + d]) + round(key_maximum[d])); }
    partials[i] = largest;
  }
  workgroupBarrier();
  for (var r = lane; r < ROWS; r += LANES) {
    var largest = partials[r];
    for (var i = 1u; i < SEARCHERS; i++) { largest = max(largest, partials[i * ROWS + r]); }
    reference[r] = largest;
  }
  workgroupBarrier();
  for (var i = lane; i < ROWS * D; i += LANES) {
    let r = i / D;
    let d = i % D;
    let q = phi[r * PITCH + d];
    let m = key_maximum[d];
    let whole = round(q) + round(m) - reference[r];
    phi[r * PITCH + d] = exponential(whole + ((q - round(q)) + (m - round(m))));
  }
  workgroupBarrier();
#endif
  let lane_row = lane / VALUE_VECTORS * ${u32(spec.laneRows)};
  let column = value_tile * VALUE_VECTORS + lane % VALUE_VECTORS; // in units of 4 values
  if (column * 4u >= E) { return; }
${rows.map((i) => `  var numerator${i} = vec4f();\n  var denominator${i} = 0.0;`).join("\n")}
  for (var d = 0u; d < D; d++) {
    let s = states[state + (STATE_PRODUCTS + d * STATE_STRIDE) / 4u + column];
    let z = key_sum[d];
${rows
  .map((i) => `    let phi${i} = phi[(lane_row + ${u32(i)}) * PITCH + d];\n    numerator${i} += phi${i} * s;\n    denominator${i} += phi${i} * z;`)
  .join("\n")}
  }
${rows
  .map(
    (i) => `  {
    let row = first_row + lane_row + ${u32(i)};
    if (row < N) { store_values(bh * N + row, column, select(numerator${i} / denominator${i}, vec4f(), denominator${i} == 0.0)); }
  }`,
  )
  .join("\n")}
`;
  return makeKernel({
    label: `linear attention apply ${spec.featureMap}${spec.accumulate ? " + bias" : ""} ${spec.rows}×${spec.valueTile}`,
    workgroupSize: lanes,
    bindings: [
      { name: "queries", access: "read", element: "f32" },
      { name: "states", access: "read", element: "vec4f" },
      { name: "out", access: "read_write", element: whole ? "vec4f" : "f32" },
    ],
    params: ["firstHead", "queriesBase", "outBase"],
    declarations: wgsl`const N = ${u32(spec.length)};
const D = ${u32(spec.headDim)};
const E = ${u32(spec.valueDim)};
const ROWS = ${u32(spec.rows)};
const PITCH = D + 1u; // of a row in workgroup memory; odd more often than D, so that rows start in different banks
const VALUE_VECTORS = ${u32(spec.valueTile / LANE_VALUES)};
const SEARCHERS = ${u32(searchers)};
${keyStateConstants(spec.state)}
var<workgroup> phi: array<f32, ${u32(spec.rows * (spec.headDim + 1))}>;
var<workgroup> key_sum: array<f32, ${u32(spec.headDim)}>;
${EXPONENTIAL}
#if ${sikf}
var<workgroup> key_maximum: array<f32, ${u32(spec.headDim)}>;
var<workgroup> reference: array<f32, ${u32(spec.rows)}>;
var<workgroup> partials: array<f32, ${u32(spec.rows * searchers)}>;
#else
${ELU_PLUS_ONE}
#endif

fn store_values(row: u32, column: u32, result: vec4f) {
#if ${whole}
  let at = row * (E / 4u) + column - params.outBase;
  out[at] = ${spec.accumulate ? "out[at] + " : ""}result;
#else
  let at = row * E + column * 4u - params.outBase;
  for (var i = 0u; i < min(4u, E - column * 4u); i++) { out[at + i] = ${spec.accumulate ? "out[at + i] + " : ""}result[i]; }
#endif
}
`,
    body,
  });
}
