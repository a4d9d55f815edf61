/** The forms in which weights of relative positions are kept. */
import type { WeightLayout } from "../../../shaders/toeplitz/weight-layout.ts";
import { checkBoolean, checkEnum, checkSize, elementCount } from "../../core/check.ts";
import { refuse } from "../../core/errors.ts";

/**
 * Which weights W_ij of relative positions there are:
 *
 * - `"full"`: one for every offset: w[j − i], `[heads, 2N − 1]`, or on a grid w[y_j − y_i, x_j − x_i], `[heads, 2H − 1, 2W − 1]`.
 * - `"symmetric"`: the same for both signs of an offset: w[|j − i|], `[heads, N]`, or w[|y_j − y_i|, |x_j − x_i|], `[heads, H, W]`.
 * - `"separable"`: on a grid the sum of one by row and one by column, r[y_j − y_i] + c[x_j − x_i]: `[heads, (2H − 1) + (2W − 1)]`, those of rows
 *   first. It takes sums of rows and of columns and no transform of the grid.
 * - `"separable-symmetric"`: r[|y_j − y_i|] + c[|x_j − x_i|], `[heads, H + W]`.
 */
export type BiasForm = "full" | "symmetric" | "separable" | "separable-symmetric";

/** Options for the form of a bias. */
export interface BiasFormOptions {
  /** Default `"full"`. */
  biasForm?: BiasForm;
  /** On a square grid, a separable bias with one vector for rows and columns, `[heads, 2S − 1]`, or `[heads, S]` if symmetric. Default `false`. */
  biasShared?: boolean;
  /**
   * Weights are of so many positions M, at least those of the plan: `[heads, 2M − 1]`, in place of N; on a grid `[M_H, M_W]` in place of [H, W]. Those
   * of larger offsets are not read, and have gradient zero. Default: the positions of the plan.
   */
  biasLength?: number | readonly [number, number];
}

/** The names of the {@link BiasFormOptions}. */
export const BIAS_FORM_OPTIONS = ["biasForm", "biasShared", "biasLength"] as const;

/** A form of weights other than one for every offset of the tokens. */
export interface WeightForm {
  /** One weight for both signs of an offset. */
  readonly symmetric: boolean;
  /** Sums of one weight by row and one by column, each with its own vector or both with the same. */
  readonly separable: "axes" | "shared" | undefined;
  /** Positions that there are weights for along each axis, at least those of the tokens. */
  readonly reach: readonly number[];
}

/** A form in words, for errors. */
export function formName({ symmetric, separable, reach }: WeightForm): string {
  const kind = `${separable ? `separable${symmetric ? "-" : ""}` : symmetric ? "" : "full"}${symmetric ? "symmetric" : ""}`;
  return `"${kind}"${separable === "shared" ? ", shared," : ""} for ${reach.join(" × ")} positions`;
}

/** The tokens between which there are weights, in what form. */
interface Weighted {
  readonly length: number;
  readonly grid: readonly [number, number] | undefined;
  readonly form?: WeightForm | undefined;
}

/** Checks the form of the weights of some tokens; `undefined` for one for every offset. @throws FastRpbError code `"value"` */
export function checkForm(caller: string, options: BiasFormOptions, { length, grid }: Weighted): WeightForm | undefined {
  const kinds = ["full", "symmetric", "separable", "separable-symmetric"] as const;
  const kind = checkEnum(caller, "options.biasForm", options.biasForm ?? "full", kinds);
  const separable = kind.startsWith("separable");
  if (separable && !grid) {
    throw refuse("value", caller, "options.biasForm", '"full" or "symmetric" without options.grid', kind);
  }
  const shared = checkBoolean(caller, "options.biasShared", options.biasShared ?? false);
  const sizes = grid ?? [length];
  const reach = checkReach(caller, options.biasLength, sizes);
  if (shared && !(separable && sizes[0] === sizes[1] && reach[0] === reach[1])) {
    const expected = "false but for a separable bias on a square grid, of as many rows as columns";
    throw refuse("value", caller, "options.biasShared", expected, true);
  }
  if (kind === "full" && elementCount(reach) === length) return undefined;
  return Object.freeze({ symmetric: kind.endsWith("symmetric"), separable: separable ? (shared ? "shared" : "axes") : undefined, reach });
}

function checkReach(caller: string, given: BiasFormOptions["biasLength"], sizes: readonly number[]): readonly number[] {
  if (given === undefined) return sizes;
  const argument = "options.biasLength";
  const parts: readonly unknown[] = sizes.length === 1 ? [given] : Array.isArray(given) ? given : [];
  if (parts.length !== sizes.length) throw refuse("value", caller, argument, "an array [M_H, M_W] on a grid", given);
  const reach = parts.map((part, axis) => {
    const name = sizes.length === 1 ? argument : `${argument}[${axis}]`;
    const size = checkSize(caller, name, part);
    if (size >= sizes[axis]!) return size;
    throw refuse("value", caller, name, `at least the ${sizes[axis]!} positions of the plan`, size);
  });
  return Object.freeze(reach);
}

/** Weights of a head along each axis. */
function axisCounts({ length, grid, form }: Weighted): readonly number[] {
  return (form?.reach ?? grid ?? [length]).map((size) => (form?.symmetric ? size : 2 * size - 1));
}

/** Shape of the weights of relative positions: `[heads, 2N − 1]`, or `[heads, 2H − 1, 2W − 1]` on a grid, or what their form makes of that. */
export function weightsShape(spec: Weighted & { readonly heads: number }): readonly number[] {
  const counts = axisCounts(spec);
  const separable = spec.form?.separable;
  if (!separable) return Object.freeze([spec.heads, ...counts]);
  return Object.freeze([spec.heads, separable === "shared" ? counts[0]! : counts[0]! + counts[1]!]);
}

/** Offsets of a head along each axis, of which a full form has one weight each. */
export function offsetCount({ length, grid }: Weighted): number {
  return elementCount((grid ?? [length]).map((size) => 2 * size - 1));
}

/** Where the weights of a head lie that are no sums. Axes of one position are left out, as `toeplitzAxes` does. */
export function weightLayout(spec: Weighted): WeightLayout {
  const sizes = spec.grid ?? [spec.length];
  const counts = axisCounts(spec);
  const strides = counts.map((_, axis) => elementCount(counts.slice(axis + 1)));
  const { symmetric = false, reach = sizes } = spec.form ?? {};
  const diagonal = symmetric ? 0 : reach.reduce((place, size, axis) => place + (size - 1) * strides[axis]!, 0);
  const long = strides.filter((_, axis) => sizes[axis]! > 1);
  return { count: elementCount(counts), diagonal, strides: long.length > 0 ? long : [1], symmetric };
}

/** Gives the places of the weights, within a head, whose sum is that of an offset. */
export function weightPlaces(spec: Weighted): (dy: number, dx: number) => readonly number[] {
  const counts = axisCounts(spec);
  const { symmetric = false, separable, reach = spec.grid ?? [spec.length] } = spec.form ?? {};
  const along = (axis: number, offset: number) => (symmetric ? Math.abs(offset) : offset + reach[axis]! - 1);
  if (separable) return (dy, dx) => [along(0, dy), (separable === "axes" ? counts[0]! : 0) + along(1, dx)];
  return counts.length === 1 ? (_, dx) => [along(0, dx)] : (dy, dx) => [along(0, dy) * counts[1]! + along(1, dx)];
}
