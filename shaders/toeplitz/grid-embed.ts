/**
 * Weights of a Toeplitz matrix on a grid [H, W] → the four branches s = 2·s_y + s_x of toeplitz/branches.ts, of M_y × M_x, M_y ≥ H, M_x ≥ W:
 *
 *   t_k = w[H − 1 − k_y, W − 1 − k_x] for |k_y| < H and |k_x| < W, else 0;
 *   c_s,k = D_s,k Σ_{p,q ∈ {0,1}} (−1)^(p s_y + q s_x) t(k_y − p M_y, k_x − q M_x) / 4 M_y M_x,   D_s,k = exp(−iπ(s_y k_y/M_y + s_x k_x/M_x)).
 *
 * It is toeplitz/embed.ts once for each axis.
 *
 * Layout: weights [heads, 2H − 1, 2W − 1], or as weight-layout.ts says, → embedded [heads, 4, M_y, M_x] complex. One lane per (h, k), all branches.
 * Bindings: 0 weights, 1 embedded, 2 tables (roots of order 2M_y and 2M_x, scale), 3 params.
 */
import { COMPLEX, scaleFunction } from "../wgsl/complex.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { rootFunction, TURN_BY } from "../fft/roots.ts";
import type { ToeplitzAxis } from "./branches.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";
import { type WeightLayout, weightPlace } from "./weight-layout.ts";

export interface ToeplitzGridEmbedKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  readonly y: ToeplitzAxis;
  readonly x: ToeplitzAxis;
  readonly weights: WeightLayout;
  /** Offset of the factor 1/4·M_y·M_x in the table. */
  readonly scaleOffset: number;
}

export function toeplitzGridEmbedKernel(spec: ToeplitzGridEmbedKernelSpec): Kernel {
  const { lanes, y, x, weights, scaleOffset } = spec;
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let h = index / (MY * MX);
  let k = index % (MY * MX);
  let k_y = k / MX;
  let k_x = k % MX;
  let diagonal = params.firstWeight + h * ${u32(weights.count)} + ${u32(weights.diagonal)}; // of no offset
  // Along x, from a row of weights: (sum, difference) of the two places of k_x.
  var below = vec2f(); // p = 0
  var above = vec2f(); // p = 1
  if (k_y < H) { below = along_x(${weightPlace(weights, 0, "diagonal", "-", "k_y")}, k_x); }
  if (MY - k_y < H) { above = along_x(${weightPlace(weights, 0, "diagonal", "+", "(MY - k_y)")}, k_x); }
  let circulant = below + above;
  let skew = below - above;
  let at = h * 4u * MY * MX + k;
  embedded[at] = scale(vec2f(circulant.x, 0.0));
  embedded[at + MY * MX] = turn_x(scale(vec2f(circulant.y, 0.0)), k_x);
  embedded[at + 2u * MY * MX] = turn_y(scale(vec2f(skew.x, 0.0)), k_y);
  embedded[at + 3u * MY * MX] = turn_y(turn_x(scale(vec2f(skew.y, 0.0)), k_x), k_y);
`;
  return makeKernel({
    id: "toeplitz/grid-embed",
    label: `toeplitz grid embed ${y.size}×${x.size} → 4 × ${y.period}×${x.period}`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "weights", access: "read", element: "f32" },
      { name: "embedded", access: "read_write", element: "vec2f" },
      { name: "tables", access: "read", element: "vec2f" },
    ],
    params: ["count", "firstWeight"],
    declarations: wgsl`const H = ${u32(y.size)};
const W = ${u32(x.size)};
const MY = ${u32(y.period)};
const MX = ${u32(x.period)};
${COMPLEX}${scaleFunction(scaleOffset)}${TURN_BY}${rootFunction(y.roots, "turn_y")}${rootFunction(x.roots, "turn_x")}
fn along_x(diagonal: u32, k_x: u32) -> vec2f {
  var below = 0.0;
  var above = 0.0;
  if (k_x < W) { below = weights[${weightPlace(weights, 1, "diagonal", "-", "k_x")}]; }
  if (MX - k_x < W) { above = weights[${weightPlace(weights, 1, "diagonal", "+", "(MX - k_x)")}]; }
  return vec2f(below + above, below - above);
}
`,
    body,
  });
}
