/**
 * Weights of a multiplicative bias (Luo et al. 2021): out[h, o] = exp(w[h, o] − max_o w[h, o]), of which the common factor cancels. Of a
 * causal matrix only the first N weights of a head count; the others become zero. So does a weight of −∞.
 *
 * Layout: weights [heads, size], out [heads of the dispatch, size]. A workgroup does one head.
 * Bindings: 0 weights, 1 out, 2 params.
 */
import { EXPONENTIAL } from "../wgsl/exponential.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { LARGEST_OF_LANES, partials } from "../wgsl/lanes.ts";
import { LOWEST, u32, wgsl } from "../wgsl/wgsl.ts";

export interface ToeplitzExponentialsKernelSpec {
  /** Lanes of a workgroup, a power of two. */
  readonly lanes: number;
  /** Weights of a head. */
  readonly size: number;
  /** How many weights of a head count, the first ones; the others become zero. */
  readonly count: number;
}

export function toeplitzExponentialsKernel(spec: ToeplitzExponentialsKernelSpec): Kernel {
  const { lanes, size, count } = spec;
  const body = wgsl`  let first = params.firstWeight + group * SIZE;
  var largest = ${LOWEST};
  for (var i = lane; i < COUNT; i += LANES) { largest = max(largest, weights[first + i]); }
  partials[lane] = largest;
${LARGEST_OF_LANES}
  largest = partials[0];
  for (var i = lane; i < SIZE; i += LANES) {
    var value = 0.0;
    if (i < COUNT) { value = exponential(weights[first + i] - largest); }
    out[group * SIZE + i] = value;
  }
`;
  return makeKernel({
    id: "toeplitz/exponentials",
    label: `toeplitz exponentials of ${count} of ${size} weights`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [
      { name: "weights", access: "read", element: "f32" },
      { name: "out", access: "read_write", element: "f32" },
    ],
    params: ["firstWeight"],
    declarations: [
      wgsl`const SIZE = ${u32(size)};
const COUNT = ${u32(count)};
${EXPONENTIAL}`,
      partials("f32", lanes),
    ],
    body,
  });
}
