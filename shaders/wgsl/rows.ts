/**
 * Rows of numbers, four neighbours at a time. Layout: rows [rows, width]; vector `column` of a row holds the numbers 4·column … + 3, zero beyond
 * the row. Where the width is a multiple of 4 it is one access. The parameter `<binding>Base` is where a binding starts, in its elements.
 */
import { type KernelBinding, loaded, type Precision, stored, type WorkgroupVariable } from "./kernel.ts";
import { range, u32, unroll, wgsl } from "./wgsl.ts";

/** vec4f of a row of `width` numbers, the last one filled up. */
export function vectorsOf(width: number): number {
  return Math.ceil(width / 4);
}

/** A workgroup variable of vec4f. */
export function vectorArray(name: string, count: number): WorkgroupVariable {
  return { name, element: "vec4f", count };
}

/** WGSL expression of which numbers of vector `column` lie within a row of `width` numbers, both of them WGSL. */
export function withinRow(column: string, width: string): string {
  return `vec4u(4u * ${column}) + vec4u(0u, 1u, 2u, 3u) < vec4u(${width})`;
}

/** Element of a binding of rows of `width` numbers: vectors, where rows are whole vectors. */
export function vectorElement(width: number, precision: Precision = "f32"): "f32" | "vec4f" | "f16" | "vec4h" {
  if (width % 4 !== 0) return precision;
  return precision === "f16" ? "vec4h" : "vec4f";
}

/** `fn <name>(row, column) -> vec4f`: vector `column` of a row, from the binding `binding`. */
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
${unroll(range(4), (i) => `  if (column * 4u + ${u32(i)} < ${u32(width)}) { result[${i}] = ${loaded(element, `${binding}[at + ${u32(i)}]`)}; }`)}
  return result;
#endif
}
`;
}

/** Bindings of rows that a kernel reads, and the numbers of a row of each. */
export type ReadRows = Readonly<Record<string, number>>;

/** The bindings of {@link ReadRows}. */
export function readBindings(rows: ReadRows, precision?: Precision): readonly Omit<KernelBinding, "binding">[] {
  return Object.entries(rows).map(([name, width]) => ({ name, access: "read", element: vectorElement(width, precision) }));
}

/** {@link loadVector} of each of the {@link ReadRows}, as `load_<binding>`. */
export function loadFunctions(rows: ReadRows, precision?: Precision): string {
  return Object.entries(rows)
    .map(([name, width]) => loadVector(`load_${name}`, name, width, precision))
    .join("");
}

/** `fn <name>(row, column, vector)`: puts vector `column` of a row into the binding `binding`, or with `accumulate` adds it to what is there. */
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
${unroll(range(4), (i) => `  if (column * 4u + ${u32(i)} < ${u32(width)}) { ${sum(`at + ${u32(i)}`, `vector[${i}]`)} }`)}
#endif
}
`;
}
