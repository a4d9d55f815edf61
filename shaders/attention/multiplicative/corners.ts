/**
 * Unit vectors at the corners of a grid [H, W], whose Toeplitz products are the weights themselves: out[h, n, 2·c_y + c_x] = 1 for the token
 * n = c_y (H − 1)·W + c_x (W − 1), else 0. A sequence is a grid of one row.
 *
 * Layout: out [heads, H·W, 4]. One lane per number.
 * Bindings: 0 out, 1 params.
 */
import { type Kernel, makeKernel } from "../../wgsl/kernel.ts";
import { u32, wgsl } from "../../wgsl/wgsl.ts";

export interface ToeplitzCornersKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  /** Rows of the grid, `H`; 1 for a sequence. */
  readonly height: number;
  /** Tokens of a row of the grid, `W`. */
  readonly width: number;
}

export function toeplitzCornersKernel(spec: ToeplitzCornersKernelSpec): Kernel {
  const { lanes, height, width } = spec;
  const body = wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let n = index / 4u % ${u32(height * width)};
  let corner = index / 2u % 2u * ${u32((height - 1) * width)} + index % 2u * ${u32(width - 1)};
  out[index] = select(0.0, 1.0, n == corner);
`;
  return makeKernel({
    id: "attention/multiplicative/corners",
    label: `toeplitz corners ${height}×${width}`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [{ name: "out", access: "read_write", element: "f32" }],
    params: ["count"],
    declarations: "",
    body,
  });
}
