/** The building blocks of models: plain functions of values. Those with parameters name them as PyTorch does, rows of a weight being outputs. */
import { checkBoolean, checkFinite, checkOptions, checkShape, checkSize, elementCount } from "../core/check.ts";
import { FastRpbError, refuse } from "../core/errors.ts";
import { dropout as dropoutOperation } from "../operations/dropout/operation.ts";
import { dropoutSpec } from "../operations/dropout/spec.ts";
import { activation, add as addOperation, multiply as multiplyOperation } from "../operations/elementwise/operation.ts";
import { type ActivationKind, activationSpec, addSpec, multiplySpec } from "../operations/elementwise/spec.ts";
import { embedding as embeddingOperation } from "../operations/embedding/operation.ts";
import { embeddingSpec } from "../operations/embedding/spec.ts";
import { norm } from "../operations/layer-norm/operation.ts";
import { normSpec } from "../operations/layer-norm/spec.ts";
import { matmul } from "../operations/matmul/operation.ts";
import { matmulSpec } from "../operations/matmul/spec.ts";
import { meanOverTokens as meanOperation } from "../operations/mean-over-tokens/operation.ts";
import { meanOverTokensSpec } from "../operations/mean-over-tokens/spec.ts";
import { task } from "../operations/operation.ts";
import { Value } from "./recorder.ts";

/** Options of {@link linear}. */
export interface LinearOptions {
  /** Numbers in a row of the result. */
  readonly outputs: number;
  /** Whether a vector is added. Default `true`. */
  readonly bias?: boolean;
}

/** How a matrix has its rows of tokens by heads: `[batch, heads, length, dim]` instead of `[batch, length, heads·dim]`. */
export interface HeadsOf {
  readonly of: "out" | "a";
  readonly length: number;
  readonly heads: number;
}

/**
 * x·weightᵀ + bias along the last axis, as `torch.nn.Linear`: parameters `name.weight` `[outputs, inputs]` and `name.bias` `[outputs]`, which start
 * uniform within ±1/√inputs.
 *
 * @param x float32 `[batch, …, inputs]`
 * @returns float32 `[batch, …, outputs]`
 * @throws FastRpbError codes `"shape"`, `"value"`
 */
export function linear(x: Value, name: string, options: LinearOptions): Value {
  const caller = callerOf("linear", x, name);
  checkFloats(caller, "x", x, 2);
  checkOptions(caller, "options", options, ["outputs", "bias"]);
  const outputs = checkSize(caller, "options.outputs", options.outputs);
  const bias = checkBoolean(caller, "options.bias", options.bias ?? true);
  return product(x, name, { outputs, bias, shape: [...x.shape.slice(0, -1), outputs] });
}

/** The product of {@link linear}, where heads may be split by its stores or joined by its loads. */
export function product(
  x: Value,
  name: string,
  {
    outputs,
    bias,
    shape,
    inputs = x.shape.at(-1)!,
    heads,
  }: { outputs: number; bias: boolean; shape: readonly number[]; inputs?: number; heads?: HeadsOf },
): Value {
  const { recorder } = x;
  const initial = { kind: "uniform", scale: 1 / Math.sqrt(inputs) } as const;
  const weight = recorder.parameter(`${name}.weight`, [outputs, inputs], initial);
  const added = bias ? recorder.parameter(`${name}.bias`, [outputs], initial) : undefined;
  const spec = matmulSpec({ m: x.size / inputs, n: outputs, k: inputs, transposeB: true, bias, ...(heads && { heads }) });
  return recorder.add(name, task(matmul, spec), { a: x, b: weight, bias: added }, { out: shape }).out;
}

/**
 * Rows of a table by index, as `torch.nn.Embedding`: the parameter `name.weight` `[count, width]`, which starts normal with deviation 0.02. An index
 * that is not below `count` gives NaN.
 *
 * @param indices u32 `[batch, …]`
 * @returns float32 `[batch, …, width]`
 * @throws FastRpbError codes `"shape"`, `"value"`
 */
export function embedding(indices: Value, name: string, options: { readonly count: number; readonly width: number }): Value {
  const caller = callerOf("embedding", indices, name, "indices");
  if (indices.dtype !== "u32") throw refuse("shape", caller, "indices", 'a value of dtype "u32"', indices.dtype);
  checkOptions(caller, "options", options, ["count", "width"]);
  const count = checkSize(caller, "options.count", options.count);
  const width = checkSize(caller, "options.width", options.width);
  const { recorder } = indices;
  const table = recorder.parameter(`${name}.weight`, [count, width], { kind: "normal", scale: 0.02 });
  const spec = embeddingSpec({ tokens: indices.size, count, width });
  return recorder.add(name, task(embeddingOperation, spec), { indices, table }, { out: [...indices.shape, width] }).out;
}

/** Options of {@link layerNorm}. */
export interface NormOptions {
  /** Added to the variance, or the mean of squares. Default 1e-5. */
  readonly epsilon?: number;
}

