/**
 * Sums of squares of numbers, or sums of such sums: out[first + g] = Σ x² or Σ x over the `share` elements of workgroup g. A sum is not finite where
 * a number, or the sum, is not: this goes by the bits, all ones in the exponent, because WGSL's arithmetic may take for granted that there are none
 * such; the sum is then the bits of a NaN.
 *
 * Layout: source `count` elements, flat; `out` as words, one a workgroup. A workgroup has `share` elements, the last one the rest; lane l takes elements
 * l, l + lanes, …, so that neighbours read neighbours. Their sums are joined in a fixed order.
 * Bindings: 0 source, 1 out; then params.
 */
import { type Kernel, makeKernel } from "../wgsl/kernel.ts";
import { partials, SUM_LANES } from "../wgsl/lanes.ts";
import { EXPONENT_BITS } from "../wgsl/non-finite.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface SumOfSquaresKernelSpec {
  /** Lanes of a workgroup, a power of two. */
  readonly lanes: number;
  /** Numbers that are squared, one by one or four at a time, or sums that come from this kernel. */
  readonly source: "numbers" | "vectors" | "sums";
}

const NOT_A_NUMBER = u32(0x7fc00000);

export function sumOfSquaresKernel(spec: SumOfSquaresKernelSpec): Kernel {
  const vectors = spec.source === "vectors";
  const [float, unsigned] = vectors ? ["vec4f", "vec4u"] : ["f32", "u32"];
  const body = wgsl`  let first = group * params.share;
  let end = min(first + params.share, params.count);
  var sum = ${float}();
  var exponents = ${unsigned}();
  for (var i = first + lane; i < end; i += LANES) {
    let x = source[i];
    exponents = max(exponents, bitcast<${unsigned}>(x) & ${unsigned}(${EXPONENT_BITS}));
    sum ${spec.source === "sums" ? "+= x" : "= fma(x, x, sum)"};
  }
#if ${vectors}
  let total = (sum.x + sum.y) + (sum.z + sum.w);
  let largest = max(max(exponents.x, exponents.y), max(exponents.z, exponents.w));
#else
  let total = sum;
  let largest = exponents;
#endif
  // The second number counts the lanes that met one that is not finite.
  partials[lane] = vec2f(total, select(0.0, 1.0, largest == ${EXPONENT_BITS}));
${SUM_LANES}
  if (lane == 0u) { out[params.first + group] = select(bitcast<u32>(partials[0].x), ${NOT_A_NUMBER}, partials[0].y > 0.0); }
`;
  return makeKernel({
    id: "nn/sum-of-squares",
    label: spec.source === "sums" ? "sum of sums of squares" : "sums of squares",
    constants: spec,
    workgroupSize: spec.lanes,
    bindings: [
      { name: "source", access: "read", element: float as "f32" | "vec4f" },
      { name: "out", access: "read_write", element: "u32" },
    ],
    params: ["first", "share", "count"],
    declarations: [partials("vec2f", spec.lanes)],
    body,
  });
}
