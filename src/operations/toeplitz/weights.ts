/** Weights of relative positions, as numbers to upload: for FastRPB, for multiplicative bias, and for the Toeplitz product. */
import { checkElements, checkFinite, checkOptions, checkSize, elementCount } from "../../core/check.ts";
import { refuse } from "../../core/errors.ts";
import { type BiasForm, type BiasFormOptions, checkForm, checkTokens, type SequenceOptions, type WeightForm, weightCounts } from "./positions.ts";

/** The tokens that weights are of: a sequence of `length` N, or a grid [H, W]; and their form. */
export type BiasShape = SequenceOptions &
  Pick<BiasFormOptions, "biasForm" | "biasShared"> & {
    /** Default 1. */
    heads?: number;
  };

/** With one weight for every offset, or for both signs of an offset. */
type Plain = { biasForm?: "full" | "symmetric"; biasShared?: false };
type SequenceBias = Extract<BiasShape, { length: number }> & Plain;
type GridBias = Extract<BiasShape, { grid: readonly [number, number] }> & Plain;
type SeparableBias = Extract<BiasShape, { grid: readonly [number, number] }> & { biasForm: "separable" | "separable-symmetric" };

/** Whose weights those of a separable bias are. */
export type BiasAxis = "rows" | "columns" | "both";

interface Checked {
  readonly heads: number;
  /** [H, W], of a sequence [1, N]. */
  readonly grid: readonly [number, number];
  readonly form: Omit<WeightForm, "reach">;
  readonly weights: Float32Array<ArrayBuffer>;
}

function checkBias(caller: string, shape: BiasShape, forms?: readonly BiasForm[]): Checked {
  checkOptions(caller, "options", shape, ["heads", "length", "grid", "biasForm", "biasShared"]);
  const heads = checkSize(caller, "options.heads", shape.heads ?? 1);
  const { length, grid } = checkTokens(caller, shape);
  const form = checkForm(caller, shape, grid, forms);
  const sizes = [heads, ...weightCounts(grid ?? [length], form)];
  checkElements(caller, "the weights", sizes);
  return { heads, grid: grid ?? [1, length], form, weights: new Float32Array(elementCount(sizes)) };
}

/**
 * Calls `weight` for every head and offset, or distance, in the order of the weights; of a separable bias, which goes axis by axis, with the offset
 * and the axis.
 */
function fill<Second extends number | BiasAxis>(
  { heads, grid: [height, width], form, weights }: Checked,
  weight: (first: number, second: Second, head: number) => number,
) {
  const least = (size: number) => (form.symmetric ? 0 : 1 - size);
  const axes = { axes: ["rows", "columns"], shared: ["both"], none: undefined }[form.separable ?? "none"];
  let at = 0;
  for (let head = 0; head < heads; head++) {
    for (const axis of axes ?? [undefined]) {
      const size = axis === "columns" ? width : height;
      for (let dy = least(size); dy < size; dy++) {
        if (axis) weights[at++] = weight(dy, axis as Second, head);
        else for (let dx = least(width); dx < width; dx++) weights[at++] = weight(dy, dx as Second, head);
      }
    }
  }
  return weights;
}

/** `count` finite numbers. */
function checkNumbers(caller: string, argument: string, values: ArrayLike<number>, count: number): void {
  checkArray(caller, argument, values);
  if (values.length !== count) throw refuse("shape", caller, argument, `${count} numbers`, values.length);
  for (let i = 0; i < count; i++) checkFinite(caller, `${argument}[${i}]`, values[i]);
}

function checkArray(caller: string, argument: string, values: unknown): void {
  if (Array.isArray(values) || (ArrayBuffer.isView(values) && !(values instanceof DataView))) return;
  throw refuse("value", caller, argument, "an array of numbers", values);
}

/**
 * Weights by a function of the offset: that of a pair of tokens i, j is `f(j − i, head)`, or on a grid `f(y_j − y_i, x_j − x_i, head)`. Of a symmetric
 * form it is called with distances, which are not negative. Of a separable form a weight is the sum of `f(y_j − y_i, "rows", head)` and
 * `f(x_j − x_i, "columns", head)`, or with `biasShared` of `f(…, "both", head)` for each.
 *
 * ```ts
 * const heads = 8;
 * const weights = biasFromFunction({ heads, length: 512 }, (offset, head) => -Math.abs(offset) * 2 ** -(head + 1));
 * const bias = runtime.tensor(weights, [heads, 1023]);
 * ```
 *
 * @returns `[heads, 2N − 1]`, the weight of offset o at o + N − 1, or `[heads, 2H − 1, 2W − 1]`, that of (dy, dx) at [dy + H − 1, dx + W − 1]; or as
 *   {@link BiasForm} says
 * @throws FastRpbError code `"value"`, also where `f` gives no finite float32
 */
