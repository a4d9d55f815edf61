/** Attention and the Toeplitz product as layers of a model. */
import { checkBoolean, checkOptions, checkSize } from "../core/check.ts";
import { refuse } from "../core/errors.ts";
import { type AttentionOptions, attentionSpec, type AttentionSpec, hasSpectrum, isProjected } from "../operations/attention/spec.ts";
import { matmul } from "../operations/matmul/operation.ts";
import { matmulSpec } from "../operations/matmul/spec.ts";
import { type Operation, type Task, task } from "../operations/operation.ts";
import { toeplitz as toeplitzOperation } from "../operations/toeplitz/operation.ts";
import { loadForm } from "../operations/toeplitz/separable-plans.ts";
import { type BiasForm, type SequenceOptions, type ToeplitzOptions, toeplitzSpec, weightsShape } from "../operations/toeplitz/spec.ts";
import { loadKind } from "../runtime/attention-family.ts";
import { callerOf, checkFloats, checkLengths, product } from "./layers.ts";
import { type Decoding, type Recorder, Value } from "./recorder.ts";

/**
 * A form of the weights of relative positions: {@link BiasForm}, or on a grid `"manhattan"`, one weight for each |y_j − y_i| + |x_j − x_i|, `[heads,
 * H + W − 1]`.
 */
export type LayerBiasForm = BiasForm | "manhattan";

type Choices = Pick<
  AttentionOptions,
  "kind" | "featureMap" | "randomFeatures" | "nu" | "scale" | "causal" | "window" | "bias" | "biasShared" | "biasLength" | "outside" | "valueDim"
>;

/** Options of an attention layer: what `runtime.attention` takes, but for sizes that follow from the input. */
export type AttentionLayerOptions = Choices & {
  readonly heads: number;
  /** Dimension of queries and keys. Default: width / heads, which has to be whole. */
  readonly headDim?: number;
  /** [H, W], where the tokens of a sequence lie on a grid. */
  readonly grid?: readonly [number, number];
  readonly biasForm?: LayerBiasForm;
  /** Whether vectors are added in the linear layers. Default `true`. */
  readonly linearBias?: boolean;
  /** How many tokens of each batch row there are, u32 `[batch]`. Default: all. */
  readonly lengths?: Value;
};

const CHOICES = ["kind", "featureMap", "randomFeatures", "nu", "scale", "causal", "window", "bias", "biasShared", "biasLength", "outside"] as const;

/**
 * Multi-head attention with relative positions: linear layers `name.q`, `name.k`, `name.v` of the input, attention of each head, and `name.out` of all
 * heads together. With a `bias`, the parameter `name.relative.weight` holds its weights, which start at zero; it has the shape that `runtime.attention`
 * takes.
 *
 * @param x float32 `[batch, length, width]`
 * @returns float32 `[batch, length, width]`
 * @throws FastRpbError codes `"shape"`, `"value"`, `"unavailable"`
 */
