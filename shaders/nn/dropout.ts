/**
 * Dropout (Srivastava et al. 2014): out_i = x_i / (1 − rate) where a random word is at least rate·2³², and 0·x_i elsewhere. The words of the elements
 * 4j … 4j + 3 are pcg4d(seed, step, site, j), so that whoever needs the mask once more computes it.
 *
 * Layout: x, out, flat, as vectors where their size is a multiple of 4; clock: lower and upper half of the seed, step, unused. One lane per four
 * neighbours, of which a dispatch has `count` from `firstQuad` on. The factor 1 / (1 − rate) comes as the bits `scale`.
 * Bindings: 0 x, 1 clock, 2 out, 3 params.
 */
import { PCG4D } from "../wgsl/counter-random.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { range, u32, unroll, wgsl } from "../wgsl/wgsl.ts";

export interface DropoutKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  readonly vectors: boolean;
  /** {@link foldSeed}'s. */
  readonly seedFactor: number;
}

export function dropoutKernel(spec: DropoutKernelSpec): Kernel {
  const element = spec.vectors ? "vec4f" : "f32";
  const body = wgsl`  let i = group * LANES + lane;
  if (i >= params.count) { return; }
  let quad = params.firstQuad + i;
  let words = pcg4d(vec4u(clock[0] ^ (clock[1] * ${u32(spec.seedFactor)}), clock[2], params.site, quad));
  let factors = select(vec4f(), vec4f(bitcast<f32>(params.scale)), words >= vec4u(params.threshold));
#if ${spec.vectors}
  out[quad - params.outBase] = x[quad - params.xBase] * factors;
#else
  let at = 4u * quad;
${unroll(range(4), (k) => `  if (at + ${u32(k)} < params.size) { out[at + ${u32(k)} - params.outBase] = x[at + ${u32(k)} - params.xBase] * factors[${k}]; }`)}
#endif
`;
  return makeKernel({
    id: "nn/dropout",
    label: "dropout",
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "x", access: "read", element },
      { name: "clock", access: "read", element: "u32" },
      { name: "out", access: "read_write", element },
    ],
    params: ["count", "firstQuad", "size", "site", "threshold", "scale", "xBase", "outBase"],
    declarations: PCG4D,
    body,
  });
}
