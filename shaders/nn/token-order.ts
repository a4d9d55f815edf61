/**
 * Tokens in the order of their indices, those of an index in their own: what the kernels share that sort them, digit by digit from the lowest
 * (stable least-significant-digit radix sort), and that use the order.
 *
 * An order is of entries: the number of a token, with the highest bit set where its index is none of the `rows` of the table. Such tokens stand among
 * those of the last row. A chunk is as many entries as a workgroup has lanes.
 */
import type { KernelBinding } from "../wgsl/kernel.ts";
import { u32, wgsl } from "../wgsl/wgsl.ts";

export interface DigitKernelSpec {
  /** Lanes of a workgroup, a power of two. */
  readonly lanes: number;
  /** Values of a digit, a power of two: at most one for each lane. */
  readonly digits: number;
  /** Whether it is the first digit, when tokens stand in their own order. */
  readonly first: boolean;
}

/** The bindings of an order that there is, and of the indices. */
export function orderBindings(first = false): readonly Omit<KernelBinding, "binding">[] {
  const order = { name: "order", access: "read", element: "u32" } as const;
  return [{ name: "indices", access: "read", element: "u32" }, ...(first ? [] : [order])];
}

/** Parameters of {@link ENTRIES}, and how many entries there are. */
export const ORDER_PARAMS = ["entries", "rows", "indicesBase"] as const;
export const DIGIT_PARAMS = [...ORDER_PARAMS, "chunks", "shift"] as const;

/** What an entry says: `fn row_of(entry)`, the row of the table. */
export const ENTRIES = `
const NO_ROW = 0x80000000u;

fn row_of(entry: u32) -> u32 { return min(indices[(entry & ~NO_ROW) - params.indicesBase], params.rows - 1u); }
`;

export function digitDeclarations({ digits }: DigitKernelSpec): string {
  return wgsl`const DIGITS = ${u32(digits)};
const NO_ROW = 0x80000000u;`;
}

/** Statements that say which `entry` is at place `i`, and its `digit`. */
export function entryAndDigit({ first }: DigitKernelSpec): string {
  const known = first
    ? "let index = indices[i - params.indicesBase];\n    let entry = select(i, i | NO_ROW, index >= params.rows);"
    : "let entry = order[i];\n    let index = indices[(entry & ~NO_ROW) - params.indicesBase];";
  return `    ${known}
    let digit = (min(index, params.rows - 1u) >> params.shift) % DIGITS;`;
}

/** Statements that leave in `scanned[lane]` the sum of what the lanes up to this one have put there. They hold barriers. */
export const SCAN_LANES = `  workgroupBarrier();
  for (var distance = 1u; distance < LANES; distance *= 2u) {
    var before = 0u;
    if (lane >= distance) { before = scanned[lane - distance]; }
    workgroupBarrier();
    scanned[lane] += before;
    workgroupBarrier();
  }`;
