/**
 * Second of three passes of a long Toeplitz product on a grid: in place, for every head, branch in y, k_y and pair of channels, the
 * Toeplitz product of the row. Both branches in x stay in registers (toeplitz/branches.ts), as does the padding to the period M_x ≥ W.
 *
 * The result stays swapped (im, re), which makes the inverse transforms here and in toeplitz/columns-inverse.ts forward ones.
 *
 * Layout: work [heads, 2, M_y, W, pairs] complex as in toeplitz/pass.ts, spectrum [H, branch in y, branch in x, M_y, M_x]. A column is
 * (c, k_y, branch in y, h); where a head has few pairs, the lanes run along points.
 * Bindings: 0 work, 1 spectrum, 2 tables (twiddles, roots of order 2M_x), 3 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import type { RootTable } from "../fft/roots.ts";
import { eachInput, stockhamName, stockhamRegisters, workgroupLanes } from "../fft/stockham.ts";
import { branchDeclarations, branchesOutput, toeplitzBranches } from "./branches.ts";
import { columnOverB, PASS_PARAMS, passDeclarations, type ToeplitzPassSpec } from "./pass.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface ToeplitzGridRowsSpec extends ToeplitzPassSpec {
  /** Roots of order 2M_x, M_x of them. */
  readonly axisRoots: RootTable;
}

export function toeplitzGridRowsKernel(spec: ToeplitzGridRowsSpec): Kernel {
  const { shape } = spec;
  const branches = {
    shape,
    twiddles: spec.twiddles,
    axes: [{ size: spec.b, period: shape.length, roots: spec.axisRoots }],
    transposed: spec.transposed,
  };
  const body = wgsl`${stockhamRegisters(shape)}
${columnOverB(shape)}
  let work_start = line * B * params.pairs + c;
  let branch_y = line / A % 2u;
  let spectrum_start = ((bh % params.heads * 4u + branch_y * 2u) * A + line % A) * ${u32(shape.length)} - params.spectrumBase;
  if (active_column) {
${eachInput(shape, (i) => `if (point < B) { v${i} = work[work_start + point * params.pairs]; }`)}
  }
${toeplitzBranches(branches, spec.a * shape.length)}
  if (active_column) {
${branchesOutput(branches, (i) => `if (point < B) { work[work_start + point * params.pairs] = v${i}; }`)}
  }
`;
  return makeKernel({
    id: "toeplitz/grid-rows",
    label: `toeplitz grid rows ${spec.transposed ? "transposed " : ""}${spec.a}×${spec.b} (${stockhamName(shape)})`,
    constants: spec,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "work", access: "read_write", element: "vec2f" },
      { name: "spectrum", access: "read", element: "vec2f" },
      { name: "tables", access: "read", element: "vec2f" },
    ],
    params: [...PASS_PARAMS, "heads", "spectrumBase"],
    declarations: [...passDeclarations(spec), branchDeclarations(branches)],
    body,
  });
}