export function biasFromFunction(options: SequenceBias, f: (offset: number, head: number) => number): Float32Array<ArrayBuffer>;
export function biasFromFunction(options: GridBias, f: (dy: number, dx: number, head: number) => number): Float32Array<ArrayBuffer>;
export function biasFromFunction(options: SeparableBias, f: (offset: number, axis: BiasAxis, head: number) => number): Float32Array<ArrayBuffer>;
export function biasFromFunction(options: BiasShape, f: (...args: never[]) => number): Float32Array<ArrayBuffer> {
  const caller = "biasFromFunction";
  const checked = checkBias(caller, options);
  if (typeof f !== "function") throw refuse("value", caller, "f", "a function", f);
  const call = (...args: readonly (number | string)[]) => checkFinite(caller, `f(${args.join(", ")})`, f(...(args as never[])));
  return fill(checked, options.grid === undefined ? (_, dx: number, head) => call(dx, head) : call);
}

/**
 * Weights that fall with the distance: exp(−rate·|j − i|).
 *
 * @param rate not negative: one for all heads, or one for each
 * @returns `[heads, 2N − 1]`, or with `biasForm: "symmetric"` `[heads, N]`
 * @throws FastRpbError codes `"value"`, `"shape"` (a number of rates that is not that of the heads)
 */
export function decayBias(
  options: { heads?: number; length: number; biasForm?: "full" | "symmetric" },
  rate: number | ArrayLike<number>,
): Float32Array<ArrayBuffer> {
  const caller = "decayBias";
  checkOptions(caller, "options", options, ["heads", "length", "biasForm"]);
  const checked = checkBias(caller, options);
  const single = typeof rate === "number";
  const rates = single ? [rate] : rate;
  if (!single) checkNumbers(caller, "rate", rates, checked.heads);
  for (let i = 0; i < rates.length; i++) {
    const got: unknown = rates[i];
    if (typeof got === "number" && got >= 0 && got < Infinity) continue;
    throw refuse("value", caller, single ? "rate" : `rate[${i}]`, "a finite number that is not negative", got);
  }
  return fill(checked, (_, offset: number, head) => Math.exp(-rates[single ? 0 : head]! * Math.abs(offset)));
}

/**
 * Weights on a grid that are sums of one by row and one by column: rows[dy + H − 1] + columns[dx + W − 1].
 *
 * @param rows `[heads, 2H − 1]`, which also tells H
 * @param columns `[heads, 2W − 1]`
 * @returns `[heads, 2H − 1, 2W − 1]`, or with `biasForm: "separable"` `[heads, (2H − 1) + (2W − 1)]`
 * @throws FastRpbError codes `"value"`, `"shape"` (lengths that are no odd number for each head)
 */
export function separableBias(
  rows: ArrayLike<number>,
  columns: ArrayLike<number>,
  options: { heads?: number; biasForm?: "full" | "separable" } = {},
): Float32Array<ArrayBuffer> {
  const caller = "separableBias";
  checkOptions(caller, "options", options, ["heads", "biasForm"]);
  const heads = checkSize(caller, "options.heads", options.heads ?? 1);
  const size = (argument: string, values: ArrayLike<number>): number => {
    checkArray(caller, argument, values);
    const count = values.length / heads;
    if (count % 2 !== 1) throw refuse("shape", caller, argument, `an odd number of numbers for each of ${heads} heads`, values.length);
    checkNumbers(caller, argument, values, values.length);
    return (count + 1) / 2;
  };
  const [height, width] = [size("rows", rows), size("columns", columns)];
  const row = (dy: number, head: number) => rows[head * (2 * height - 1) + dy + height - 1]!;
  const column = (dx: number, head: number) => columns[head * (2 * width - 1) + dx + width - 1]!;
  return fill(checkBias(caller, { ...options, grid: [height, width] }, ["full", "separable"]), (first, second: number | BiasAxis, head) => {
    if (second === "rows") return row(first, head);
    if (second === "columns") return column(first, head);
    return checkFinite(caller, `the weight of (${first}, ${second}) in head ${head}`, row(first, head) + column(second as number, head));
  });
}

/**
 * Weights on a grid by the Manhattan distance: byDistance[|dy| + |dx|].
 *
 * @param byDistance `[heads, H + W − 1]`
 * @returns `[heads, 2H − 1, 2W − 1]`, or with `biasForm: "symmetric"` `[heads, H, W]`
 * @throws FastRpbError codes `"value"`, `"shape"` (not H + W − 1 numbers for each head)
 */
export function manhattanBias(
  byDistance: ArrayLike<number>,
  options: { heads?: number; grid: readonly [number, number]; biasForm?: "full" | "symmetric" },
): Float32Array<ArrayBuffer> {
  const caller = "manhattanBias";
  checkOptions(caller, "options", options, ["heads", "grid", "biasForm"]);
  if (options.grid === undefined) throw refuse("value", caller, "options.grid", "an array [H, W]", undefined);
  const checked = checkBias(caller, options, ["full", "symmetric"]);
  const [height, width] = checked.grid;
  const distances = height + width - 1;
  checkNumbers(caller, "byDistance", byDistance, checked.heads * distances);
  return fill(checked, (dy, dx: number, head) => byDistance[head * distances + Math.abs(dy) + Math.abs(dx)]!);
}
