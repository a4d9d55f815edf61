/**
 * Second of three passes of a long Toeplitz product in one dimension: in place, for every head, branch, k_a and pair of channels c,
 *
 *   row transform over b → k_b,  times spectrum[h, branch, k_a, k_b],  inverse transform over k_b → b,  times
 *   exp(+2πi·b·(k_a + branch/2)/M).
 *
 * The result stays swapped (im, re), which makes the inverse transforms here and in toeplitz-columns-inverse.ts forward ones.
 *
 * Layout: work as in toeplitz-pass.ts; the spectrum keeps the transposed order [k_a, k_b] in which its own FFT leaves it. A column is
 * (c, k_a, branch, h); where a head has few pairs, the lanes run along points.
 * Bindings: 0 work, 1 spectrum, 2 tables (twiddles, roots of order 2M), 3 params.
 */
import { type Kernel, makeKernel } from "./kernel.ts";
import { rootFunction, type RootTable } from "./roots.ts";
import { eachInput, eachOutput, stockhamName, stockhamProduct, stockhamRegisters, workgroupLanes } from "./stockham.ts";
import { spectrumFactor } from "./toeplitz-branches.ts";
import { columnOverB, PASS_PARAMS, passDeclarations, type ToeplitzPassSpec } from "./toeplitz-pass.ts";
import { wgsl } from "./wgsl.ts";

export interface ToeplitzRowsSpec extends ToeplitzPassSpec {
  /** Roots of order 2M. */
  readonly roots: RootTable;
}

export function toeplitzRowsKernel(spec: ToeplitzRowsSpec): Kernel {
  const { shape } = spec;
  const body = wgsl`${stockhamRegisters(shape)}
${columnOverB(shape)}
  let turns = 2u * (line % A) + line / A % 2u; // 2·k_a + branch
  let spectrum_start = (bh % params.heads * 2u * A + line % (2u * A)) * B - params.spectrumBase;
  if (active_column) {
${eachInput(shape, (i) => `v${i} = work[work_start + point * params.pairs];`)}
  }
${stockhamProduct(shape, spec.twiddles, (i) => `v${i} = complex_multiply(v${i}, ${spectrumFactor("spectrum_start + point", spec.transposed)}).yx;`)}
  if (active_column) {
${eachOutput(shape, (i) => `work[work_start + point * params.pairs] = turn_root(v${i}, turns * point);`)}
  }
`;
  return makeKernel({
    label: `toeplitz rows ${spec.transposed ? "transposed " : ""}${spec.a}×${spec.b} (${stockhamName(shape)})`,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "work", access: "read_write", element: "vec2f" },
      { name: "spectrum", access: "read", element: "vec2f" },
      { name: "tables", access: "read", element: "vec2f" },
    ],
    params: [...PASS_PARAMS, "heads", "spectrumBase"],
    declarations: wgsl`${passDeclarations(spec)}${rootFunction(spec.roots)}`,
    body,
  });
}
