/** How the sums of a matrix product become results: activation(sum + bias) + residual, or as they are into scratch. */
import { type Activation, activationFunction } from "./activation.ts";
import { columnPlace, matrixElement, matrixParams, type MatrixPlaces, rowPlace } from "./matrix.ts";
import type { KernelBinding } from "../wgsl/kernel.ts";
import { range, unroll, wgsl } from "../wgsl/wgsl.ts";

export interface MatmulEnd {
  readonly out: MatrixPlaces;
  /** Add to what `out` holds, where a part of the sums has gone before. */
  readonly accumulate: boolean;
  readonly bias: boolean;
  readonly activation: Activation;
  /** A matrix that lies as `out` does. */
  readonly residual: boolean;
}

export function endBindings({ out, bias, residual }: MatmulEnd): readonly Omit<KernelBinding, "binding">[] {
  return [
    ...(bias ? [{ name: "bias", access: "read", element: matrixElement(out) } as const] : []),
    ...(residual ? [{ name: "residual", access: "read", element: matrixElement(out) } as const] : []),
    { name: "out", access: "read_write", element: matrixElement(out) },
  ];
}

export const END_PARAMS = [...matrixParams("out"), "endRow", "columns"] as const;

/**
 * `fn bias_of(column) -> vec4f`, and `fn finish(item, row, column, sum, offset)`, which stores four results from `column` on, counted in vectors, and
 * nothing beyond the matrix. `item` is where the item begins, `offset` the bias.
 */
export function endFunctions(end: MatmulEnd): string {
  const { out, accumulate, bias, residual } = end;
  const activated = (value: string) => (end.activation === "none" ? value : `activate(${value})`);
  const parts = (name: string) => `vec4f(${range(4).map((i) => `${name}[min(4u * column + ${i}u, params.columns - 1u)]`)})`;
  return wgsl`${end.activation === "none" ? "" : activationFunction(end.activation, "vec4f")}
fn bias_of(column: u32) -> vec4f {
#if ${!bias}
  return vec4f();
#elif ${out.vectors}
  return bias[min(column, params.columns / 4u - 1u)];
#else
  return ${parts("bias")};
#endif
}

fn finish(item: u32, row: u32, column: u32, sum: vec4f, offset: vec4f) {
  if (row >= params.endRow || 4u * column >= params.columns) { return; }
  let start = item + ${rowPlace("out", out, "row")};
#if ${out.vectors}
  let at = start + ${columnPlace(out, "column")};
  var value = ${bias ? "sum + offset" : "sum"};
#if ${accumulate}
  value += out[at];
#endif
  value = ${activated("value")};
#if ${residual}
  value += residual[at];
#endif
  out[at] = value;
#else
  var value = ${bias ? "sum + offset" : "sum"};
#if ${accumulate}
${unroll(range(4), (i) => `  if (4u * column + ${i}u < params.columns) { value[${i}] += out[start + ${columnPlace(out, `(4u * column + ${i}u)`)}]; }`)}
#endif
  value = ${activated("value")};
${unroll(
  range(4),
  (i) => wgsl`  if (4u * column + ${i}u < params.columns) {
    let at = start + ${columnPlace(out, `(4u * column + ${i}u)`)};
#if ${residual}
    value[${i}] += residual[at];
#endif
    out[at] = value[${i}];
  }`,
)}
#endif
}
`;
}
