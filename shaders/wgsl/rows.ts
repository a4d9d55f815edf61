/**
 * Four neighbouring numbers of a row at a time. Layout: rows [rows, width]; vector `column` of a row holds the numbers 4·column … + 3,
 * zero beyond the row. Where the width is a multiple of 4 it is one access. `<name>Base` is where the binding starts, in its elements.
 */
import { loaded, type Precision, stored } from "./kernel.ts";
import { range, u32, wgsl } from "./wgsl.ts";

/** Element of a binding of such rows. */
export function vectorElement(width: number, precision: Precision = "f32"): "f32" | "vec4f" | "f16" | "vec4h" {
  if (width % 4 !== 0) return precision;
  return precision === "f16" ? "vec4h" : "vec4f";
}

/** `fn <name>(row, column) -> vec4f` from the binding `binding`. */
export function loadVector(name: string, binding: string, width: number, precision: Precision = "f32"): string {
  const element = vectorElement(width, precision);
  return wgsl`
fn ${name}(row: u32, column: u32) -> vec4f {
#if ${width % 4 === 0}
  if (column >= ${u32(Math.floor(width / 4))}) { return vec4f(); }
  return ${loaded(element, `${binding}[row * ${u32(Math.floor(width / 4))} + column - params.${binding}Base]`)};
#else
  var result = vec4f();
  let at = row * ${u32(width)} + column * 4u - params.${binding}Base;
${range(4)
  .map((i) => `  if (column * 4u + ${u32(i)} < ${u32(width)}) { result[${i}] = ${loaded(element, `${binding}[at + ${u32(i)}]`)}; }`)
  .join("\n")}
  return result;
#endif
}
`;
}

/** `fn <name>(row, column, vector)` to the binding `binding`; adds to what is there where `accumulate` says so. */
export function storeVector(name: string, binding: string, width: number, accumulate: boolean, precision: Precision = "f32"): string {
  const element = vectorElement(width, precision);
  const sum = (at: string, value: string) => {
    const result = accumulate ? `${loaded(element, `${binding}[${at}]`)} + ${value}` : value;
    return `${binding}[${at}] = ${stored(element, result)};`;
  };
  return wgsl`
fn ${name}(row: u32, column: u32, vector: vec4f) {
#if ${width % 4 === 0}
  let at = row * ${u32(Math.floor(width / 4))} + column - params.${binding}Base;
  ${sum("at", "vector")}
#else
  let at = row * ${u32(width)} + column * 4u - params.${binding}Base;
${range(4)
  .map((i) => `  if (column * 4u + ${u32(i)} < ${u32(width)}) { ${sum(`at + ${u32(i)}`, `vector[${i}]`)} }`)
  .join("\n")}
#endif
}
`;
}
