/**
 * The state with which attention/linear/key-gradient.ts gives the gradients of Efficient Attention (Shen et al. 2018). Keys go through
 * softmax over positions, κ_jd = exp(k_jd − m_d)/z_d, so that with σ_de = s_de/z_d and U_de = Σ_i ρ_id g_ie, ρ_i = softmax(q_i),
 *
 *   dk_jd = κ_jd (Σ_e v_je U_de − Σ_e U_de σ_de),   dv_je = Σ_d κ_jd U_de.
 *
 * Layout: keys, queries, combined [heads, state] (KeyStateLayout): m, z, s; M, –, U relative to exp(M_d); and what comes of them: −m_d,
 * −Σ_e U_de σ_de / z_d, U_de/z_d. A workgroup does one head's d; lanes run along e.
 * Bindings: 0 keys, 1 queries, 2 combined, 3 params.
 */
import { type ChunkedStates, keyStateConstants } from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { EXPONENTIAL } from "../../wgsl/exponential.ts";
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { partials, SUM_LANES } from "../../wgsl/lanes.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";

export interface EfficientKeyStateKernelSpec extends Omit<HeadShape, "length">, Pick<ChunkedStates, "state"> {
  /** Lanes of a workgroup, a power of two. */
  readonly lanes: number;
}

export function efficientKeyStateKernel(spec: EfficientKeyStateKernelSpec): Kernel {
  const body = wgsl`  let d = group % D;
  let state = group / D * STATE;
  let z = keys[state + STATE_SUM + d];
  let share = select(1.0 / z, 0.0, z == 0.0); // 0 without any key
  let scale = exponential(queries[state + d]) * share;
  var sum = 0.0;
  for (var e = lane; e < E; e += LANES) {
    let at = state + STATE_PRODUCTS + d * STATE_STRIDE + e;
    let u = scale * queries[at];
    combined[at] = u;
    sum = fma(u, keys[at] * share, sum);
  }
  partials[lane] = sum;
${SUM_LANES}
  if (lane == 0u) {
    combined[state + d] = -keys[state + d];
    combined[state + STATE_SUM + d] = -partials[0];
  }
`;
  return makeKernel({
    id: "attention/linear/efficient-key-state",
    label: `efficient attention key state ${spec.headDim}×${spec.valueDim}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "keys", access: "read", element: "f32" },
      { name: "queries", access: "read", element: "f32" },
      { name: "combined", access: "read_write", element: "f32" },
    ],
    params: [],
    declarations: [
      wgsl`const D = ${u32(spec.headDim)};
const E = ${u32(spec.valueDim)};
${keyStateConstants(spec.state)}
${EXPONENTIAL}`,
      partials("f32", spec.lanes),
    ],
    body,
  });
}
