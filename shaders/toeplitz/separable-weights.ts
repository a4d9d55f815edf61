/**
 * The weights of a separable bias for every offset, of which there are fewer or more in some forms, or the gradient of these: both say which numbers
 * belong together (toeplitz/separable.ts). With m the place of an offset along an axis of S positions, and M of those that there are weights for,
 * m + M − S is that of its weight, or |m − (S − 1)| if they are symmetric; those of columns come after those of rows, or are the same.
 *
 *   expand: out[h, m] = weights[h, place of m],   gradient: out[h, n] = Σ_b Σ_m correlations[b, h, m] over all m of the place n.
 *
 * Layout: weights [heads, weights], expanded [heads, offsets], correlations [B, H, offsets], gradient [heads, weights]. One lane per number of `out`.
 * Bindings: 0 weights or correlations, 1 spectrum or out, 2 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface SeparableWeightsKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  /** Positions of the grid along its axes, H and W. */
  readonly sizes: readonly number[];
  /** Those that there are weights for, at least as many. */
  readonly reach: readonly number[];
  readonly symmetric: boolean;
  /** Whether rows and columns have the same weights. */
  readonly shared: boolean;
  /** Whether it is the gradient. */
  readonly gradient: boolean;
}

export function separableWeightsKernel(spec: SeparableWeightsKernelSpec): Kernel {
  const { sizes, reach, symmetric, shared, gradient } = spec;
  const [height, width] = sizes as [number, number];
  const counts = reach.map((size) => (symmetric ? size : 2 * size - 1)) as [number, number];
  const weights = shared ? counts[0] : counts[0] + counts[1];
  const offsets = 2 * (height + width - 1);
  const place = (axis: number, m: string) => {
    const start = axis === 1 && !shared ? counts[0] : 0;
    return symmetric
      ? `${u32(start)} + max(${m}, ${u32(sizes[axis]! - 1)}) - min(${m}, ${u32(sizes[axis]! - 1)})`
      : `${m} + ${u32(start + reach[axis]! - sizes[axis]!)}`;
  };
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
#if ${gradient}
  var result = 0.0;
  for (var m = 0u; m < ${u32(offsets)}; m++) {
    if (place(m) == index % ${u32(weights)}) {
      for (var b = 0u; b < params.batch; b++) { result += correlations[b * params.batchStride + index / ${u32(weights)} * ${u32(offsets)} + m]; }
    }
  }
  out[index] = result;
#else
  spectrum[index] = weights[index / ${u32(offsets)} * ${u32(weights)} + place(index % ${u32(offsets)})];
#endif
`;
  return makeKernel({
    id: "toeplitz/separable-weights",
    label: `separable bias ${gradient ? "weight gradient" : "weights"} ${height}×${width}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: gradient ? "correlations" : "weights", access: "read", element: "f32" },
      { name: gradient ? "out" : "spectrum", access: "read_write", element: "f32" },
    ],
    params: ["count", ...(gradient ? ["batch", "batchStride"] : [])],
    declarations: wgsl`fn place(m: u32) -> u32 {
  if (m < ${u32(2 * height - 1)}) { return ${place(0, "m")}; }
  let n = m - ${u32(2 * height - 1)};
  return ${place(1, "n")};
}`,
    body,
  });
}
