/** Constant tables: described as data in a Program, computed in float64 when a device first needs them. */
import { twiddleCount } from "../../shaders/stockham.ts";
import type { RootTable } from "../../shaders/roots.ts";

export type TablePart =
  | { readonly kind: "twiddles"; readonly radices: readonly number[] }
  | { readonly kind: "roots"; readonly order: number; readonly count: number }
  | { readonly kind: "coarseRoots"; readonly order: number; readonly fineBits: number }
  | { readonly kind: "fineRoots"; readonly order: number; readonly fineBits: number };

/** Above this order a full table of roots would be traffic of its own, and the split form is used. */
const LARGEST_FULL_TABLE = 8192;

/** Complex entries of a part. */
export function partEntries(part: TablePart): number {
  switch (part.kind) {
    case "twiddles":
      return twiddleCount(part.radices);
    case "roots":
      return part.count;
    case "coarseRoots":
      return 2 * Math.ceil(part.order / 2 ** part.fineBits);
    case "fineRoots":
      return 2 ** part.fineBits;
  }
}

/** Collects the parts of one kernel's table, and tells where each starts. */
export class TableLayout {
  readonly #parts: TablePart[] = [];
  #entries = 0;

  /** Offset of the part, in complex entries. */
  add(part: TablePart): number {
    const offset = this.#entries;
    this.#parts.push(Object.freeze(part));
    this.#entries += partEntries(part);
    return offset;
  }

  twiddles(radices: readonly number[]): number {
    return this.add({ kind: "twiddles", radices });
  }

  /** The roots exp(−2πi·i/order) for 0 ≤ i < count. */
  roots(order: number, count: number): RootTable {
    if (count <= LARGEST_FULL_TABLE) return { kind: "full", offset: this.add({ kind: "roots", order, count }) };
    const fineBits = Math.ceil(Math.log2(order) / 2);
    return {
      kind: "split",
      fineBits,
      coarseOffset: this.add({ kind: "coarseRoots", order, fineBits }),
      fineOffset: this.add({ kind: "fineRoots", order, fineBits }),
    };
  }

  get parts(): readonly TablePart[] {
    return this.#parts;
  }
}

/** Bytes of a table; one entry at least, because a binding cannot be empty. */
export function tableBytes(parts: readonly TablePart[]): number {
  return 8 * Math.max(1, parts.reduce((sum, part) => sum + partEntries(part), 0));
}

/** The table's contents: interleaved complex float32, rounded once from float64. */
export function tableData(parts: readonly TablePart[]): Float32Array {
  const data = new Float32Array(tableBytes(parts) / 4);
  let at = 0;
  const push = (re: number, im: number) => {
    data[at++] = re;
    data[at++] = im;
  };
  for (const part of parts) writePart(part, push);
  return data;
}

function writePart(part: TablePart, push: (re: number, im: number) => void): void {
  switch (part.kind) {
    case "twiddles": {
      let before = 1;
      for (const [stage, radix] of part.radices.entries()) {
        for (let r = 1; stage > 0 && r < radix; r++) {
          for (let k = 0; k < before; k++) push(...root(r * k, before * radix));
        }
        before *= radix;
      }
      return;
    }
    case "roots":
      for (let i = 0; i < part.count; i++) push(...root(i, part.order));
      return;
    case "coarseRoots":
      for (let i = 0; i < part.order; i += 2 ** part.fineBits) {
        const [re, im] = root(i, part.order);
        push(re, im);
        push(re - Math.fround(re), im - Math.fround(im));
      }
      return;
    case "fineRoots":
      for (let i = 0; i < 2 ** part.fineBits; i++) {
        // cos x − 1 = −2 sin²(x/2) keeps its digits for small x.
        const half = Math.sin((Math.PI * i) / part.order);
        push(-2 * half * half, root(i, part.order)[1]);
      }
      return;
  }
}

/** exp(−2πi·i/order) in float64, exact on the axes: the angle is reduced to an eighth of a turn first. */
export function root(i: number, order: number): [re: number, im: number] {
  const turn = (i % order) / order;
  const octant = Math.floor(8 * turn);
  const quarter = Math.floor((octant + 1) / 2); // nearest multiple of a quarter turn
  const angle = 2 * Math.PI * (((i % order) - (quarter * order) / 4) / order);
  const c = Math.cos(angle);
  const s = -Math.sin(angle);
  switch (quarter % 4) {
    case 0:
      return [c, s];
    case 1:
      return [s, -c];
    case 2:
      return [-c, -s];
    default:
      return [-s, c];
  }
}
