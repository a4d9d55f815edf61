/**
 * Causal Efficient Attention (Shen et al. 2018) as SIKF: its keys go through softmax over the positions that a row sees,
 *
 *   out_i = Σ_d softmax(q_i)_d Σ_{j≤i} exp(k_jd − L_id) v_j,   L_id = log Σ_{j≤i} exp(k_jd),
 *
 * which is SIKF of the queries x_id = q_id − L_id, denominator included. L = m + log z with a running maximum m and z relative to it, from
 * the state of earlier chunks on. x is rounded to float32 only once; a large |x| is what limits the accuracy, to 2⁻²⁴ |x|.
 *
 * Layout: queries, keys, out [B·H, N, D], states [heads of the dispatch, chunks, state], each that of earlier chunks
 * (attention/causal/scan.ts); no states where there is one chunk only. Lane → (head, chunk, four features), features fastest; it goes
 * through the rows of its chunk, and loads several before it needs them.
 * Bindings: 0 queries, 1 keys, 2 out, 3 states where there are such; then params.
 */
import { chunkConstants, type ChunkedStates, keyStateConstants } from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { EXPONENTIAL4, LOGARITHM4 } from "../../wgsl/exponential.ts";
import { type Kernel, makeKernel, type Precision } from "../../wgsl/kernel.ts";
import { loadVector, storeVector, type Strided, vectorElement, vectorsOf } from "../../wgsl/rows.ts";
import { LOWEST, range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface EfficientQueriesKernelSpec extends Omit<HeadShape, "valueDim">, ChunkedStates, Strided {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  /** How queries and keys are stored. */
  readonly precision: Precision;
}

/** Rows that a lane loads at a time. */
const AHEAD = 4;

export function efficientQueriesKernel(spec: EfficientQueriesKernelSpec): Kernel {
  const { headDim, strides = {} } = spec;
  const carried = spec.chunks > 1;
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
${unroll(
  range(AHEAD),
  (i) => `    var key${i} = vec4f();
    var query${i} = vec4f();
    if (row + ${u32(i)} < end) {
      key${i} = load_keys(first_row + row + ${u32(i)}, c);
      query${i} = load_queries(first_row + row + ${u32(i)}, c);
    }`,
)}
${unroll(
  range(AHEAD),
  (i) => `    if (row + ${u32(i)} < end) {
      let largest = max(maximum, key${i});
      sum = fma(sum, exponential4(maximum - largest), exponential4(key${i} - largest));
      maximum = largest;
      let whole = round(query${i});
      let whole_maximum = round(maximum);
      let rest = (query${i} - whole) - (maximum - whole_maximum);
      store_out(first_row + row + ${u32(i)}, c, (whole - whole_maximum) + (rest - logarithm4(sum)));
    }`,
)}
  }
`;
  return makeKernel({
    id: "attention/causal/efficient-queries",
    label: `efficient attention queries, chunks of ${spec.chunkRows}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "queries", access: "read", element: vectorElement(headDim, spec.precision, strides["queries"]) },
      { name: "keys", access: "read", element: vectorElement(headDim, spec.precision, strides["keys"]) },
      { name: "out", access: "read_write", element: vectorElement(headDim) },
      ...(carried ? [{ name: "states", access: "read", element: "vec4f" } as const] : []),
    ],
    params: ["firstHead", "count", "queriesBase", "keysBase", "outBase"],
    declarations: wgsl`const N = ${u32(spec.length)};
const VECTORS = ${u32(vectorsOf(headDim))}; // of a row
${chunkConstants(spec)}
${keyStateConstants(spec.state)}${EXPONENTIAL4}${LOGARITHM4}${loadVector("load_queries", "queries", headDim, spec.precision, strides["queries"])}${loadVector("load_keys", "keys", headDim, spec.precision, strides["keys"])}${storeVector("store_out", "out", headDim, false)}`,
    body,
  });
}
