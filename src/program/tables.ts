/** Constant tables, described as data in a Program: table-data.ts computes them, when a device first needs them. */
import { paddedToVec4 } from "../../shaders/wgsl/kernel.ts";
import { type RootTable, twiddleCount } from "../../shaders/fft/roots.ts";
import type { PlannerLimits } from "../core/limits.ts";
import { COMPLEX_BYTES } from "./units.ts";

export type TablePart =
  | { readonly kind: "twiddles"; readonly radices: readonly number[]; readonly fused?: boolean }
  | { readonly kind: "roots"; readonly order: number; readonly count: number }
  | { readonly kind: "coarseRoots"; readonly order: number; readonly fineBits: number }
  | { readonly kind: "fineRoots"; readonly order: number; readonly fineBits: number }
  | { readonly kind: "scale"; readonly factor: number }
  /** exp(−iπn²/points) for 0 ≤ n < points. */
  | { readonly kind: "chirp"; readonly points: number }
  /** Spectrum of exp(+iπn²/points), |n| < points, in a period A·B, divided by it; index k = k_a + A·k_b at [k_a, k_b]. As it is, no root. */
  | { readonly kind: "chirpSpectrum"; readonly points: number; readonly rows: readonly [number, number] }
  /**
   * Random features w: [count, dim] times √scale, as real numbers, rows filled up to a multiple of 4 with zeros: [dim, count] on the way to
   * features, [count, dim] on the way back to rows.
   */
  | {
      readonly kind: "randomFeatures";
      readonly count: number;
      readonly dim: number;
      readonly seed: number;
      readonly scale: number;
      readonly to: "features" | "rows";
    };

/** Above so many entries a full table of roots would be traffic of its own, and the split form is used: as a device wants it. */
const LARGEST_FULL_TABLE = { split: 8192, full: 2 ** 18 } as const;

/** Complex entries of a part. */
export function partEntries(part: TablePart): number {
  switch (part.kind) {
    case "twiddles":
      return twiddleCount(part.radices, part.fused);
    case "roots":
      return part.count;
    case "coarseRoots":
      return 2 * Math.ceil(part.order / 2 ** part.fineBits);
    case "fineRoots":
      return 2 ** part.fineBits;
    case "scale":
      return 1;
    case "chirp":
      return part.points;
    case "chirpSpectrum":
      return part.rows[0] * part.rows[1];
    case "randomFeatures":
      return part.to === "features" ? (part.dim * paddedToVec4(part.count)) / 2 : (part.count * paddedToVec4(part.dim)) / 2;
  }
}

/** Collects the parts of one kernel's table, and tells where each starts. */
export class TableLayout {
  readonly #parts: TablePart[] = [];
  readonly #offsets = new Map<string, number>();
  #entries = 0;
  readonly #largestFull: number;

  /** @param limits a full table leaves three quarters of a binding to what stands beside it */
  constructor({ choices, maxStorageBufferBindingSize }: Pick<PlannerLimits, "choices" | "maxStorageBufferBindingSize">) {
    this.#largestFull = Math.min(LARGEST_FULL_TABLE[choices.roots], maxStorageBufferBindingSize / 4 / COMPLEX_BYTES);
  }

  /** Offset of the part, in complex entries; equal parts are one. */
  add(part: TablePart): number {
    const key = JSON.stringify(part);
    const known = this.#offsets.get(key);
    if (known !== undefined) return known;
    const offset = this.#entries;
    this.#offsets.set(key, offset);
    if (part.kind === "chirpSpectrum") Object.freeze(part.rows);
    this.#parts.push(Object.freeze(part));
    this.#entries += partEntries(part);
    return offset;
  }

  /** Offset of each axis's twiddles. */
  twiddles(axes: readonly (readonly number[])[], fused = false): readonly number[] {
    return axes.map((radices) => this.add({ kind: "twiddles", radices, fused }));
  }

  /** A positive factor, as complex.ts has it. */
  scale(factor: number): number {
    return this.add({ kind: "scale", factor });
  }

  /** The roots exp(−2πi·i/order) for 0 ≤ i < count. */
  roots(order: number, count: number): RootTable {
    if (count <= this.#largestFull) return { kind: "full", offset: this.add({ kind: "roots", order, count }) };
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
  return (
    8 *
    Math.max(
      1,
      parts.reduce((sum, part) => sum + partEntries(part), 0),
    )
  );
}
