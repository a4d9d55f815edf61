/**
 * Weights of a Toeplitz matrix → the spectra of its circulant and its skew-circulant half, in one dispatch, where a transform of their size M
 * fits into workgroup memory. What the halves are, toeplitz/embed.ts says; here they stay in registers.
 *
 * Layout: weights [heads, 2N − 1], or as weight-layout.ts says, → spectrum [heads, 2, M] complex. A column is a half of a head, 2·h + branch. A workgroup does
 * `shape.columns` columns; lane → (slot, thread) as in fft/stockham.ts.
 * Bindings: 0 weights, 1 spectrum, 2 tables (twiddles, roots of order 2M, scale), 3 params.
 */
import { scaleFunction } from "../wgsl/complex.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { rootFunction, type RootTable } from "../fft/roots.ts";
import {
  eachInput,
  eachOutput,
  stockhamColumn,
  stockhamDeclarations,
  stockhamName,
  stockhamRegisters,
  stockhamStages,
  type StockhamTransform,
  workgroupLanes,
} from "../fft/stockham.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";
import { distances, type WeightLayout, weightPlace } from "./weight-layout.ts";

export interface ToeplitzSpectrumKernelSpec extends StockhamTransform {
  /** Tokens of a head, `N`. */
  readonly length: number;
  /** Roots of order 2M. */
  readonly roots: RootTable;
  /** Offset of the factor 1/2M in the table. */
  readonly scaleOffset: number;
  readonly weights: WeightLayout;
  /** Weights of offsets j − i > 0 count as zero. */
  readonly causal: boolean;
}

export function toeplitzSpectrumKernel(spec: ToeplitzSpectrumKernelSpec): Kernel {
  const { shape, causal, length, weights } = spec;
  return makeKernel({
    id: "toeplitz/spectrum",
    label: `toeplitz spectrum ${causal ? "causal " : ""}${length} (${stockhamName(shape)})`,
    constants: spec,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "weights", access: "read", element: "f32" },
      { name: "spectrum", access: "read_write", element: "vec2f" },
      { name: "tables", access: "read", element: "vec2f" },
    ],
    params: ["columns", "firstWeight", "firstPoint"],
    declarations: [
      wgsl`const N = ${u32(length)};
const M = ${u32(shape.length)};`,
      ...stockhamDeclarations(shape),
      wgsl`${scaleFunction(spec.scaleOffset)}${rootFunction(spec.roots)}
// Point k of a half; diagonal is the weight of offset j − i = 0.
fn embedded(diagonal: u32, skew: bool, k: u32) -> vec2f {
  var below = 0.0;
  var above = 0.0;
  if (k < ${distances(weights, "-")}) { below = weights[${weightPlace(weights, 0, "diagonal", "-", "k")}]; }
#if ${!causal}
  if (M - k < ${distances(weights, "+")}) { above = weights[${weightPlace(weights, 0, "diagonal", "+", "(M - k)")}]; }
#endif
  if (skew) { return turn_root(scale(vec2f(below - above, 0.0)), k); }
  return scale(vec2f(below + above, 0.0));
}`,
    ],
    body: wgsl`${stockhamRegisters(shape)}
${stockhamColumn(shape)}
  let diagonal = params.firstWeight + column / 2u * ${u32(weights.count)} + ${u32(weights.diagonal)};
  if (active_column) {
${eachInput(shape, (i) => `v${i} = embedded(diagonal, column % 2u != 0u, point);`)}
  }
${stockhamStages(shape, spec.twiddles)}
  if (active_column) {
${eachOutput(shape, (i) => `spectrum[params.firstPoint + column * M + point] = v${i};`)}
  }
`,
  });
}
