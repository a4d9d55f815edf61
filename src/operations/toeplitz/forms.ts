/** What the forms of weights mean for plans: which weights there are, and where they lie. */
import type { WeightLayout } from "../../../shaders/toeplitz/weight-layout.ts";
import { checkOptions, checkSize, elementCount, MAX_ELEMENTS } from "../../core/check.ts";
import { refuse } from "../../core/errors.ts";
import {
  axisCounts,
  axisSizes,
  type BiasFormOptions,
  checkForm,
  checkTokens,
  type RelativePositions,
  type SequenceOptions,
  type Weighted,
  type WeightForm,
} from "./positions.ts";

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

/** A form in words, for errors. */
export function formName({ symmetric, separable, reach }: WeightForm): string {
  const kind = `${separable ? `separable${symmetric ? "-" : ""}` : symmetric ? "" : "full"}${symmetric ? "symmetric" : ""}`;
  return `"${kind}"${separable === "shared" ? ", shared," : ""} for ${reach.join(" × ")} positions`;
}

/** Checks the options that say what the tokens are, and the form of their weights. @throws FastRpbError code `"value"` */
export function checkPositions(caller: string, options: SequenceOptions & BiasFormOptions & TokenOptions & { causal?: boolean }): RelativePositions {
  const tokens = checkTokens(caller, options);
  const form = checkForm(caller, options, tokens, checkReach(caller, options.biasLength, axisSizes(tokens)));
  const { first = 0, last = 0 } = checkOptions(caller, "options.outside", options.outside ?? {}, ["first", "last"]);
  const outside = {
    first: checkSize(caller, "options.outside.first", first, 0),
    last: checkSize(caller, "options.outside.last", last, 0),
  };
  const gridChannels = checkSize(caller, "options.gridChannels", options.gridChannels ?? 1);
  if (gridChannels > 1 && !tokens.grid) throw refuse("value", caller, "options.gridChannels", "left out, or 1, without options.grid", gridChannels);
  const around = outside.first + outside.last;
  const length = tokens.length * gridChannels + around;
  if (length > MAX_ELEMENTS)
    throw refuse("value", caller, "options.outside or options.gridChannels", `so that there are at most ${MAX_ELEMENTS} tokens`, length);
  return {
    ...tokens,
    length,
    form,
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
  return elementCount(axisSizes(spec).map((size) => 2 * size - 1));
}

/** Where the weights of a head lie that are no sums. Axes of one position are left out, as `toeplitzAxes` does. */
export function weightLayout(spec: Weighted): WeightLayout {
  const sizes = axisSizes(spec);
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
  const { symmetric = false, separable, reach = axisSizes(spec) } = spec.form ?? {};
  const along = (axis: number, offset: number) => (symmetric ? Math.abs(offset) : offset + reach[axis]! - 1);
  if (separable) return (dy, dx) => [along(0, dy), (separable === "axes" ? counts[0]! : 0) + along(1, dx)];
  return counts.length === 1 ? (_, dx) => [along(0, dx)] : (dy, dx) => [along(0, dy) * counts[1]! + along(1, dx)];
}
