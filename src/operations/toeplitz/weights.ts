/** Weights of relative positions, as numbers to upload: for FastRPB, for multiplicative bias, and for the Toeplitz product. */
import { checkElements, checkFinite, checkOptions, checkSize, elementCount } from "../../core/check.ts";
import { refuse } from "../../core/errors.ts";
import { checkPositions, type SequenceOptions, weightsShape } from "./spec.ts";

/** The tokens that weights are of: a sequence of `length` N, or a grid [H, W]. */
export type BiasShape = SequenceOptions & {
  /** Default 1. */
  heads?: number;
};

type SequenceBias = Extract<BiasShape, { length: number }>;
type GridBias = Extract<BiasShape, { grid: readonly [number, number] }>;

interface Checked {
  readonly heads: number;
  /** [H, W], of a sequence [1, N]. */
  readonly grid: readonly [number, number];
  readonly weights: Float32Array<ArrayBuffer>;
}

function checkBias(caller: string, shape: BiasShape): Checked {
  checkOptions(caller, "options", shape, ["heads", "length", "grid"]);
  const heads = checkSize(caller, "options.heads", shape.heads ?? 1);
  const positions = checkPositions(caller, { ...shape, causal: false });
  const sizes = weightsShape({ ...positions, heads });
  checkElements(caller, "the weights", sizes);
  return { heads, grid: positions.grid ?? [1, positions.length], weights: new Float32Array(elementCount(sizes)) };
}

/** Calls `weight` for every head and offset, in the order of the weights. */
function fill(
  { heads, grid: [height, width], weights }: Checked,
  weight: (dy: number, dx: number, head: number) => number,
): Float32Array<ArrayBuffer> {
  let at = 0;
  for (let head = 0; head < heads; head++) {
    for (let dy = 1 - height; dy < height; dy++) {
      for (let dx = 1 - width; dx < width; dx++) weights[at++] = weight(dy, dx, head);
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
 * Weights by a function of the offset: that of a pair of tokens i, j is `f(j − i, head)`, or on a grid `f(y_j − y_i, x_j − x_i, head)`.
 *
 * ```ts
 * const heads = 8;
 * const weights = biasFromFunction({ heads, length: 512 }, (offset, head) => -Math.abs(offset) * 2 ** -(head + 1));
 * const bias = runtime.tensor(weights, [heads, 1023]);
 * ```
 *
 * @returns `[heads, 2N − 1]`, the weight of offset o at o + N − 1, or `[heads, 2H − 1, 2W − 1]`, that of (dy, dx) at [dy + H − 1, dx + W − 1]
 * @throws FastRpbError code `"value"`, also where `f` gives no finite float32
 */
export function biasFromFunction(options: SequenceBias, f: (offset: number, head: number) => number): Float32Array<ArrayBuffer>;
export function biasFromFunction(options: GridBias, f: (dy: number, dx: number, head: number) => number): Float32Array<ArrayBuffer>;
export function biasFromFunction(options: BiasShape, f: (...args: [number, number, number]) => number): Float32Array<ArrayBuffer> {
  const caller = "biasFromFunction";
  const checked = checkBias(caller, options);
  if (typeof f !== "function") throw refuse("value", caller, "f", "a function", f);
  const inSequence = f as unknown as (offset: number, head: number) => number;
  return fill(checked, (dy, dx, head) =>
    options.grid === undefined
      ? checkFinite(caller, `f(${dx}, ${head})`, inSequence(dx, head))
      : checkFinite(caller, `f(${dy}, ${dx}, ${head})`, f(dy, dx, head)),
  );
}

/**
 * Weights that fall with the distance: exp(−rate·|j − i|).
 *
 * @param rate not negative: one for all heads, or one for each
 * @returns `[heads, 2N − 1]`
 * @throws FastRpbError codes `"value"`, `"shape"` (a number of rates that is not that of the heads)
 */
export function decayBias(options: { heads?: number; length: number }, rate: number | ArrayLike<number>): Float32Array<ArrayBuffer> {
  const caller = "decayBias";
  checkOptions(caller, "options", options, ["heads", "length"]);
  const checked = checkBias(caller, options);
  const single = typeof rate === "number";
  const rates = single ? [rate] : rate;
  if (!single) checkNumbers(caller, "rate", rates, checked.heads);
  for (let i = 0; i < rates.length; i++) {
    const got: unknown = rates[i];
    if (typeof got === "number" && got >= 0 && got < Infinity) continue;
    throw refuse("value", caller, single ? "rate" : `rate[${i}]`, "a finite number that is not negative", got);
  }
  return fill(checked, (_, offset, head) => Math.exp(-rates[single ? 0 : head]! * Math.abs(offset)));
}

/**
 * Weights on a grid that are sums of one by row and one by column: rows[dy + H − 1] + columns[dx + W − 1].
 *
 * @param rows `[heads, 2H − 1]`, which also tells H
 * @param columns `[heads, 2W − 1]`
 * @returns `[heads, 2H − 1, 2W − 1]`
 * @throws FastRpbError codes `"value"`, `"shape"` (lengths that are no odd number for each head)
 */
export function separableBias(rows: ArrayLike<number>, columns: ArrayLike<number>, options: { heads?: number } = {}): Float32Array<ArrayBuffer> {
  const caller = "separableBias";
  checkOptions(caller, "options", options, ["heads"]);
  const heads = checkSize(caller, "options.heads", options.heads ?? 1);
  const size = (argument: string, values: ArrayLike<number>): number => {
    checkArray(caller, argument, values);
    const count = values.length / heads;
    if (count % 2 !== 1) throw refuse("shape", caller, argument, `an odd number of numbers for each of ${heads} heads`, values.length);
    checkNumbers(caller, argument, values, values.length);
    return (count + 1) / 2;
  };
  const [height, width] = [size("rows", rows), size("columns", columns)];
  return fill(checkBias(caller, { heads, grid: [height, width] }), (dy, dx, head) =>
    checkFinite(
      caller,
      `the weight of (${dy}, ${dx}) in head ${head}`,
      rows[head * (2 * height - 1) + dy + height - 1]! + columns[head * (2 * width - 1) + dx + width - 1]!,
    ),
  );
}

/**
 * Weights on a grid by the Manhattan distance: byDistance[|dy| + |dx|].
 *
 * @param byDistance `[heads, H + W − 1]`
 * @returns `[heads, 2H − 1, 2W − 1]`
 * @throws FastRpbError codes `"value"`, `"shape"` (not H + W − 1 numbers for each head)
 */
export function manhattanBias(
  byDistance: ArrayLike<number>,
  options: { heads?: number; grid: readonly [number, number] },
): Float32Array<ArrayBuffer> {
  const caller = "manhattanBias";
  checkOptions(caller, "options", options, ["heads", "grid"]);
  if (options.grid === undefined) throw refuse("value", caller, "options.grid", "an array [H, W]", undefined);
  const checked = checkBias(caller, options);
  const [height, width] = checked.grid;
  const distances = height + width - 1;
  checkNumbers(caller, "byDistance", byDistance, checked.heads * distances);
  return fill(checked, (dy, dx, head) => byDistance[head * distances + Math.abs(dy) + Math.abs(dx)]!);
}