/**
 * (x − mean) / √(variance + ε)·weight + bias over the last axis (Ba et al. 2016), as `torch.nn.LayerNorm`: parameters `name.weight`, which starts at 1,
 * and `name.bias`, at 0, both `[width]`.
 *
 * @throws FastRpbError codes `"shape"`, `"value"`
 */
export function layerNorm(x: Value, name: string, options: NormOptions = {}): Value {
  return normalize("layer", x, name, options);
}

/**
 * x / √(mean of x² + ε)·weight over the last axis (Zhang and Sennrich 2019), as `torch.nn.RMSNorm`: the parameter `name.weight` `[width]` starts at 1.
 *
 * @throws FastRpbError codes `"shape"`, `"value"`
 */
export function rmsNorm(x: Value, name: string, options: NormOptions = {}): Value {
  return normalize("rms", x, name, options);
}

function normalize(kind: "layer" | "rms", x: Value, name: string, options: NormOptions): Value {
  const caller = callerOf(kind === "layer" ? "layerNorm" : "rmsNorm", x, name);
  checkFloats(caller, "x", x, 2);
  checkOptions(caller, "options", options, ["epsilon"]);
  const epsilon = checkFinite(caller, "options.epsilon", options.epsilon ?? 1e-5);
  if (epsilon < 0) throw refuse("value", caller, "options.epsilon", "a number that is not negative", epsilon);
  const { recorder } = x;
  const width = x.shape.at(-1)!;
  const weight = recorder.parameter(`${name}.weight`, [width], { kind: "constant", value: 1 });
  const bias = kind === "layer" ? recorder.parameter(`${name}.bias`, [width], { kind: "constant", value: 0 }) : undefined;
  const rows = x.size / width;
  const spec = normSpec({ kind, rows, width, epsilon, bias: kind === "layer" });
  return recorder.add(name, task(norm, spec), { x, weight, bias }, { out: x.shape, statistics: [rows, 2] }).out;
}

/**
 * The Gaussian error linear unit x·Φ(x) (Hendrycks and Gimpel 2016).
 *
 * @param options.approximate `"tanh"`: ½x(1 + tanh(√(2/π)(x + 0.044715x³))), as `torch.nn.GELU(approximate="tanh")`. Default `"none"`, with erf
 * @throws FastRpbError codes `"shape"`, `"value"`
 */
export function gelu(x: Value, options: { readonly approximate?: "none" | "tanh" } = {}): Value {
  checkOptions("gelu", "options", options, ["approximate"]);
  const { approximate = "none" } = options;
  if (approximate !== "none" && approximate !== "tanh") throw refuse("value", "gelu", "options.approximate", '"none" or "tanh"', approximate);
  return activate(x, approximate === "tanh" ? "gelu-tanh" : "gelu");
}

/** max(x, 0). @throws FastRpbError code `"shape"` */
export function relu(x: Value): Value {
  return activate(x, "relu");
}

function activate(x: Value, kind: ActivationKind): Value {
  checkFloats(kind, "x", x, 1);
  return x.recorder.add(kind, task(activation, activationSpec({ size: x.size, kind })), { x }, { out: x.shape }).out;
}

/**
 * x + y, where `y` has the shape of `x` or lacks leading axes, along which it is repeated.
 *
 * @throws FastRpbError code `"shape"`
 */
export function add(x: Value, y: Value): Value {
  checkBroadcast("add", x, y);
  return x.recorder.add("add", task(addOperation, addSpec({ size: x.size, period: y.size })), { x, y }, { out: x.shape }).out;
}

/**
 * x·y, element by element, where `y` has the shape of `x` or lacks leading axes, along which it is repeated.
 *
 * @throws FastRpbError code `"shape"`
 */
export function multiply(x: Value, y: Value): Value {
  checkBroadcast("multiply", x, y);
  return x.recorder.add("multiply", task(multiplyOperation, multiplySpec({ size: x.size, period: y.size })), { x, y }, { out: x.shape }).out;
}

/**
 * Zeros in place of a share of the numbers, the rest divided by what is kept on average (Srivastava et al. 2014); in inference x as it is. Which
 * ones follows from the seed of the training, the step and the place, so that nothing is stored for the way back.
 *
 * @param rate the share, from 0 to below 1
 * @throws FastRpbError codes `"shape"`, `"value"`
 */
export function dropout(x: Value, rate: number): Value {
  checkFloats("dropout", "x", x, 1);
  if (typeof rate !== "number" || !(rate >= 0 && rate < 1)) throw refuse("value", "dropout", "rate", "a number from 0 to below 1", rate);
  const { recorder } = x;
  if (rate === 0 || !recorder.isTraining) return x;
  const spec = dropoutSpec({ size: x.size, rate, site: recorder.nextSite() });
  return recorder.add("dropout", task(dropoutOperation, spec), { x, clock: recorder.clock }, { out: x.shape }).out;
}

/**
 * The mean over the tokens of each batch row; of a row without tokens, zeros.
 *
 * @param x float32 `[batch, length, width]`
 * @param options.lengths how many tokens of each row count, u32 `[batch]`. Default: all
 * @returns float32 `[batch, width]`
 * @throws FastRpbError code `"shape"`
 */
