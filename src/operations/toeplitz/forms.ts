/** What the forms of weights mean for plans: which weights there are, and where they lie. */
import type { WeightLayout } from "../../../shaders/toeplitz/weight-layout.ts";
import { checkBoolean, checkOptions, checkSize, elementCount, MAX_ELEMENTS } from "../../core/check.ts";
import { refuse } from "../../core/errors.ts";
import {
  type BiasFormOptions,
  checkForm,
  checkTokens,
  type RelativePositions,
  type SequenceOptions,
  weightCounts,
  type Weighted,
  type WeightForm,
} from "./positions.ts";

/** Positions along each axis. */
export function axisSizes({ grid, length, outside, form }: Weighted): readonly number[] {
  return form?.between ? form.reach : (grid ?? [length - (outside ? outside.first + outside.last : 0)]);
}

/** Positions in all: N, or H·W. */
export function positionCount(spec: Weighted): number {
  return elementCount(axisSizes(spec));
}

/** Weights of a head along each axis. */
function axisCounts(spec: Weighted): readonly number[] {
  return weightCounts(spec.form?.reach ?? axisSizes(spec), { ...spec.form, separable: undefined });
}

/** Shape of the weights of relative positions: `[heads, 2N − 1]`, or `[heads, 2H − 1, 2W − 1]` on a grid, or what their form makes of that. */
export function weightsShape(spec: Weighted & { readonly heads: number }): readonly number[] {
  return Object.freeze([spec.heads, ...weightCounts(spec.form?.reach ?? axisSizes(spec), spec.form)]);
}

/** Options for tokens without a position of their own. */
export interface TokenOptions {
  /**
   * Tokens at either end that the bias leaves alone, as `[CLS]` and `[SEP]`: their rows and columns of W are zeros. `length` and `grid` count the others, so
   * that tensors have first + N + last tokens in place of N. With `variableLengths`, lengths count all, and the last ones are those before the end of
   * each length. Default: none, `{ first: 0, last: 0 }`.
   */
  outside?: { first?: number; last?: number };
  /**
   * Channels C of an image: tokens run over (y, x, channel), H·W·C of them in place of H·W, and the weights of the grid are between tokens of the same
   * channel, those of other channels being zero. Only with `grid`. Default 1.
   */
  gridChannels?: number;
}

/** The names of the {@link BiasFormOptions} and {@link TokenOptions}. */
export const BIAS_FORM_OPTIONS = ["biasForm", "biasShared", "biasLength", "outside", "gridChannels"] as const;

/** Whether a product goes by rows and columns. */
export function isSeparable({ form }: Weighted): boolean {
  return form?.separable !== undefined;
}

/** Numbers of the spectrum of a head that goes by rows and columns: the weights of all offsets of rows, and of columns. */
export function separableOffsets({ grid }: Weighted): number {
  return 2 * (grid![0] + grid![1] - 1);
}

/** A form in words, for errors. */
export function formName({ symmetric, separable, reach, between }: WeightForm): string {
  const kind = `${separable ? `separable${symmetric ? "-" : ""}` : symmetric ? "" : "full"}${symmetric ? "symmetric" : ""}`;
  return `"${kind}"${separable === "shared" ? ", shared," : ""} for ${between ? `${between[0]} queries and ${between[1]} keys` : `${reach.join(" × ")} positions`}`;
}

