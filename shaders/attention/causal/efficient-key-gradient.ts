/**
 * The rest of the gradient of the keys in causal Efficient Attention, whose queries are x_id = q_id − L_id, L_id = log Σ_{j≤i} exp(k_jd)
 * (attention/causal/efficient-queries.ts). Of the gradient dx of these a key gets, besides what SIKF gives it,
 *
 *   dk_jd −= Σ_{i≥j} dx_id exp(k_jd − L_id) = S_jd exp(k_jd − L_jd),   S_jd = dx_jd + exp(L_jd − L_{j+1,d}) S_{j+1,d}.
 *
 * L never falls from one row to the next, so no factor exceeds 1. `"reduce"` leaves the S of a chunk by itself, at its first row, as a state
 * of SIKF: m = −L, z = S. The scan from the end (attention/causal/scan.ts) makes of them those of all later chunks, from which `"apply"`
 * goes on.
 *
 * Layout: queries, efficient (x), gradients (dx), keys, dk [B·H, N, D], states [heads of the dispatch, chunks, state] (KeyStateLayout of no
 * values); none where there is one chunk. Lane → (head, chunk, four features), features fastest; it goes through its rows from the last to
 * the first, and loads several before it needs them.
 * Bindings: 0 queries, 1 efficient, 2 gradients, then those that there are of: keys and dk, states, lengths; then params.
 */
import { chunkConstants, type ChunkedStates, keyStateConstants } from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { EXPONENTIAL4 } from "../../wgsl/exponential.ts";
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { lengthBinding, lengthFunction, lengthParams, tokensOf } from "../../wgsl/lengths.ts";
import { loadVector, readBindings, storeVector, type Strided, vectorElement, vectorsOf } from "../../wgsl/rows.ts";
import { range, u32, unroll, wgsl } from "../../wgsl/wgsl.ts";

export interface EfficientKeyGradientKernelSpec extends Omit<HeadShape, "valueDim">, ChunkedStates, Strided {
  readonly variableLengths: boolean;
  /** `"reduce"` leaves what later chunks need, `"apply"` writes the gradient. */
  readonly pass: "reduce" | "apply";
  /** Lanes of a workgroup. */
  readonly lanes: number;
}

/** Rows that a lane loads at a time. */
const AHEAD = 4;

/** L of the row after the last one: above that of all others. */
const HIGHEST = "3.4028234663852886e38f";

export function efficientKeyGradientKernel(spec: EfficientKeyGradientKernelSpec): Kernel {
  const { headDim, strides = {} } = spec;
  const apply = spec.pass === "apply";
  const read = ["queries", "efficient", "gradients", ...(apply ? ["keys"] : [])];
  // Where all gradients are in one tensor, those of the queries are read where the keys' are written.
  const own = read.filter((name) => !strides[name]?.within);
  const carried = spec.chunks > 1;
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let c = index % VECTORS;
  let chunk = index / VECTORS % CHUNKS;
  let head = index / (VECTORS * CHUNKS);
  let bh = params.firstHead + head;
  let first_row = bh * N;
  let begin = chunk * CHUNK_ROWS;
  let end = min(begin + CHUNK_ROWS, ${tokensOf(spec)});
#if ${carried}
  let state = (head * CHUNKS + chunk) * (STATE / 4u) + c;
#endif
#if ${carried && apply}
  var level = -states[state];
  var sum = states[state + STATE_SUM / 4u];
#else
  var level = vec4f(${HIGHEST});
  var sum = vec4f();
#endif
  // The row after those to come.
  for (var after = end; after > begin; after -= min(after, ${u32(AHEAD)})) {
${unroll(
  range(AHEAD),
  (i) => wgsl`    var level${i} = vec4f();
    var gradient${i} = vec4f();
#if ${apply}
    var key${i} = vec4f();
#endif
    if (after >= begin + ${u32(i + 1)}) {
      let row = first_row + after - ${u32(i + 1)};
      level${i} = load_queries(row, c) - load_efficient(row, c);
      gradient${i} = load_gradients(row, c);
#if ${apply}
      key${i} = load_keys(row, c);
#endif
    }`,
)}
${unroll(
  range(AHEAD),
  (i) => wgsl`    if (after >= begin + ${u32(i + 1)}) {
      sum = fma(sum, exponential4(level${i} - level), gradient${i});
      level = level${i};
#if ${apply}
      store_dk(first_row + after - ${u32(i + 1)}, c, -sum * exponential4(key${i} - level));
#endif
    }`,
)}
  }
#if ${!apply}
  states[state] = -level;
  states[state + STATE_SUM / 4u] = sum;
#endif
`;
  return makeKernel({
    id: "attention/causal/efficient-key-gradient",
    label: `efficient attention key gradient, ${spec.pass}, chunks of ${spec.chunkRows}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      ...readBindings(Object.fromEntries(own.map((name) => [name, headDim])), "f32", strides),
      ...(apply ? [{ name: "dk", access: "read_write", element: vectorElement(headDim, "f32", strides["dk"]) } as const] : []),
      ...(carried ? [{ name: "states", access: apply ? "read" : "read_write", element: "vec4f" } as const] : []),
      ...lengthBinding(spec),
    ],
    params: ["firstHead", "count", ...[...own, ...(apply ? ["dk"] : [])].map((name) => `${name}Base`), ...lengthParams(spec)],
    declarations: wgsl`const N = ${u32(spec.length)};
const VECTORS = ${u32(vectorsOf(headDim))}; // of a row
${chunkConstants(spec)}
${keyStateConstants(spec.state)}${EXPONENTIAL4}${lengthFunction(spec)}${read
      .map((name) => loadVector(`load_${name}`, name, headDim, "f32", strides[name]))
      .join("")}${apply ? storeVector("store_dk", "dk", headDim, true, "f32", strides["dk"]) : ""}`,
    body,
  });
}