export function attention(x: Value, name: string, options: AttentionLayerOptions): Value {
  const caller = callerOf("attention", x, name);
  checkFloats(caller, "x", x, 3, 3);
  checkOptions(caller, "options", options, ["heads", "headDim", "valueDim", "grid", "biasForm", "linearBias", "lengths", ...CHOICES]);
  const { recorder } = x;
  const [batch, ownTokens, width] = x.shape as [number, number, number];
  const tokens = recorder.decoding?.length ?? ownTokens;
  const { linearBias = true, lengths, biasForm, headDim: given, valueDim, heads, grid, ...choices } = options;
  const bias = checkBoolean(caller, "options.linearBias", linearBias);
  if (lengths !== undefined) checkLengths(caller, lengths, batch);
  const headDim = given ?? headDimOf(caller, width, checkSize(caller, "options.heads", heads));
  // A multiplicative bias has its heads one after the other: the products of the linear layers put them so.
  const split = options.bias === "multiplicative" || recorder.decoding !== undefined;
  const spec = attentionSpec(
    {
      ...choices,
      ...positionOptions(tokens, grid, biasForm, choices.outside),
      batch,
      heads,
      headDim,
      valueDim: valueDim ?? headDim,
      variableLengths: lengths !== undefined,
      layout: split ? "bhnd" : "bnhd",
    },
    caller,
  );
  if (!recorder.decoding) checkTokens(caller, x, spec.length);
  return recorder.within(name, () => {
    const rows = x.shape[1]!;
    const projected = (part: "q" | "k" | "v") => {
      const dim = part === "v" ? spec.valueDim : headDim;
      const shape = split ? [batch, heads, rows, dim] : [batch, rows, heads, dim];
      return product(x, part, { outputs: heads * dim, bias, shape, ...(split && rows > 1 && { heads: { of: "out", length: rows, heads } }) });
    };
    const [q, k, v] = [projected("q"), projected("k"), projected("v")];
    const load = once(() => loadKind(spec));
    const relative = spec.bias === "none" ? undefined : relativeWeights(x, weightsShape(spec), biasForm);
    if (recorder.decoding)
      return joined(decoded(recorder, recorder.decoding, spec, relative, { q, k, v }), "out", {
        width,
        bias,
        tokens: 1,
        heads,
        dim: spec.valueDim,
        split: false,
      });
    const spectrum = relative && hasSpectrum(spec) ? prepared(relative, load, spec) : undefined;
    const logits = spec.bias === "logits" ? relative : undefined;
    const shape = split ? [batch, heads, tokens, spec.valueDim] : [batch, tokens, heads, spec.valueDim];
    const { out } = recorder.add("attended", async () => task(await load(), spec), { q, k, v, spectrum, bias: logits, lengths }, { out: shape });
    return joined(out, "out", { width, bias, tokens, heads, dim: spec.valueDim, split });
  });
}

/** Attention of the next token, which goes on from what it keeps. */
function decoded(
  recorder: Recorder,
  decoding: Decoding,
  shape: AttentionSpec,
  relative: Value | undefined,
  rows: Readonly<Record<"q" | "k" | "v", Value>>,
): Value {
  const name = recorder.scoped("kept");
  decoding.kept.push({ name, shape, relative: relative?.name });
  const kept = (of: string) => new Value(recorder, `${name} ${of}`, []);
  const { block } = decoding;
  const ofBias = relative && {
    history: kept("history"),
    weights: kept("weights"),
    ...(block > 0 && { [`spectrum${block}`]: kept(`spectrum${block}`) }),
  };
  const load = async () => {
    const [{ decode }, { decodeSpec }] = await Promise.all([
      import("../operations/attention/decode/operation.ts"),
      import("../operations/attention/decode/spec.ts"),
      isProjected(shape) && (await import("../operations/attention/projection.ts")).loadProjection(shape.featureMap),
    ]);
    return task(decode, decodeSpec(shape, 1, [{ tokens: 1, block }]));
  };
  const { batch, heads, valueDim } = shape;
  return recorder.add("attended", load, { ...rows, states: kept("states"), ...ofBias }, { out: [batch, heads, 1, valueDim] }).out;
}

/** Options of a layer of a Toeplitz product alone. */
export type ToeplitzLayerOptions = Pick<ToeplitzOptions, "causal" | "biasShared" | "biasLength" | "outside"> & {
  readonly heads: number;
  /** [H, W], where the tokens of a sequence lie on a grid. */
  readonly grid?: readonly [number, number];
  readonly biasForm?: LayerBiasForm;
  /** Whether vectors are added in the linear layers. Default `true`. */
  readonly linearBias?: boolean;
};

/**
 * FastRPB without attention: the linear layer `name.v`, in each head a Toeplitz product with the weights `name.relative.weight`, which start at zero,
 * and `name.out` of all heads together.
 *
 * @param x float32 `[batch, length, width]`, where heads divide the width
 * @returns float32 `[batch, length, width]`
 * @throws FastRpbError codes `"shape"`, `"value"`
 */