/** Checks the options that say what the tokens are, and the form of their weights. @throws FastRpbError code `"value"` */
export function checkPositions(caller: string, options: SequenceOptions & BiasFormOptions & TokenOptions & { causal?: boolean }): RelativePositions {
  const causal = checkBoolean(caller, "options.causal", options.causal ?? false);
  const tokens = checkTokens(caller, options);
  const { grid } = tokens;
  if (causal && grid) throw refuse("value", caller, "options.causal", "false on a grid, which has no order", true);
  const form = { ...checkForm(caller, options, grid), reach: checkReach(caller, options.biasLength, axisSizes(tokens)) };
  if (form.separable === "shared" && form.reach[0] !== form.reach[1]) {
    throw refuse("value", caller, "options.biasShared", "false where options.biasLength differs between rows and columns", true);
  }
  const full = !form.symmetric && !form.separable && elementCount(form.reach) === tokens.length;
  const { first = 0, last = 0 } = checkOptions(caller, "options.outside", options.outside ?? {}, ["first", "last"]);
  const outside = {
    first: checkSize(caller, "options.outside.first", first, 0),
    last: checkSize(caller, "options.outside.last", last, 0),
  };
  const gridChannels = checkSize(caller, "options.gridChannels", options.gridChannels ?? 1);
  if (gridChannels > 1 && !grid) throw refuse("value", caller, "options.gridChannels", "left out, or 1, without options.grid", gridChannels);
  const around = outside.first + outside.last;
  const length = tokens.length * gridChannels + around;
  if (length > MAX_ELEMENTS)
    throw refuse("value", caller, "options.outside or options.gridChannels", `so that there are at most ${MAX_ELEMENTS} tokens`, length);
  return {
    length,
    grid,
    causal,
    form: full ? undefined : Object.freeze(form),
    ...(around > 0 && { outside: Object.freeze(outside) }),
    ...(gridChannels > 1 && { gridChannels }),
  };
}

function checkReach(caller: string, given: BiasFormOptions["biasLength"], sizes: readonly number[]): readonly number[] {
  if (given === undefined) return sizes;
  const argument = "options.biasLength";
  const parts: readonly unknown[] = sizes.length === 1 ? [given] : Array.isArray(given) ? given : [];
  if (parts.length !== sizes.length) throw refuse("value", caller, argument, "an array [M_H, M_W] on a grid", given);
  // map would skip holes.
  const reach = Array.from(parts, (part, axis) => {
    const name = sizes.length === 1 ? argument : `${argument}[${axis}]`;
    const size = checkSize(caller, name, part);
    if (size >= sizes[axis]!) return size;
    throw refuse("value", caller, name, `at least the ${sizes[axis]!} positions of the plan`, size);
  });
  return Object.freeze(reach);
}

/** Offsets of a head along each axis, of which a full form has one weight each. */
export function offsetCount(spec: Weighted): number {
  if (spec.form?.between) return spec.form.between[0] + spec.form.between[1] - 1;
  return elementCount(axisSizes(spec).map((size) => 2 * size - 1));
}

/** Where the weights of a head lie that are no sums. Axes of one position are left out, as `toeplitzAxes` does. */
export function weightLayout(spec: Weighted): WeightLayout {
  const sizes = axisSizes(spec);
  const counts = axisCounts(spec);
  const between = spec.form?.between;
  const strides = counts.map((_, axis) => elementCount(counts.slice(axis + 1)));
  const { symmetric = false, reach = sizes } = spec.form ?? {};
  const diagonal = symmetric ? 0 : (between?.slice(0, 1) ?? reach).reduce((place, size, axis) => place + (size - 1) * strides[axis]!, 0);
  const long = strides.filter((_, axis) => sizes[axis]! > 1);
  return { count: elementCount(counts), diagonal, strides: long.length > 0 ? long : [1], symmetric, ...(between && { between }) };
}

/** Gives the places of the weights, within a head, whose sum is that of an offset. */
export function weightPlaces(spec: Weighted): (dy: number, dx: number) => readonly number[] {
  const counts = axisCounts(spec);
  const { symmetric = false, separable, reach = axisSizes(spec), between } = spec.form ?? {};
  const along = (axis: number, offset: number) => (symmetric ? Math.abs(offset) : offset + reach[axis]! - 1);
  if (between) return (_, dx) => (-dx < between[0] && dx < between[1] ? [symmetric ? Math.abs(dx) : dx + between[0] - 1] : []);
  if (separable) return (dy, dx) => [along(0, dy), (separable === "axes" ? counts[0]! : 0) + along(1, dx)];
  return counts.length === 1 ? (_, dx) => [along(0, dx)] : (dy, dx) => [along(0, dy) * counts[1]! + along(1, dx)];
}
