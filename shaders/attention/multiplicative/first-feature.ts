/**
 * For every feature the first row that has it: out[h, d] = min { j : φ(k_jd) > 0 }, or 2³² − 1. Sums over positions by FFT leave noise in the
 * place of zero; this tells which are zero.
 *
 * Layout: features [heads of the dispatch, N, D], out [heads of the dispatch, D]. A workgroup does one (head, d).
 * Bindings: 0 features, 1 out, 2 params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { joinLanes, partials } from "../../wgsl/lanes.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";

export interface FirstFeatureKernelSpec {
  /** Lanes of a workgroup, a power of two. */
  readonly lanes: number;
  /** Rows of a sequence, `N`. */
  readonly length: number;
  /** Features of a row, `D`. */
  readonly features: number;
}

export function firstFeatureKernel(spec: FirstFeatureKernelSpec): Kernel {
  const { lanes, length, features } = spec;
  const body = wgsl`  let d = group % D;
  let first = group / D * N;
  var found = 0xffffffffu;
  for (var n = lane; n < N; n += LANES) {
    if (features[(first + n) * D + d] > 0.0) { found = min(found, n); }
  }
  partials[lane] = found;
${joinLanes((own, other) => `${own} = min(${own}, ${other});`)}
  if (lane == 0u) { out[group] = partials[0]; }
`;
  return makeKernel({
    id: "attention/multiplicative/first-feature",
    label: `first feature of ${features}, ${length} rows`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "features", access: "read", element: "f32" },
      { name: "out", access: "read_write", element: "u32" },
    ],
    params: [],
    declarations: [
      wgsl`const N = ${u32(length)};
const D = ${u32(features)};`,
      partials("u32", lanes),
    ],
    body,
  });
}
