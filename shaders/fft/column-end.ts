/**
 * Where the columns of an FFT pass lie in a tensor, and what its elements mean: loads and stores, apart from the transform.
 *
 * A transform runs along the middle of [outer, rows, inner]. A column is numbered by digits, of which the kernel has a variable each; a
 * point of it lies at
 *
 *   element  outer·rows·inner + Σ digit·outside + fold(at)·inner,   at = Σ digit·stride + position of the point,
 *
 * `at` being its position along the transformed axis. Real tensors hold one float for each complex number, whose imaginary part is
 * zero or of no interest. `fold` is for tensors that keep half of a Hermitian sequence of that order, x[order − n] = conj(x[n]).
 */
import { loaded, type Precision, stored, storedElement } from "../wgsl/kernel.ts";
import { f32, u32, wgsl } from "../wgsl/wgsl.ts";

/** Digit of the number of a column. `inner`: the axes after the transformed one. `row`: which column of a transform of several passes. */
export interface ColumnDigit {
  readonly name: "inner" | "between" | "row" | "done";
  readonly size: number;
}

/** Says which indices of a sequence are in memory, where not all are. An index n is changed by these in their order. */
export interface Window {
  /** n > period − order stands for n − period + order: offsets modulo the order, in a period of twice the order or more. */
  readonly wrap?: { readonly order: number; readonly period: number };
  /** n stands for n − shift; those before are not there. */
  readonly shift?: number;
  /** From this index on there is nothing: zeros, or results that are not wanted. */
  readonly limit?: number;
}

/** Digit of the number of a point, which is decomposed into such, fastest first; `stride` is from one value to the next in the position. */
export interface PointDigit extends Window {
  readonly size: number;
  readonly stride: number;
}

/** Where the columns of one end of a pass lie: of its source, or of its destination. */
export interface ColumnEnd extends Window {
  readonly element: "complex" | "real";
  /** How the tensor is stored; f32 when left out. */
  readonly precision?: Precision;
  /** Positions along the axis that the tensor holds. */
  readonly rows: number;
  /** Elements from one position to the next. */
  readonly inner: number;
  readonly points: readonly PointDigit[];
  /** Positions from one value of each column digit to the next. */
  readonly strides: readonly number[];
  /** Elements from one value of each column digit to the next, apart from those of the position. */
  readonly outside: readonly number[];
  /** Order of the Hermitian sequence of which the tensor holds the first half. */
  readonly fold?: number;
  /**
   * For a folded destination: how many rows `row` the full transform would have, of which the columns are the first half. What a column
   * has in the second half of the sequence is then stored for the row that is left out.
   */
  readonly mirroredRows?: number;
  /** A factor on the values that stand for two, in the half of a Hermitian sequence of that order. */
  readonly pairs?: { readonly order: number; readonly factor: number };
}

/** Element of the binding of an end. */
export function endElement(end: ColumnEnd): ReturnType<typeof storedElement> {
  return storedElement(end.element === "complex" ? "pair" : "single", end.precision);
}

/** WGSL expression of the first element of the column, from the digits. */
export function startExpression(end: ColumnEnd, digits: readonly ColumnDigit[]): string {
  return [`outer * ${u32(end.rows * end.inner)}`, ...weighted(digits, end.outside)].join(" + ");
}

/** WGSL expression of the position of the column's first point, from the digits. */
export function lineExpression(end: ColumnEnd, digits: readonly ColumnDigit[]): string {
  return weighted(digits, end.strides).join(" + ") || "0u";
}

function weighted(digits: readonly ColumnDigit[], strides: readonly number[]): string[] {
  return digits.flatMap((digit, i) => (strides[i] === 0 || digit.size === 1 ? [] : [`${digit.name} * ${u32(strides[i]!)}`]));
}

/** The position of what lies outside of a window, in WGSL. */
const NOWHERE = "0xffffffffu";