export function toeplitz(x: Value, name: string, options: ToeplitzLayerOptions): Value {
  const caller = callerOf("toeplitz", x, name);
  checkFloats(caller, "x", x, 3, 3);
  checkOptions(caller, "options", options, ["heads", "grid", "causal", "biasForm", "biasShared", "biasLength", "outside", "linearBias"]);
  const [batch, tokens, width] = x.shape as [number, number, number];
  const { linearBias = true, heads, grid, biasForm, ...choices } = options;
  const bias = checkBoolean(caller, "options.linearBias", linearBias);
  const dim = headDimOf(caller, width, checkSize(caller, "options.heads", heads));
  const spec = toeplitzSpec(
    {
      ...choices,
      ...positionOptions(tokens, grid, biasForm, choices.outside),
      batch,
      heads,
      channels: dim,
    },
    caller,
  );
  checkTokens(caller, x, spec.length);
  const { recorder } = x;
  return recorder.within(name, () => {
    const v = product(x, "v", { outputs: width, bias, shape: [batch, heads, tokens, dim], heads: { of: "out", length: tokens, heads } });
    const load = once(async () => {
      await loadForm(spec);
      return toeplitzOperation;
    });
    const spectrum = prepared(relativeWeights(x, weightsShape(spec), biasForm), load, spec);
    const { out } = recorder.add("product", async () => task(await load(), spec), { v, spectrum }, { out: v.shape });
    return joined(out, "out", { width, bias, tokens, heads, dim, split: true });
  });
}

/** What the tokens are, and the form of their weights, as operations take them. What is no number is left to the checks of all options. */
function positionOptions(
  tokens: number,
  grid: readonly [number, number] | undefined,
  biasForm: LayerBiasForm | undefined,
  outside: AttentionOptions["outside"],
): SequenceOptions & { biasForm?: BiasForm } {
  const count = (given: unknown) => (typeof given === "number" ? given : 0);
  return {
    ...(grid !== undefined ? { grid } : { length: tokens - count(outside?.first) - count(outside?.last) }),
    ...(biasForm !== undefined && { biasForm: biasForm === "manhattan" ? "symmetric" : biasForm }),
  };
}

function headDimOf(caller: string, width: number, heads: number): number {
  if (width % heads !== 0) throw refuse("value", caller, "options.heads", `a divisor of the width ${width}`, heads);
  return width / heads;
}

function checkTokens(caller: string, x: Value, length: number): void {
  if (x.shape[1] !== length) throw refuse("shape", caller, "x", `a value of ${length} tokens, as the grid says`, x.shape);
}

/** The linear layer after attention, of all heads of a token. */
function joined(
  x: Value,
  name: string,
  { width, bias, tokens, heads, dim, split }: { width: number; bias: boolean; tokens: number; heads: number; dim: number; split: boolean },
): Value {
  const shape = [x.shape[0]!, tokens, width];
  return product(x, name, { outputs: width, bias, shape, inputs: heads * dim, ...(split && { heads: { of: "a", length: tokens, heads } }) });
}

/** The weights of relative positions: a parameter, or made of one. */
function relativeWeights({ recorder }: Value, shape: readonly number[], form: LayerBiasForm | undefined): Value {
  const zeros = { kind: "constant", value: 0 } as const;
  const name = "relative.weight";
  if (form !== "manhattan") return recorder.parameter(name, shape, zeros);
  const [heads, height, width] = shape as [number, number, number];
  const distances = height + width - 1;
  // Each place of the symmetric table [H, W] takes the weight of its distance: a product with ones and zeros.
  const places = new Float64Array(distances * height * width);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) places[(y + x) * height * width + y * width + x] = 1;
  const weights = recorder.parameter(name, [heads, distances], zeros);
  const basis = recorder.constant("distances", [distances, height * width], places);
  const spec = matmulSpec({ m: heads, n: height * width, k: distances });
  return recorder.add("table", task(matmul, spec), { a: weights, b: basis }, { out: shape }).out;
}

/** The spectrum of weights, which is prepared once in a step. */
function prepared<Spec extends AttentionSpec | ReturnType<typeof toeplitzSpec>>(
  weights: Value,
  load: () => Promise<Operation<Spec>>,
  spec: Spec,
): Value {
  const preparation = async (): Promise<Task> => (await load()).preparation!(spec)!;
  return weights.recorder.add("spectrum", preparation, { weights }, { spectrum: weights.shape }).spectrum;
}

function once<T>(load: () => Promise<T>): () => Promise<T> {
  let loaded: Promise<T> | undefined;
  return () => (loaded ??= load());
}
