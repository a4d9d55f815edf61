/**
 * FFT of real data in one pass, N = 2L, as a complex one of half the length (Cooley, Lewis and Welch 1970):
 *
 *   z_n = x_{2n} + i·x_{2n+1},   Z = FFT_L(z),   X_k = (Z_k + Z*_{L−k})/2 − i·exp(−2πik/N)·(Z_k − Z*_{L−k})/2,   0 ≤ k ≤ L.
 *
 * X_k stands for X_{N−k} too where 0 < k < L, and may have a factor there.
 *
 * Layout: source [outer, N, inner] real, destination [outer, L + 1, inner] complex; a column is (inner, outer), inner fastest.
 * A workgroup does `shape.columns` columns; lane → (slot, thread) as in fft/stockham.ts.
 * Bindings: 0 source, 1 destination, 2 tables (twiddles, roots of order N, scale), 3 params.
 */
import { type Kernel, loaded, makeKernel, stored, storedElement } from "../wgsl/kernel.ts";
import { pairFactor, REAL_FFT_PARAMS, realElement, realFftDeclarations, type RealFftKernelSpec, realFftStart, stockhamMirror } from "./real.ts";
import { eachInput, eachOutput, stockhamName, stockhamStages, workgroupLanes } from "./stockham.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export function realToComplexKernel(spec: RealFftKernelSpec): Kernel {
  const { shape, inner } = spec;
  const half = shape.length;
  const element = realElement(spec, spec.sourcePrecision);
  const complex = storedElement("pair", spec.destinationPrecision);
  const real = (index: string) => loaded(element, `source[source_start + ${index} * ${u32(inner)}]`);
  const load =
    inner === 1 ? loaded(element, "source[outer * L + point - params.sourceBase]") : `vec2f(${real("2u * point")}, ${real("(2u * point + 1u)")})`;
  const store = (i: number) => `let z = v${i};
      let mirrored = vec2f(m${i}.x, -m${i}.y);
      destination[destination_start + point * ${u32(inner)}] = ${stored(complex, `scale(z + mirrored + rotate(turn_root(z - mirrored, point)))${pairFactor(spec)}`)};
      // Z_0 is its own mirror image, and makes both ends.
      if (point == 0u) { destination[destination_start + ${u32(half * inner)}] = ${stored(complex, "scale(vec2f(2.0 * (z.x - z.y), 0.0))")}; }`;
  return makeKernel({
    id: "fft/real-to-complex",
    label: `fft real ${2 * half} (${stockhamName(shape)})`,
    constants: spec,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "source", access: "read", element },
      { name: "destination", access: "read_write", element: complex },
      { name: "tables", access: "read", element: "vec2f" },
    ],
    params: REAL_FFT_PARAMS,
    declarations: realFftDeclarations(spec),
    body: wgsl`${realFftStart(spec, 2 * half, half + 1)}
  if (active_column) {
${eachInput(shape, (i) => `v${i} = ${load};`)}
  }
${stockhamStages(shape, spec.twiddles)}
${stockhamMirror(shape, eachOutput)}
  if (active_column) {
${eachOutput(shape, store)}
  }
`,
  });
}
