/**
 * Complex pointwise multiply: out[i] = scale · a[i] · b[i mod |b|], or with the conjugate of b. The second operand repeats along leading
 * axes; its length is that of its binding.
 *
 * Layout: interleaved complex, flat. One lane per element. A dispatch covers `count` elements: a and out are bound from the first of them
 * on, and so is b, with `firstFactor` 0; where b repeats it is bound as a whole, and `firstFactor` is the number of the first element.
 * Bindings: 0 a, 1 b, 2 out, 3 params.
 */
import { COMPLEX } from "../wgsl/complex.ts";
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { f32, wgsl } from "../wgsl/wgsl.ts";

export interface ComplexMultiplyKernelSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  readonly conjugate: boolean;
  readonly scale: number;
}

export function complexMultiplyKernel(spec: ComplexMultiplyKernelSpec): Kernel {
  const body = wgsl`  let i = group * LANES + lane;
  if (i >= params.count) { return; }
  var factor = b[(params.firstFactor + i) % arrayLength(&b)];
#if ${spec.conjugate}
  factor.y = -factor.y;
#endif
  out[i] = ${spec.scale === 1 ? "" : `${f32(spec.scale)} * `}complex_multiply(a[i], factor);
`;
  return makeKernel({
    id: "complex-multiply/complex-multiply",
    label: `complex multiply${spec.conjugate ? " conjugate" : ""}`,
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "a", access: "read", element: "vec2f" },
      { name: "b", access: "read", element: "vec2f" },
      { name: "out", access: "read_write", element: "vec2f" },
    ],
    params: ["firstFactor", "count"],
    declarations: COMPLEX,
    body,
  });
}
