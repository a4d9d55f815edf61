/**
 * The mean of what several workgroups have summed: loss = Σ sum / Σ count, 0 where nothing counts.
 *
 * Layout: sums [params.sums], three words each: a sum as float32, how many terms it has, and how many of them are hits → loss [1], counts [2], all
 * terms and all hits. One workgroup; lanes take every so many sums, in order. Bindings: 0 sums, 1 loss, 2 counts, 3 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { partials, SUM_LANES } from "../wgsl/lanes.ts";
import { wgsl } from "../wgsl/wgsl.ts";

export interface MeanOfSumsSpec {
  /** Lanes of a workgroup, a power of two. */
  readonly lanes: number;
}

export function meanOfSumsKernel(spec: MeanOfSumsSpec): Kernel {
  const body = wgsl`  var sum = 0.0;
  var terms = 0u;
  var hits = 0u;
  for (var i = lane; i < params.sums; i += LANES) {
    sum += bitcast<f32>(sums[3u * i]);
    terms += sums[3u * i + 1u];
    hits += sums[3u * i + 2u];
  }
  atomicAdd(&tallies[0], terms);
  atomicAdd(&tallies[1], hits);
  partials[lane] = sum;
${SUM_LANES}
  if (lane == 0u) {
    let all = atomicLoad(&tallies[0]);
    loss[0] = select(partials[0] / f32(all), 0.0, all == 0u);
    counts[0] = all;
    counts[1] = atomicLoad(&tallies[1]);
  }
`;
  return makeKernel({
    id: "nn/mean-of-sums",
    label: "mean of sums",
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "sums", access: "read", element: "u32" },
      { name: "loss", access: "read_write", element: "f32" },
      { name: "counts", access: "read_write", element: "u32" },
    ],
    params: ["sums"],
    declarations: ["", partials("f32", spec.lanes), { name: "tallies", element: "atomic<u32>", count: 2 }],
    body,
  });
}
