/**
 * Second of three passes of a long Toeplitz product in one dimension: in place, for every head, branch, k_a and pair of channels c,
 *
 *   row transform over b → k_b,  times spectrum[h, branch, k_a, k_b],  inverse transform over k_b → b,  times
 *   exp(+2πi·b·(k_a + branch/2)/M).
 *
 * The result stays swapped (im, re), which makes the inverse transforms here and in toeplitz/columns-inverse.ts forward ones.
 *
 * Layout: work as in toeplitz/pass.ts; the spectrum [H, branch, k_a, k_b] keeps the transposed order, k = k_a + A·k_b, in which its own FFT
 * leaves it. A column is (c, k_a, branch, h); where a head has few pairs, the lanes run along points.
 *
 * The weights are real, so the transform of a half at the frequency k, or with the half step of toeplitz/embed.ts k + 1/2, is the conjugate
 * of that at the frequency's negative: Ĉ[M − k] = conj Ĉ[k], Ŝ[M − 1 − k] = conj Ŝ[k]. Row k_a is thus row A − branch − k_a backwards and
 * conjugated, but for row 0 of the circulant half, and of two such rows the first serves both: of the 2A rows of a head, A + 1 are read.
 * Columns go through k_a so that the two are neighbours, and the second finds it in a cache: 0, 1, A − 1, 2, A − 2, … in the circulant half,
 * 0, A − 1, 1, A − 2, … in the other.
 *
 * Bindings: 0 work, 1 spectrum, 2 tables (twiddles, roots of order 2M), 3 params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { rootFunction, type RootTable } from "../fft/roots.ts";
import { eachInput, eachOutput, stockhamName, stockhamProduct, stockhamRegisters, workgroupLanes } from "../fft/stockham.ts";
import { columnOverB, PASS_PARAMS, passDeclarations, type ToeplitzPassSpec } from "./pass.ts";
import { wgsl } from "../wgsl/wgsl.ts";

export interface ToeplitzRowsSpec extends ToeplitzPassSpec {
  /** Roots of order 2M. */
  readonly roots: RootTable;
}

export function toeplitzRowsKernel(spec: ToeplitzRowsSpec): Kernel {
  const { shape } = spec;
  const read = (register: number) => {
    const factor = "spectrum[spectrum_start + point * stride] * vec2f(1.0, sign)";
    return `v${register} = complex_multiply(v${register}, ${factor}).yx;`;
  };
  const body = wgsl`${stockhamRegisters(shape)}
${columnOverB(shape)}
  let branch = line / A % 2u;
  let place = line % A;
  let nth = place + 1u - branch; // an even one and the next share a row of the spectrum
  let row = nth / 2u;
  let mirrored = nth % 2u == 1u && place > 0u;
  let k_a = select(row, A - branch - row, mirrored);
  let turns = 2u * k_a + branch;
  let work_start = (line - place + k_a) * B * params.pairs + c;
  let spectrum_start = ((bh % params.heads * 2u + branch) * A + row) * B + select(0u, B - 1u, mirrored) - params.spectrumBase;
  let stride = select(1u, 0xffffffffu, mirrored); // 1 or, modulo 2^32, -1
  let sign = select(${spec.transposed ? "-1.0, 1.0" : "1.0, -1.0"}, mirrored);
  if (active_column) {
${eachInput(shape, (i) => `v${i} = work[work_start + point * params.pairs];`)}
  }
${stockhamProduct(shape, spec.twiddles, read)}
  if (active_column) {
${eachOutput(shape, (i) => `work[work_start + point * params.pairs] = turn_root(v${i}, turns * point);`)}
  }
`;
  return makeKernel({
    id: "toeplitz/rows",
    label: `toeplitz rows ${spec.transposed ? "transposed " : ""}${spec.a}×${spec.b} (${stockhamName(shape)})`,
    constants: spec,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "work", access: "read_write", element: "vec2f" },
      { name: "spectrum", access: "read", element: "vec2f" },
      { name: "tables", access: "read", element: "vec2f" },
    ],
    params: [...PASS_PARAMS, "heads", "spectrumBase"],
    declarations: [...passDeclarations(spec), rootFunction(spec.roots)],
    body,
  });
}
