/**
 * Zeros in the rows of a product that belong to tokens outside its matrix.
 *
 * Layout: out [B·H, numbers of a head], of the heads of the dispatch from minus `outBase` on. One lane per number.
 * Bindings: 0 out, 1 params.
 */
import { type Kernel, makeKernel, type Precision } from "../wgsl/kernel.ts";
import { type RowMargin, rowStart, type RowStrides } from "../wgsl/rows.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface ToeplitzOutsideKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  readonly channels: number;
  readonly margin: RowMargin;
  /** Where tokens lie, all of them, if not head by head. */
  readonly strides?: RowStrides | undefined;
  readonly storage: Precision;
}

export function toeplitzOutsideKernel(spec: ToeplitzOutsideKernelSpec): Kernel {
  const { lanes, channels, storage, margin, strides } = spec;
  const { rows, before, around, tokens } = margin;
  const head = `index / ${u32(around)}`;
  const token = strides
    ? `  let token = ${head} * ${u32(rows + tokens)} + i / ${u32(channels)} + select(${u32(rows)}, 0u, i < ${u32(before)});\n`
    : "";
  const at = strides
    ? `${rowStart("token", channels, strides, 1)} + i % ${u32(channels)}`
    : `${head} * ${u32(around + rows * channels)} + i + select(${u32(rows * channels)}, 0u, i < ${u32(before)})`;
  return makeKernel({
    id: "toeplitz/outside",
    label: `toeplitz outside ${around}`,
    constants: spec,
    workgroupSize: lanes,
    bindings: [{ name: "out", access: "read_write", element: storage }],
    params: ["count", "outBase"],
    declarations: "",
    body: wgsl`  let index = group * LANES + lane;
  if (index >= params.count) { return; }
  let i = index % ${u32(around)};
${token}  out[${at} - params.outBase] = ${storage}();
`,
  });
}
