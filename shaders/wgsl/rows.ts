/**
 * Rows of numbers, four neighbours at a time. Layout: rows [rows, width]; vector `column` of a row holds the numbers 4·column … + 3, zero beyond
 * the row. Where the width is a multiple of 4 it is one access. The parameter `<binding>Base` is where a binding starts, in its elements.
 *
 * Rows are counted head by head, as in [batch, heads, N, width], also where a binding has them elsewhere: `RowStrides` say where.
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

/** Rows of heads that stand side by side in their token: [batch, N, heads, width], or with the rows of other tensors beside them. */
export interface RowStrides {
  /** Rows of a head, and heads of a token. */
  readonly rows: number;
  readonly heads: number;
  /** Numbers from a batch row to the next, from a token to the next, and ahead of the first row of all. */
  readonly batch: number;
  readonly token: number;
  readonly before: number;
  /** All rows of a token are whole groups of so many numbers. */
  readonly unit: 1 | 2 | 4;
  /** The other binding in which the rows lie, where a kernel writes that: what is written may not be bound twice. */
  readonly within?: string;
}

/** Where rows lie, if not one after the other. */
export type RowPlaces = RowMargin | RowStrides;

/** {@link RowStrides} of the bindings of a kernel that have such, by name. */
export type BoundStrides = Readonly<Record<string, RowStrides>>;

/** A kernel some of whose bindings may have {@link RowStrides}. */
export interface Strided {
  readonly strides?: BoundStrides | undefined;
}

/** Whether rows of `width` numbers, and what is between them, are whole groups of `size` numbers. */
export function isWhole(size: number, width: number, places: RowPlaces | undefined): boolean {
  if (places && "unit" in places) return places.unit % size === 0;
  return [width, places?.before ?? 0, places?.around ?? 0].every((count) => count % size === 0);
}

/** The binding that holds the rows of one. */
function holder(binding: string, places: RowPlaces | undefined): string {
  return (places && "within" in places && places.within) || binding;
}

/** WGSL expression of where `row`, counted over all heads, begins, in groups of `size` numbers. */
export function rowStart(row: string, width: number, places: RowPlaces | undefined, size: number): string {
  const groups = (numbers: number) => u32(Math.floor(numbers / size));
  if (!places) return `${row} * ${groups(width)}`;
  const head = `${row} / ${u32(places.rows)}`;
  if (!("unit" in places)) return `${row} * ${groups(width)} + ${head} * ${groups(places.around)} + ${groups(places.before)}`;
  const { rows, heads, batch, token, before } = places;
  const ofHead = `${head} / ${u32(heads)} * ${groups(batch)} + ${head} % ${u32(heads)} * ${groups(width)}`;
  return `${ofHead} + ${row} % ${u32(rows)} * ${groups(token)} + ${groups(before)}`;
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
export function vectorElement(width: number, precision: Precision = "f32", places?: RowPlaces): "f32" | "vec4f" | "f16" | "vec4h" {
  if (!isWhole(4, width, places)) return precision;
  return precision === "f16" ? "vec4h" : "vec4f";
}

/** `fn <name>(row, column) -> vec4f`: vector `column` of a row, from the binding `bound`. */
export function loadVector(name: string, bound: string, width: number, precision: Precision = "f32", places?: RowPlaces): string {
  const element = vectorElement(width, precision, places);
  const binding = holder(bound, places);
  return wgsl`
fn ${name}(row: u32, column: u32) -> vec4f {
#if ${isWhole(4, width, places)}
  if (column >= ${u32(Math.floor(width / 4))}) { return vec4f(); }
  return ${loaded(element, `${binding}[${rowStart("row", width, places, 4)} + column - params.${binding}Base]`)};
#else
  var result = vec4f();
  let at = ${rowStart("row", width, places, 1)} + column * 4u - params.${binding}Base;
${unroll(range(4), (i) => `  if (column * 4u + ${u32(i)} < ${u32(width)}) { result[${i}] = ${loaded(element, `${binding}[at + ${u32(i)}]`)}; }`)}
  return result;
#endif
}
`;
}

/** Bindings of rows, and the numbers of a row of each. */
export type ReadRows = Readonly<Record<string, number>>;

/** The bindings of {@link ReadRows}. */
export function readBindings(rows: ReadRows, precision?: Precision, strides?: BoundStrides): readonly Omit<KernelBinding, "binding">[] {
  return Object.entries(rows).map(([name, width]) => ({ name, access: "read", element: vectorElement(width, precision, strides?.[name]) }));
}

/** The bindings of rows of so many numbers that a kernel writes, but for those that lie within another. */
export function storeBindings(rows: ReadRows, strides: BoundStrides = {}): readonly Omit<KernelBinding, "binding">[] {
  const own = Object.entries(rows).filter(([name]) => !strides[name]?.within);
  return own.map(([name, width]) => ({ name, access: "read_write", element: vectorElement(width, "f32", strides[name]) }));
}

/** The parameters `<binding>Base` of {@link storeBindings}. */
export function storeBases(names: readonly string[], strides: BoundStrides = {}): readonly string[] {
  return names.filter((name) => !strides[name]?.within).map((name) => `${name}Base`);
}

/** {@link loadVector} of each of the {@link ReadRows}, as `load_<binding>`. */
export function loadFunctions(rows: ReadRows, precision?: Precision, strides?: BoundStrides): string {
  return Object.entries(rows)
    .map(([name, width]) => loadVector(`load_${name}`, name, width, precision, strides?.[name]))
    .join("");
}

/** `fn <name>(row, column, vector)`: puts vector `column` of a row into the binding `bound`, or with `accumulate` adds it to what is there. */
export function storeVector(
  name: string,
  bound: string,
  width: number,
  accumulate: boolean,
  precision: Precision = "f32",
  places?: RowPlaces,
): string {
  const element = vectorElement(width, precision, places);
  const binding = holder(bound, places);
  const sum = (at: string, value: string) => {
    const result = accumulate ? `${loaded(element, `${binding}[${at}]`)} + ${value}` : value;
    return `${binding}[${at}] = ${stored(element, result)};`;
  };
  return wgsl`
fn ${name}(row: u32, column: u32, vector: vec4f) {
#if ${isWhole(4, width, places)}
  let at = ${rowStart("row", width, places, 4)} + column - params.${binding}Base;
  ${sum("at", "vector")}
#else
  let at = ${rowStart("row", width, places, 1)} + column * 4u - params.${binding}Base;
${unroll(range(4), (i) => `  if (column * 4u + ${u32(i)} < ${u32(width)}) { ${sum(`at + ${u32(i)}`, `vector[${i}]`)} }`)}
#endif
}
`;
}
