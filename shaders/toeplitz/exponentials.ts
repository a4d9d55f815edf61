/**
 * Weights of a multiplicative bias (Luo et al. 2021): out[h, o] = exp(w[h, o] − max_o w[h, o]), of which the common factor cancels. Of a
 * causal matrix only the first N weights of a head count; the others become zero. So does a weight of −∞.
 *
 * The weights themselves are kept beside the spectrum, with what is to be known of all of a head ({@link KEPT}): rows whose sums are lost in the
 * rounding of transforms are summed directly (attention/multiplicative/finish.ts).
 *
 * Layout: weights [heads, size], out [heads of the dispatch, size], kept [heads, KEPT.weights + size]. A workgroup does one head.
 * Bindings: 0 weights, 1 out, 2 kept, 3 params.
 */
import { EXPONENTIAL } from "../wgsl/exponential.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { joinLanes, LARGEST_OF_LANES, partials, SUM_LANES } from "../wgsl/lanes.ts";
import { LOWEST, u32, wgsl } from "../wgsl/wgsl.ts";

/** Where a head's record has: the largest weight, Σ E and √Σ E² of the exponentials, the first and the last weight above −∞, and the weights. */
export const KEPT = { largest: 0, sum: 1, norm: 2, first: 3, last: 4, weights: 5 } as const;

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
  const joined = (value: string, join: string) => wgsl`  workgroupBarrier();
  partials[lane] = ${value};
${join}`;
  const [smallest, largest] = ["min", "max"].map((f) => joinLanes((own, other) => `${own} = ${f}(${own}, ${other});`));
  const body = wgsl`  let first = params.firstWeight + group * SIZE;
  let record = (params.firstHead + group) * ${u32(KEPT.weights + size)} - params.keptBase;
  var largest = ${LOWEST};
  for (var i = lane; i < COUNT; i += LANES) { largest = max(largest, weights[first + i]); }
${joined("largest", LARGEST_OF_LANES)}
  largest = partials[0];
  var sum = 0.0;
  var squares = 0.0;
  var begin = f32(SIZE); // exact to 2²⁴
  var last = 0.0;
  for (var i = lane; i < SIZE; i += LANES) {
    var value = 0.0;
    var weight = 0.0;
    if (i < COUNT) {
      weight = weights[first + i];
      value = exponential(weight - largest);
      // Also of weights whose exponential is zero for the transforms.
      if (bitcast<u32>(weight) != 0xff800000u) {
        begin = min(begin, f32(i));
        last = max(last, f32(i));
      }
    }
    sum += value;
    squares = fma(value, value, squares);
    out[group * SIZE + i] = value;
    kept[record + ${u32(KEPT.weights)} + i] = weight;
  }
${joined("sum", SUM_LANES)}
  sum = partials[0];
${joined("squares", SUM_LANES)}
  squares = partials[0];
${joined("begin", smallest!)}
  begin = partials[0];
${joined("last", largest!)}
  if (lane == 0u) {
    kept[record + ${u32(KEPT.largest)}] = largest;
    kept[record + ${u32(KEPT.sum)}] = sum;
    kept[record + ${u32(KEPT.norm)}] = sqrt(squares);
    kept[record + ${u32(KEPT.first)}] = begin;
    kept[record + ${u32(KEPT.last)}] = partials[0];
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
      { name: "kept", access: "read_write", element: "f32" },
    ],
    params: ["firstWeight", "firstHead", "keptBase"],
    declarations: [
      wgsl`const SIZE = ${u32(size)};
const COUNT = ${u32(count)};
${EXPONENTIAL}`,
      partials("f32", lanes),
    ],
    body,
  });
}
