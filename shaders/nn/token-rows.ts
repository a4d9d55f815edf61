/** Sums of rows of tokens in the order of their indices (nn/token-order.ts): what the kernels of embedding's gradient share. */
import { loadVector, vectorsOf } from "../wgsl/rows.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface TokenRowsSpec {
  /** Lanes of a workgroup. */
  readonly lanes: number;
  /** Numbers of a row. */
  readonly width: number;
}

/** Entries whose sum is one row, where all are of one row of the table; and as many of those sums again are one. */
export const CHUNK = 32;

/** `fn sum_<of>(begin, end, column)`: a vector of the sum of rows, in their order, four at a time so that their loads do not wait for one another. */
function sumFunction(of: string, row: (i: string) => string): string {
  return wgsl`
fn sum_${of}(begin: u32, end: u32, column: u32) -> vec4f {
  var sum = vec4f();
  var i = begin;
  for (; i + 3u < end; i += 4u) {
    sum += (${row("i")} + ${row("i + 1u")}) + (${row("i + 2u")} + ${row("i + 3u")});
  }
  for (; i < end; i++) { sum += ${row("i")}; }
  return sum;
}
`;
}

/** `sum_tokens`, of the rows of gradients `dOut`; tokens whose index is none of the table add nothing. It needs ENTRIES. */
export function tokenSums(width: number): string {
  return wgsl`${loadVector("load_dOut", "dOut", width)}
fn token_row(i: u32, column: u32) -> vec4f {
  let entry = order[i];
  if (entry >= NO_ROW) { return vec4f(); }
  return load_dOut(entry, column);
}
${sumFunction("tokens", (i) => `token_row(${i}, column)`)}`;
}

/** `sum_<binding>`, of rows of a binding. */
export function rowSums(binding: string, width: number): string {
  return `${loadVector(`load_${binding}`, binding, width)}${sumFunction(binding, (i) => `load_${binding}(${i}, column)`)}`;
}

export function tokenRowDeclarations(width: number): string {
  return wgsl`const VECTORS = ${u32(vectorsOf(width))};
const CHUNK = ${u32(CHUNK)};`;
}
