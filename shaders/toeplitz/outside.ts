/**
 * Zeros in the rows of a product that belong to tokens outside its matrix.
 *
 * Layout: out [B·H, numbers of a head], of the heads of the dispatch from minus `outBase` on. One lane per number.
 * Bindings: 0 out, 1 params.
 */
import { type Kernel, makeKernel, type Precision } from "../wgsl/kernel.ts";
import type { RowMargin } from "../wgsl/rows.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface ToeplitzOutsideKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  readonly channels: number;
  readonly margin: RowMargin;
  readonly storage: Precision;
}

export function toeplitzOutsideKernel(spec: ToeplitzOutsideKernelSpec): Kernel {
  const { lanes, channels, storage, margin } = spec;
  const { rows, before, around } = margin;
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
  out[index / ${u32(around)} * ${u32(around + rows * channels)} + i + select(${u32(rows * channels)}, 0u, i < ${u32(before)}) - params.outBase] = ${storage}();
`,
  });
}
