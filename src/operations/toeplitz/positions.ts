/** Tokens with positions, and the forms in which weights of relative positions are kept: what pages load with the functions that make weights. */
import { checkBoolean, checkElements, checkEnum, checkSize } from "../../core/check.ts";
import { refuse } from "../../core/errors.ts";

/** A sequence of N tokens, or N = H·W tokens on a grid, token n at row ⌊n/W⌋ and column n mod W. Exactly one of the two. */
export type SequenceOptions =
  | { /** Sequence length N. */ length: number; grid?: undefined }
  | { length?: undefined; /** [H, W] */ grid: readonly [number, number] };

/** The tokens between which there are weights of relative positions. */
export interface RelativePositions {
  /** Tokens in all: N, H·W on a grid, times the channels of an image, and those outside. */
  readonly length: number;
  /** [H, W], or `undefined` in one dimension. */
  readonly grid: readonly [number, number] | undefined;
  readonly causal: boolean;
  /** Tokens at either end that have no position, and no weights; left out: none. */
  readonly outside?: { readonly first: number; readonly last: number } | undefined;
  /** Tokens of a position of the grid, each with weights to those that have the same place in theirs; left out: one. */
  readonly gridChannels?: number | undefined;
  /** In what form weights are; left out: one for every offset. */
  readonly form?: WeightForm | undefined;
}

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

/** A form of weights other than one for every offset of the tokens. */
export interface WeightForm {
  /** One weight for both signs of an offset. */
  readonly symmetric: boolean;
  /** Sums of one weight by row and one by column, each with its own vector or both with the same. */
  readonly separable: "axes" | "shared" | undefined;
  /** Positions that there are weights for along each axis, at least those of the tokens. */
  readonly reach: readonly number[];
  /** Positions of queries and of keys of cross-attention, with weights of the offsets between these only; left out: those of the tokens. */
  readonly between?: readonly [queries: number, keys: number] | undefined;
}

/** The tokens between which there are weights, in what form. */
export type Weighted = Omit<RelativePositions, "causal">;

const FORMS: readonly BiasForm[] = ["full", "symmetric", "separable", "separable-symmetric"];

/** Checks the options for the form of weights, but for their reach; `forms` are those that there are. @throws FastRpbError code `"value"` */
export function checkForm(
  caller: string,
  options: BiasFormOptions,
  grid: readonly number[] | undefined,
  forms = grid ? FORMS : FORMS.slice(0, 2),
): Omit<WeightForm, "reach"> {
  const kind = checkEnum(caller, "options.biasForm", options.biasForm ?? "full", forms);
  const separable = kind.startsWith("separable");
  const shared = checkBoolean(caller, "options.biasShared", options.biasShared ?? false);
  if (shared && !(separable && grid![0] === grid![1])) {
    throw refuse("value", caller, "options.biasShared", "false, but for a separable bias on a square grid", true);
  }
  return { symmetric: kind.endsWith("symmetric"), separable: separable ? (shared ? "shared" : "axes") : undefined };
}

/** Weights of a head for so many positions along each axis, as a shape. */
export function weightCounts(sizes: readonly number[], form: Partial<WeightForm> = {}): readonly number[] {
  if (form.between && !form.symmetric) return [form.between[0] + form.between[1] - 1];
  const counts = sizes.map((size) => (form.symmetric ? size : 2 * size - 1));
  if (!form.separable) return counts;
  return [counts[0]! + (form.separable === "axes" ? counts[1]! : 0)];
}

/** Checks the options that say what the tokens are. @throws FastRpbError code `"value"` */
export function checkTokens(caller: string, options: SequenceOptions): Pick<RelativePositions, "length" | "grid"> {
  if (options.grid === undefined) return { length: checkSize(caller, "options.length", options.length), grid: undefined };
  const { length }: { readonly length?: unknown } = options;
  if (length !== undefined) {
    throw refuse("value", caller, "options.length", "left out, because options.grid is given", length);
  }
  const grid: unknown = options.grid;
  if (!Array.isArray(grid) || grid.length !== 2) {
    throw refuse("value", caller, "options.grid", "an array [H, W]", grid);
  }
  const [height, width] = [checkSize(caller, "options.grid[0]", grid[0]), checkSize(caller, "options.grid[1]", grid[1])];
  checkElements(caller, "options.grid", [height, width]);
  return { length: height * width, grid: Object.freeze([height, width] as const) };
}
