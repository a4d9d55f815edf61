/**
 * Rows of numbers, four neighbours at a time. Layout: rows [rows, width]; vector `column` of a row holds the numbers 4·column … + 3, zero beyond
 * the row. Where the width is a multiple of 4 it is one access. The parameter `<binding>Base` is where a binding starts, in its elements.
 */
import { type KernelBinding, loaded, type Precision, stored, type WorkgroupVariable } from "./kernel.ts";
import { range, u32, unroll, wgsl } from "./wgsl.ts";

/** Numbers of a head that are no rows of it here: what lies between the last row of a head and the first of the next, and before the first of all. */
export interface RowMargin {
  /** Rows of a head. */
  readonly rows: number;
  /** Numbers ahead of the first row of a head. */
  readonly before: number;
  /** Numbers of a head in all that are no rows, and how many tokens these are. */
  readonly around: number;
  readonly tokens: number;
}

/** Whether rows of `width` numbers, and what is between heads, are whole groups of `size` numbers. */
export function isWhole(size: number, width: number, margin: RowMargin | undefined): boolean {
  return [width, margin?.before ?? 0, margin?.around ?? 0].every((count) => count % size === 0);
}

/** WGSL summand of the place of `row`, counted over all heads, in groups of `size` numbers. */
export function marginBefore(margin: RowMargin | undefined, row: string, size: number): string {
  return margin ? ` + ${row} / ${u32(margin.rows)} * ${u32(Math.floor(margin.around / size))} + ${u32(Math.floor(margin.before / size))}` : "";
}

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
export function vectorElement(width: number, precision: Precision = "f32", margin?: RowMargin): "f32" | "vec4f" | "f16" | "vec4h" {
  if (!isWhole(4, width, margin)) return precision;
  return precision === "f16" ? "vec4h" : "vec4f";
}

/** `fn <name>(row, column) -> vec4f`: vector `column` of a row, from the binding `binding`. */
export function loadVector(name: string, binding: string, width: number, precision: Precision = "f32", margin?: RowMargin): string {
  const element = vectorElement(width, precision, margin);
  return wgsl`
fn ${name}(row: u32, column: u32) -> vec4f {
#if ${isWhole(4, width, margin)}
  if (column >= ${u32(Math.floor(width / 4))}) { return vec4f(); }
  return ${loaded(element, `${binding}[row * ${u32(Math.floor(width / 4))}${marginBefore(margin, "row", 4)} + column - params.${binding}Base]`)};
#else
  var result = vec4f();
  let at = row * ${u32(width)}${marginBefore(margin, "row", 1)} + column * 4u - params.${binding}Base;
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
export function storeVector(
  name: string,
  binding: string,
  width: number,
  accumulate: boolean,
  precision: Precision = "f32",
  margin?: RowMargin,
): string {
  const element = vectorElement(width, precision, margin);
  const sum = (at: string, value: string) => {
    const result = accumulate ? `${loaded(element, `${binding}[${at}]`)} + ${value}` : value;
    return `${binding}[${at}] = ${stored(element, result)};`;
  };
  return wgsl`
fn ${name}(row: u32, column: u32, vector: vec4f) {
#if ${isWhole(4, width, margin)}
  let at = row * ${u32(Math.floor(width / 4))}${marginBefore(margin, "row", 4)} + column - params.${binding}Base;
  ${sum("at", "vector")}
#else
  let at = row * ${u32(width)}${marginBefore(margin, "row", 1)} + column * 4u - params.${binding}Base;
${unroll(range(4), (i) => `  if (column * 4u + ${u32(i)} < ${u32(width)}) { ${sum(`at + ${u32(i)}`, `vector[${i}]`)} }`)}
#endif
}
`;
}
