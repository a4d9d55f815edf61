/**
 * Adds up the partial sums of a matrix product, always in the same order: out = activation(Σ_s partial_s + bias) + residual.
 *
 * Layout: partials [splits, items, rows, n] as nn/matmul.ts leaves them, n filled up to whole vectors; out, bias and residual as there.
 * Workgroup → LANES / slices vectors of the result; lane → (slice of the splits, vector), vectors fastest. Each lane adds every slices-th split, and the
 * lanes of the first slice what the others have found.
 * Bindings: 0 partials, then bias, residual, out; then params.
 */
import { END_PARAMS, endBindings, endFunctions, type MatmulEnd } from "./matmul-end.ts";
import { itemPlace } from "./matrix.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { vectorArray } from "../wgsl/rows.ts";
import { range, u32, unroll, wgsl } from "../wgsl/wgsl.ts";

export interface MatmulSumKernelSpec {
  readonly lanes: number;
  /** Divides the lanes. */
  readonly slices: number;
  readonly end: MatmulEnd;
}

export function matmulSumKernel(spec: MatmulSumKernelSpec): Kernel {
  const { lanes, slices, end } = spec;
  const vectors = lanes / slices;
  const body = wgsl`  let slice = lane / ${u32(vectors)};
  let place = lane % ${u32(vectors)};
  let at = group * ${u32(vectors)} + place;
  let row_vectors = (params.columns + 3u) / 4u;
  let split_vectors = params.items * params.sliceRows * row_vectors;
  var sum = vec4f();
  if (at < split_vectors) {
    for (var split = slice; split < params.splits; split += ${u32(slices)}) { sum += partials[split * split_vectors + at]; }
  }
#if ${slices > 1}
  sums[lane] = sum;
  workgroupBarrier();
  if (slice > 0u) { return; }
${unroll(range(slices - 1), (i) => `  sum += sums[place + ${u32((i + 1) * vectors)}];`)}
#endif
  if (at >= split_vectors) { return; }
  let column = at % row_vectors;
  let row = at / row_vectors;
  let item = params.firstItem + row / params.sliceRows;
  finish(${itemPlace("out", "(item)")}, params.firstRow + row % params.sliceRows, column, sum, bias_of(column));
`;
  return makeKernel({
    id: "nn/matmul-sum",
    label: "matmul sum of parts",
    constants: spec,
    workgroupSize: lanes,
    bindings: [{ name: "partials", access: "read", element: "vec4f" }, ...endBindings(end)],
    params: ["splits", "items", "firstItem", "firstRow", "sliceRows", ...END_PARAMS],
    declarations: [...(slices > 1 ? [vectorArray("sums", lanes)] : []), endFunctions(end)],
    body,
  });
}
