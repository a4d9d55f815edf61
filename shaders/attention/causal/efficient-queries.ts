/**
 * Causal Efficient Attention (Shen et al. 2018) as SIKF: its keys go through softmax over the positions that a row sees,
 *
 *   out_i = Σ_d softmax(q_i)_d Σ_{j≤i} exp(k_jd − L_id) v_j,   L_id = log Σ_{j≤i} exp(k_jd),
 *
 * which is SIKF of the queries x_id = q_id − L_id, denominator included. L = m + log z with a running maximum m and z relative to it, from
 * the state of earlier chunks on. x is rounded to float32 only once; a large |x| is what limits the accuracy, to 2⁻²⁴ |x|.
 *
 * Layout: queries, keys, out [B·H, N, D], states [heads of the dispatch, chunks, state], each that of earlier chunks
 * (linear-attention-scan.ts); no states where there is one chunk only. Lane → (head, chunk, four features), features fastest; it goes
 * through the rows of its chunk, and loads several before it needs them.
 * Bindings: 0 queries, 1 keys, 2 out, 3 states where there are such; then params.
 */
import { EXPONENTIAL4, keyStateConstants, type KeyStateLayout } from "../feature-map.ts";
import { type Kernel, makeKernel, type Precision, paddedToVec4 } from "../../wgsl/kernel.ts";
import { loadVector, storeVector, vectorElement } from "../../wgsl/rows.ts";
import { f32, LOWEST, range, u32, wgsl } from "../../wgsl/wgsl.ts";

export interface EfficientQueriesKernelSpec {
  /** N */
  readonly length: number;
  /** D */
  readonly headDim: number;
  readonly state: KeyStateLayout;
  readonly chunkRows: number;
  readonly chunks: number;
  readonly lanes: number;
  /** Of queries and keys. */
  readonly precision: Precision;
}

/** Rows that a lane loads at a time. */
const AHEAD = 4;

/** ln 2 in two parts; the first has 9 significant bits, so its product with an exponent is exact. */
const LN2_HIGH = 0.693359375;
/** Bits of √½: numbers from there to √2 have the exponent 0. */
const HALF_ROOT = 0x3f3504f3;

/** log of normal numbers, by 2 atanh((f − 1)/(f + 1)) for f between √½ and √2: that of WGSL may be off by 2⁻²¹. */
const LOGARITHM4 = wgsl`
fn logarithm4(x: vec4f) -> vec4f {
  let bits = bitcast<vec4u>(x) - ${u32(HALF_ROOT)};
  let exponent = vec4f(bitcast<vec4i>(bits) >> vec4u(23u));
  let f = bitcast<vec4f>((bits & vec4u(${u32(2 ** 23 - 1)})) + ${u32(HALF_ROOT)});
  let s = (f - 1.0) / (f + 1.0);
  let square = s * s;
  var p = vec4f(${f32(2 / 9)});
${[7, 5, 3].map((n) => `  p = fma(p, square, vec4f(${f32(2 / n)}));`).join("\n")}
  let small = fma(p * square, s, fma(exponent, vec4f(${f32(Math.LN2 - LN2_HIGH)}), 2.0 * s));
  return fma(exponent, vec4f(${f32(LN2_HIGH)}), small);
}
`;

export function efficientQueriesKernel(spec: EfficientQueriesKernelSpec): Kernel {
  const { headDim, chunks } = spec;
  const carried = chunks > 1;
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let c = index % VECTORS;
  let chunk = index / VECTORS % CHUNKS;
  let head = index / (VECTORS * CHUNKS);
  let first_row = (params.firstHead + head) * N;
  let end = min((chunk + 1u) * CHUNK_ROWS, N);
#if ${carried}
  let state = (head * CHUNKS + chunk) * (STATE / 4u) + c;
  var maximum = states[state];
  var sum = states[state + STATE_SUM / 4u];
#else
  var maximum = vec4f(${LOWEST});
  var sum = vec4f();
#endif
  for (var row = chunk * CHUNK_ROWS; row < end; row += ${u32(AHEAD)}) {
${range(AHEAD)
  .map(
    (i) => `    var key${i} = vec4f();
    var query${i} = vec4f();
    if (row + ${u32(i)} < end) {
      key${i} = load_keys(first_row + row + ${u32(i)}, c);
      query${i} = load_queries(first_row + row + ${u32(i)}, c);
    }`,
  )
  .join("\n")}
${range(AHEAD)
  .map(
    (i) => `    if (row + ${u32(i)} < end) {
      let largest = max(maximum, key${i});
      sum = fma(sum, exponential4(maximum - largest), exponential4(key${i} - largest));
      maximum = largest;
      let whole = round(query${i});
      let whole_maximum = round(maximum);
      let rest = (query${i} - whole) - (maximum - whole_maximum);
      store_out(first_row + row + ${u32(i)}, c, (whole - whole_maximum) + (rest - logarithm4(sum)));
    }`,
  )
  .join("\n")}
  }
`;
  return makeKernel({
    label: `efficient attention queries, chunks of ${spec.chunkRows}`,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim, spec.precision) },
      { name: "keys", access: "read", element: vectorElement(headDim, spec.precision) },
      { name: "out", access: "read_write", element: vectorElement(headDim) },
      ...(carried ? [{ name: "states", access: "read", element: "vec4f" } as const] : []),
    ],
    params: ["firstHead", "count", "queriesBase", "keysBase", "outBase"],
    declarations: wgsl`const N = ${u32(spec.length)};
const VECTORS = ${u32(paddedToVec4(headDim) / 4)}; // of a row
const CHUNKS = ${u32(chunks)};
const CHUNK_ROWS = ${u32(spec.chunkRows)};
${keyStateConstants(spec.state)}${EXPONENTIAL4}${LOGARITHM4}${loadVector("load_queries", "queries", headDim, spec.precision)}${loadVector("load_keys", "keys", headDim, spec.precision)}${storeVector("store_out", "out", headDim, false)}`,
    body,
  });
}
