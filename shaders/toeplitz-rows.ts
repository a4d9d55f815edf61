/**
 * Second of three passes of a long Toeplitz product: in place, for every branch, k_a and pair of channels c,
 *
 *   row transform over b → k_b,  times spectrum[h, branch, k_a, k_b],  inverse transform over k_b → b,  times exp(+2πi·b·k_a/M).
 *
 * The result stays swapped (im, re), which makes the inverse transforms here and in toeplitz-columns-inverse.ts forward ones.
 *
 * Layout: work [2, A, B, pairs] complex; the spectrum keeps the transposed order [k_a, k_b] in which its own FFT leaves it. A column is
 * (c, k_a, branch), c fastest.
 * Bindings: 0 work, 1 spectrum, 2 tables (twiddles, roots of order 2M), 3 params.
 */
import { type Kernel, makeKernel } from "./kernel.ts";
import { rootFunction } from "./roots.ts";
import { eachInput, eachOutput, stockhamDeclarations, stockhamRegisters, stockhamRewind, stockhamStages, workgroupLanes } from "./stockham.ts";
import { type ToeplitzPassSpec, toeplitzPassConstants } from "./toeplitz-pass.ts";
import { u32, wgsl } from "./wgsl.ts";

export function toeplitzRowsKernel(spec: ToeplitzPassSpec): Kernel {
  const { shape } = spec;
  const body = wgsl`${stockhamRegisters(shape)}
  let column = group * ${u32(shape.columns)} + slot;
  let active_column = column < params.pairs * A * 2u;
  let c = column % params.pairs;
  let branch_row = column / params.pairs; // branch·A + k_a
  let h = (params.firstPair + c) / PAIRS % params.heads;
  let row_start = branch_row * B * params.pairs + c;
  let spectrum_row = (h * 2u * A + branch_row) * B - params.spectrumBase;
  let k_a = branch_row % A;
  if (active_column) {
${eachInput(shape, (i) => `v${i} = work[row_start + point * params.pairs];`)}
  }
  for (var direction = 0u; direction < 2u; direction++) {
${stockhamStages(shape, spec.twiddleOffset)}
    if (direction == 0u) {
${eachOutput(shape, (i) => `v${i} = complex_multiply(v${i}, spectrum[spectrum_row + point]).yx;`)}
${stockhamRewind(shape)}
    }
  }
  if (active_column) {
${eachOutput(shape, (i) => `work[row_start + point * params.pairs] = turn_root(v${i}, 2u * k_a * point);`)}
  }
`;
  return makeKernel({
    label: `toeplitz rows ${spec.a}×${spec.b} (${shape.radices.join("·")})`,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "work", access: "read_write", element: "vec2f" },
      { name: "spectrum", access: "read", element: "vec2f" },
      { name: "tables", access: "read", element: "vec2f" },
    ],
    params: ["pairs", "firstPair", "heads", "spectrumBase"],
    declarations: wgsl`${toeplitzPassConstants(spec)}
${stockhamDeclarations(shape)}${rootFunction(spec.roots)}`,
    body,
  });
}
