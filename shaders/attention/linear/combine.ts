/**
 * Adds the key states of the chunks of a head: with m_d = max_c m_cd,
 *
 *   z_d = Σ_c exp(m_cd − m_d) z_cd,   s_de = Σ_c exp(m_cd − m_d) s_cde
 *
 * for SIKF, with powers of two instead of exp for the other maps. `normalised` is for Efficient Attention (Shen et al. 2018), whose keys go through
 * softmax over positions: s_de / z_d, with z_d = 1 and m_d = 0. With such states SIKF is softmax over the features of a query, so nothing else is
 * different.
 *
 * Layout: states [heads, chunks, state] → combined [heads, state] (KeyStateLayout). A workgroup does one head's d: lanes first share the
 * chunks out for m and z, then stand as `width` values × the rest over chunks for the row s_d; partial sums meet in workgroup memory.
 * Bindings: 0 states, 1 combined, 2 params.
 */
import { type ChunkedStates, type KernelFeatureMap, keyStateConstants, scalarSizeFactor } from "../feature-map.ts";
import type { HeadShape } from "../head-shape.ts";
import { type Kernel, makeKernel, workgroupBytes } from "../../wgsl/kernel.ts";
import { LARGEST_OF_LANES, partials, SUM_LANES } from "../../wgsl/lanes.ts";
import { LOWEST, u32, wgsl } from "../../wgsl/wgsl.ts";

export interface CombineKernelSpec extends Omit<HeadShape, "length">, Omit<ChunkedStates, "chunkRows"> {
  readonly featureMap: KernelFeatureMap;
  /** Whether to divide the rows of s by z. */
  readonly normalised: boolean;
  /** Lanes of a workgroup, a power of two. */
  readonly lanes: number;
}

/** The most chunks whose factors fit into the workgroup memory beside the partial sums. */
export function mostChunks(available: number, lanes: number): number {
  return Math.floor((available - workgroupBytes([partials("f32", lanes)])) / 16) * 4;
}

export function combineKernel(spec: CombineKernelSpec): Kernel {
  const { functions, factor } = scalarSizeFactor(spec.featureMap);
  const width = Math.min(spec.lanes, 2 ** Math.ceil(Math.log2(spec.valueDim)));
  const height = spec.lanes / width;
  const body = wgsl`  let d = group % D;
  let head = group / D;
  let state = head * CHUNKS * STATE;
  let result = head * STATE;
  var largest = ${LOWEST};
  for (var c = lane; c < CHUNKS; c += LANES) {
    let m = states[state + c * STATE + d];
    factors[c] = m;
    largest = max(largest, m);
  }
  partials[lane] = largest;
${LARGEST_OF_LANES}
  largest = partials[0];
  workgroupBarrier();
  for (var c = lane; c < CHUNKS; c += LANES) { factors[c] = ${factor("factors[c] - largest")}; }
  workgroupBarrier();
  var z = 0.0;
  for (var c = lane; c < CHUNKS; c += LANES) { z += factors[c] * states[state + c * STATE + STATE_SUM + d]; }
  partials[lane] = z;
${SUM_LANES}
#if ${spec.normalised}
  let sum = partials[0]; // at least 1, if there is any key
  let share = select(1.0 / sum, 0.0, sum == 0.0);
#endif
  if (lane == 0u) {
    combined[result + d] = ${spec.normalised ? "0.0" : "largest"};
    combined[result + STATE_SUM + d] = ${spec.normalised ? "1.0" : "partials[0]"};
  }
  workgroupBarrier();
  let part = lane / WIDTH;
  for (var first = 0u; first < E; first += WIDTH) {
    let e = first + lane % WIDTH;
    var s = 0.0;
    if (e < E) {
      for (var c = part; c < CHUNKS; c += HEIGHT) {
        s += factors[c] * states[state + c * STATE + STATE_PRODUCTS + d * STATE_STRIDE + e];
      }
    }
    partials[lane] = s;
    workgroupBarrier();
    for (var half = HEIGHT / 2u; half > 0u; half /= 2u) {
      if (part < half) { partials[lane] += partials[lane + half * WIDTH]; }
      workgroupBarrier();
    }
    if (part == 0u && e < E) { combined[result + STATE_PRODUCTS + d * STATE_STRIDE + e] = partials[lane]${spec.normalised ? " * share" : ""}; }
    workgroupBarrier();
  }
`;
  return makeKernel({
    id: "attention/linear/combine",
    label: `linear attention combine ${spec.chunks} chunks${spec.normalised ? ", normalised" : ""}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "states", access: "read", element: "f32" },
      { name: "combined", access: "read_write", element: "f32" },
    ],
    params: [],
    declarations: [
      wgsl`const D = ${u32(spec.headDim)};
const E = ${u32(spec.valueDim)};
const CHUNKS = ${u32(spec.chunks)};
const WIDTH = ${u32(width)};
const HEIGHT = ${u32(height)};
${keyStateConstants(spec.state)}`,
      functions,
      { name: "factors", element: "f32", count: spec.chunks },
      partials("f32", spec.lanes),
    ],
    body,
  });
}