/** `fn <name>_at(line, point)`: position of a point, or NOWHERE. */
function positionFunction(name: string, end: ColumnEnd): string {
  let before = 1;
  const digits = end.points.map((digit, i) => {
    const last = i === end.points.length - 1;
    const value = `point${before === 1 ? "" : ` / ${u32(before)}`}${last ? "" : ` % ${u32(digit.size)}`}`;
    before *= digit.size;
    return `  var n${i} = ${value};\n${windowSteps(`n${i}`, digit)}`;
  });
  const position = end.points.map((digit, i) => `n${i} * ${u32(digit.stride)}`).join(" + ");
  return wgsl`
fn ${name}_at(line: u32, point: u32) -> u32 {
${digits.join("\n")}
  var at = line + ${position};
${windowSteps("at", end)}
  return at;
}`;
}

/** Statements that change an index. Indices before the shift become huge, so that one comparison finds both ends. */
function windowSteps(index: string, { wrap, shift, limit }: Window): string {
  return [
    ...(wrap ? [`  if (${index} > ${u32(wrap.period - wrap.order)}) { ${index} -= ${u32(wrap.period - wrap.order)}; }`] : []),
    ...(shift ? [`  ${index} -= ${u32(shift)};`] : []),
    ...(limit === undefined ? [] : [`  if (${index} >= ${u32(limit)}) { return ${NOWHERE}; }`]),
  ].join("\n");
}

function hasWindow(end: ColumnEnd): boolean {
  return [end, ...end.points].some((window) => window.limit !== undefined);
}

/** `fn <name>_pairs(at) -> f32`: the factor on the value at that position. */
function pairsFunction(name: string, { pairs }: ColumnEnd): string {
  if (!pairs) return "";
  const single = `at == 0u || 2u * at == ${u32(pairs.order)}`;
  return `\nfn ${name}_pairs(at: u32) -> f32 { return select(${f32(pairs.factor)}, 1.0, ${single}); }`;
}

/** `fn source_at(line, point)` and `fn load_at(start, at) -> vec2f` from the binding `binding`. */
export function loadFunction(end: ColumnEnd, binding: string): string {
  const value = (index: string) => {
    const element = `${loaded(endElement(end), `${binding}[${index}]`)}${end.pairs ? " * source_pairs(at)" : ""}`;
    return end.element === "complex" ? element : `vec2f(${element}, 0.0)`;
  };
  const index = (at: string) => `start + ${at} * ${u32(end.inner)}`;
  return wgsl`${positionFunction("source", end)}${pairsFunction("source", end)}
fn load_at(start: u32, at: u32) -> vec2f {
#if ${hasWindow(end)}
  if (at == ${NOWHERE}) { return vec2f(); }
#endif
#if ${end.fold !== undefined}
  let mirrored = ${u32(end.fold ?? 0)} - at;
  if (at > mirrored) { return ${value(index("mirrored"))} * vec2f(1.0, -1.0); }
#endif
  return ${value(index("at"))};
}
`;
}

/** `fn destination_at(line, point)` and `fn store_at(start, at, row, value)` to the binding `binding`. */
export function storeFunction(end: ColumnEnd, binding: string): string {
  const element = endElement(end);
  const result = end.element === "complex" ? `value${end.pairs ? " * destination_pairs(at)" : ""}` : "value.x";
  const rows = u32(end.mirroredRows ?? 0);
  return wgsl`${positionFunction("destination", end)}${pairsFunction("destination", end)}
fn store_at(start: u32, at: u32, row: u32, value: vec2f) {
#if ${hasWindow(end)}
  if (at == ${NOWHERE}) { return; }
#endif
#if ${end.mirroredRows !== undefined}
  let mirrored = ${u32(end.fold ?? 0)} - at;
  if (at > mirrored) {
    // Rows that are their own mirror image have the value among their first half.
    if (row != 0u && 2u * row != ${rows}) { ${binding}[start + mirrored * ${u32(end.inner)}] = ${stored(element, `${result} * vec2f(1.0, -1.0)`)}; }
    return;
  }
#endif
  ${binding}[start + at * ${u32(end.inner)}] = ${stored(element, result)};
}
`;
}
