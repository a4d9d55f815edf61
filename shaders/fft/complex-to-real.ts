/**
 * Inverse FFT to real data in one pass, N = 2L, as a complex one of half the length; the way back of fft/real-to-complex.ts:
 *
 *   Z_k = (X_k + X*_{L−k}) + i·exp(+2πik/N)·(X_k − X*_{L−k}),   z = L·IFFT_L(Z),   x_{2n} + i·x_{2n+1} = scale·z_n.
 *
 * X_0 and X_L are taken as real. The other X_k may have a factor.
 *
 * Layout: source [outer, L + 1, inner] complex, destination [outer, N, inner] real; a column is (inner, outer), inner fastest.
 * A workgroup does `shape.columns` columns; lane → (slot, thread) as in fft/stockham.ts.
 * Bindings: 0 source, 1 destination, 2 tables (twiddles, roots of order N, scale), 3 params.
 */
import { type Kernel, loaded, makeKernel, stored, storedElement } from "../wgsl/kernel.ts";
import { pairFactor, REAL_FFT_PARAMS, realElement, realFftDeclarations, type RealFftKernelSpec, realFftStart, stockhamMirror } from "./real.ts";
import { eachInput, eachOutput, stockhamName, stockhamStages, workgroupLanes } from "./stockham.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export function complexToRealKernel(spec: RealFftKernelSpec): Kernel {
  const { shape, inner } = spec;
  const half = shape.length;
  const complex = storedElement("pair", spec.sourcePrecision);
  const element = realElement(spec, spec.destinationPrecision);
  // The conjugate root is the root of swapped values; re and im stay swapped, for the transform back.
  const combine = (i: number) => `let mirrored = vec2f(m${i}.x, -m${i}.y);
      let odd = turn_root((v${i} - mirrored).yx, point).yx;
      let z = select(v${i} + mirrored - rotate(odd), vec2f(v${i}.x + v${i}.y, v${i}.x - v${i}.y), point == 0u);
      v${i} = z.yx;`;
  const load = (i: number) => `v${i} = ${loaded(complex, `source[source_start + point * ${u32(inner)}]`)}${pairFactor(spec)};
      if (point == 0u) { v${i}.y = ${loaded(complex, `source[source_start + ${u32(half * inner)}]`)}.x; }`;
  const store = (i: number) =>
    inner === 1
      ? `destination[outer * L + point - params.destinationBase] = ${stored(element, `scale(v${i}).yx`)};`
      : wgsl`let z = scale(v${i});
      destination[destination_start + 2u * point * ${u32(inner)}] = ${stored(element, "z.y")};
      destination[destination_start + (2u * point + 1u) * ${u32(inner)}] = ${stored(element, "z.x")};`;
  return makeKernel({
    id: "fft/complex-to-real",
    label: `fft to real ${2 * half} (${stockhamName(shape)})`,
    constants: spec,
    workgroupSize: workgroupLanes(shape),
    bindings: [
      { name: "source", access: "read", element: complex },
      { name: "destination", access: "read_write", element },
      { name: "tables", access: "read", element: "vec2f" },
    ],
    params: REAL_FFT_PARAMS,
    declarations: realFftDeclarations(spec),
    body: wgsl`${realFftStart(spec, half + 1, 2 * half)}
  if (active_column) {
${eachInput(shape, load)}
  }
${stockhamMirror(shape, eachInput)}
${eachInput(shape, combine)}
${stockhamStages(shape, spec.twiddles)}
  if (active_column) {
${eachOutput(shape, store)}
  }
`,
  });
}
