/**
 * Sums of squares of differences: Σ_i (x_i − y_i)², over the elements of each workgroup.
 *
 * Layout: x, y, flat, as vectors where their size is a multiple of 4 → sums, three words for each workgroup: its sum as float32, how many numbers it
 * has, 0. A workgroup does `chunk` elements of the `count` that are bound; lanes take every so many. Bindings: 0 x, 1 y, 2 sums, 3 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { partials, SUM_LANES } from "../wgsl/lanes.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface SquaredErrorSpec {
  /** Lanes of a workgroup, a power of two. */
  readonly lanes: number;
  readonly vectors: boolean;
}

export function squaredErrorKernel(spec: SquaredErrorSpec): Kernel {
  const element = spec.vectors ? "vec4f" : "f32";
  const body = wgsl`  let begin = group * params.chunk;
  let end = min(begin + params.chunk, params.count);
  var sum = 0.0;
  for (var i = begin + lane; i < end; i += LANES) {
    let difference = x[i] - y[i];
    sum += ${spec.vectors ? "dot(difference, difference)" : "difference * difference"};
  }
  partials[lane] = sum;
${SUM_LANES}
  if (lane == 0u) {
    let at = 3u * (params.firstSum + group);
    sums[at] = bitcast<u32>(partials[0]);
    sums[at + 1u] = (end - begin) * ${u32(spec.vectors ? 4 : 1)};
    sums[at + 2u] = 0u;
  }
`;
  return makeKernel({
    id: "nn/squared-error",
    label: "squared error",
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "x", access: "read", element },
      { name: "y", access: "read", element },
      { name: "sums", access: "read_write", element: "u32" },
    ],
    params: ["count", "chunk", "firstSum"],
    declarations: ["", partials("f32", spec.lanes)],
    body,
  });
}