export function meanOverTokens(x: Value, options: { readonly lengths?: Value } = {}): Value {
  const caller = "meanOverTokens";
  checkFloats(caller, "x", x, 3, 3);
  checkOptions(caller, "options", options, ["lengths"]);
  const [batch, length, width] = x.shape as [number, number, number];
  const { lengths } = options;
  if (lengths !== undefined) checkLengths(caller, lengths, batch);
  const spec = meanOverTokensSpec({ batch, length, width, variableLengths: lengths !== undefined });
  return x.recorder.add("mean", task(meanOperation, spec), { x, lengths }, { out: [batch, width] }).out;
}

/** Rows of a table for all tokens [length, width], or where a model takes one token at a time that of its place, [1, width]. */
export function placed(table: Value): Value {
  const { recorder } = table;
  if (!recorder.decoding) return table;
  const [count, width] = table.shape as [number, number];
  const spec = embeddingSpec({ tokens: 1, count, width });
  return recorder.add("place", task(embeddingOperation, spec), { indices: recorder.decoding.position, table }, { out: [1, width] }).out;
}

/**
 * One token of each batch row.
 *
 * @param x float32 `[batch, length, width]`
 * @param index its place, from 0; negative ones count from the end
 * @returns float32 `[batch, width]`
 * @throws FastRpbError codes `"shape"`, `"value"`
 */
export function tokenAt(x: Value, index: number): Value {
  const caller = "tokenAt";
  checkFloats(caller, "x", x, 3, 3);
  const [batch, length, width] = x.shape as [number, number, number];
  if (!Number.isInteger(index) || index < -length || index >= length)
    throw refuse("value", caller, "index", `an integer from ${-length} to ${length - 1}`, index);
  // A product with a one at the place of the token.
  const places = new Float64Array(batch * length);
  for (let b = 0; b < batch; b++) places[b * length + ((index + length) % length)] = 1;
  const choice = x.recorder.constant(`token ${index}`, [batch, 1, length], places);
  const spec = matmulSpec({ batch, m: 1, n: width, k: length });
  return x.recorder.add("token", task(matmul, spec), { a: choice, b: x }, { out: [batch, width] }).out;
}

/**
 * The same numbers in another shape.
 *
 * @param shape of each batch row, without the axis of the batch
 * @throws FastRpbError code `"shape"` where it holds another number of elements
 */
export function reshape(x: Value, shape: readonly number[]): Value {
  checkValue("reshape", "x", x);
  const isScalar = Array.isArray(shape) && shape.length === 0;
  const full = [x.shape[0]!, ...(isScalar ? [] : checkShape("reshape", "shape", shape))];
  if (elementCount(full) !== x.size) {
    throw refuse("shape", "reshape", "shape", `sizes of ${x.size / x.shape[0]!} elements in all`, shape);
  }
  return new Value(x.recorder, x.name, full, x.dtype);
}

/** What errors name: the function, and the layer with the scopes that it stands in. */
export function callerOf(layer: string, x: Value, name: string, argument = "x"): string {
  checkValue(layer, argument, x);
  return `${layer} (${x.recorder.scoped(checkName(layer, name))})`;
}

/** @throws FastRpbError code `"value"` */
export function checkName(caller: string, name: unknown): string {
  if (typeof name === "string" && /^[\w.-]+$/.test(name)) return name;
  throw refuse("value", caller, "name", "letters, digits, dots and dashes", name);
}

function checkValue(caller: string, argument: string, x: unknown): asserts x is Value {
  if (!(x instanceof Value)) throw refuse("value", caller, argument, "a value of a model", x);
}

/** @throws FastRpbError code `"shape"` */
export function checkFloats(caller: string, argument: string, x: unknown, least: number, most = Infinity): asserts x is Value {
  checkValue(caller, argument, x);
  const axes = most === least ? `${least} axes` : `at least ${least} axes`;
  if (x.dtype !== "f32") throw refuse("shape", caller, argument, 'a value of dtype "f32"', x.dtype);
  if (x.shape.length < least || x.shape.length > most) throw refuse("shape", caller, argument, axes, x.shape);
}

/** @throws FastRpbError code `"shape"` */
export function checkLengths(caller: string, lengths: unknown, batch: number): asserts lengths is Value {
  const isRight = lengths instanceof Value && lengths.dtype === "u32" && lengths.size === batch;
  if (!isRight)
    throw refuse(
      "shape",
      caller,
      "options.lengths",
      `a value of dtype "u32" and shape [${batch}]`,
      lengths instanceof Value ? lengths.shape : lengths,
    );
}

function checkBroadcast(caller: string, x: Value, y: Value): void {
  checkFloats(caller, "x", x, 1);
  checkFloats(caller, "y", y, 1);
  const tail = x.shape.slice(x.shape.length - y.shape.length);
  if (y.shape.length <= x.shape.length && y.shape.every((size, axis) => size === tail[axis])) return;
  throw new FastRpbError(
    "shape",
    `${caller}: y of shape [${y.shape.join(", ")}] is neither of the shape of x, [${x.shape.join(", ")}], nor of its last axes.`,
  );
}
