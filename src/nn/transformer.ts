/** The transformer of the paper, in one piece. */
import { checkBoolean, checkEnum, checkOptions, checkSize, copyOptions } from "../core/check.ts";
import { refuse } from "../core/errors.ts";
import { float64Array } from "../math/memory.ts";
import { attention, type AttentionLayerOptions } from "./attention.ts";
import { add, dropout, embedding, gelu, layerNorm, linear, meanOverTokens, placed, relu, rmsNorm, tokenAt } from "./layers.ts";
import { type Build, Model } from "./model.ts";
import type { ModelInput, Value } from "./recorder.ts";

/** Options of {@link transformer}: plain data, which travels in files of the model. */
export interface TransformerOptions {
  /** What a sequence is of: indices below `tokens`, u32 `[batch, length]`, or vectors of so many `features`, float32 `[batch, length, features]`. */
  readonly input: { readonly tokens: number } | { readonly features: number };
  /** Tokens of a sequence. */
  readonly length: number;
  /** [H, W], where the tokens lie on a grid: then a bias is two-dimensional. */
  readonly grid?: readonly [number, number];
  readonly layers: number;
  /** Numbers of a token. */
  readonly width: number;
  readonly heads: number;
  /** Numbers of a token within the feed-forward layers. Default: 4·width. */
  readonly feedForward?: number;
  /** What `runtime.attention` takes, but for sizes: `{ featureMap: "sikf", bias: "fastrpb" }`. */
  readonly attention: Omit<AttentionLayerOptions, "heads" | "grid" | "lengths">;
  /** Absolute positions, which are added to the tokens: `"sinusoidal"` (Vaswani et al. 2017), `"learned"`, or none. Default `"none"`. */
  readonly positions?: "none" | "sinusoidal" | "learned";
  /** Whether layers are normalised before (`"pre"`, with one more at the end) or after their residual. Default `"pre"`. */
  readonly norm?: "pre" | "post";
  /** Default `"layer"`. */
  readonly normKind?: "layer" | "rms";
  /** Default `"gelu"`. */
  readonly activation?: "gelu" | "gelu-tanh" | "relu";
  /** Share that is dropped out of the embedded tokens, of what each residual adds, and within the feed-forward layers. Default 0. */
  readonly dropout?: number;
  /** Classes for each sequence, from the mean of its tokens (the default), the first or the last one, or for each token, so many that come next, say. */
  readonly output: { readonly classes: number; readonly pool?: "mean" | "first" | "last" } | { readonly tokens: number };
  /** Whether a batch has `lengths`, u32 `[batch]`: tokens beyond have no influence. Default `false`. */
  readonly variableLengths?: boolean;
}

/**
 * A transformer (Vaswani et al. 2017) with any attention of this library. Its input is `inputs`, its output `out`: `[batch, classes]`, or `[batch, length,
 * tokens]`. Parameters: `embed`, `positions`, `layers.0.norm1`, `layers.0.attention.q` …, `layers.0.norm2`, `layers.0.feedForward.0` and `.1`, `norm`,
 * `head`, each with `.weight` and `.bias`.
 *
 * @throws FastRpbError codes `"value"`, `"shape"`, `"unavailable"`
 */
export function transformer(options: TransformerOptions): Model {
  const plain = checkTransformer(copyOptions(options, 4));
  const inputs: Record<string, ModelInput> = {
    inputs: "tokens" in plain.input ? { shape: [plain.length], dtype: "u32" } : { shape: [plain.length, plain.input.features] },
    ...(plain.variableLengths && { lengths: { shape: [], dtype: "u32" } }),
  };
  return new Model((build, given) => write(build, given["inputs"]!, given["lengths"], plain), Object.freeze(inputs), Object.freeze(plain));
}

const MOST_LAYERS = 1000;

type Plain = Required<Omit<TransformerOptions, "grid">> & Pick<TransformerOptions, "grid">;

function write(build: Build, inputs: Value, lengths: Value | undefined, options: Plain): Value {
  const { width, layers, heads, grid, dropout: rate } = options;
  const isPre = options.norm === "pre";
  const norm = options.normKind === "layer" ? layerNorm : rmsNorm;
  const activate = (x: Value) =>
    options.activation === "relu" ? relu(x) : gelu(x, { approximate: options.activation === "gelu" ? "none" : "tanh" });

  let x =
    "tokens" in options.input ? embedding(inputs, "embed", { count: options.input.tokens, width }) : linear(inputs, "embed", { outputs: width });
  x = dropout(withPositions(build, x, options), rate);
  for (let i = 0; i < layers; i++) {
    x = build.layer(`layers.${i}`, () => {
      const attend = (y: Value) =>
        attention(y, "attention", { ...options.attention, heads, ...(grid !== undefined && { grid }), ...(lengths && { lengths }) });
      const feedForward = (y: Value) => {
        const hidden = activate(linear(y, "feedForward.0", { outputs: options.feedForward }));
        return linear(dropout(hidden, rate), "feedForward.1", { outputs: width });
      };
      if (isPre) {
        const attended = add(x, dropout(attend(norm(x, "norm1")), rate));
        return add(attended, dropout(feedForward(norm(attended, "norm2")), rate));
      }
      const attended = norm(add(x, dropout(attend(x), rate)), "norm1");
      return norm(add(attended, dropout(feedForward(attended), rate)), "norm2");
    });
  }
  if (isPre) x = norm(x, "norm");
  if ("tokens" in options.output) return linear(x, "head", { outputs: options.output.tokens });
  const { classes, pool = "mean" } = options.output;
  const pooled = pool === "mean" ? meanOverTokens(x, lengths && { lengths }) : tokenAt(x, pool === "first" ? 0 : -1);
  return linear(pooled, "head", { outputs: classes });
}

/** The tokens with their absolute positions. */
function withPositions(build: Build, x: Value, { positions, length, width }: Plain): Value {
  if (positions === "none") return x;
  const learned = positions === "learned";
  const table = learned
    ? build.parameter("positions.weight", [length, width], { normal: 0.02 })
    : build.constant("positions", [length, width], sinusoids(length, width));
  return add(x, placed(table));
}

/** sin(n / 10000^(2i/width)) at 2i, and cos at 2i + 1 (Vaswani et al. 2017, section 3.5). */
function sinusoids(length: number, width: number): Float64Array {
  const table = float64Array("transformer", length * width);
  for (let n = 0; n < length; n++) {
    for (let i = 0; i < width; i++) {
      const angle = n / 10_000 ** ((i - (i % 2)) / width);
      table[n * width + i] = i % 2 === 0 ? Math.sin(angle) : Math.cos(angle);
    }
  }
  return table;
}

function checkTransformer(options: TransformerOptions): Plain {
  const caller = "transformer";
  checkOptions(caller, "options", options, [
    "input",
    "length",
    "grid",
    "layers",
    "width",
    "heads",
    "feedForward",
    "attention",
    "positions",
    "norm",
    "normKind",
    "activation",
    "dropout",
    "output",
    "variableLengths",
  ]);
  const width = checkSize(caller, "options.width", options.width);
  const layers = checkSize(caller, "options.layers", options.layers);
  // A file may ask for any number.
  if (layers > MOST_LAYERS) throw refuse("value", caller, "options.layers", `at most ${MOST_LAYERS}`, layers);
  const { dropout: rate = 0, attention: attended } = options;
  if (typeof rate !== "number" || !(rate >= 0 && rate < 1)) throw refuse("value", caller, "options.dropout", "a number from 0 to below 1", rate);
  if (typeof attended !== "object" || attended === null) throw refuse("value", caller, "options.attention", "an object", attended);
  const checked: Plain = {
    input: checkOne(caller, "options.input", options.input, ["tokens", "features"]),
    length: checkSize(caller, "options.length", options.length),
    ...(options.grid !== undefined && { grid: options.grid }),
    layers,
    width,
    heads: checkSize(caller, "options.heads", options.heads),
    feedForward: checkSize(caller, "options.feedForward", options.feedForward ?? 4 * width),
    attention: attended,
    positions: checkEnum(caller, "options.positions", options.positions ?? "none", ["none", "sinusoidal", "learned"]),
    norm: checkEnum(caller, "options.norm", options.norm ?? "pre", ["pre", "post"]),
    normKind: checkEnum(caller, "options.normKind", options.normKind ?? "layer", ["layer", "rms"]),
    activation: checkEnum(caller, "options.activation", options.activation ?? "gelu", ["gelu", "gelu-tanh", "relu"]),
    dropout: rate,
    output: checkOne(caller, "options.output", options.output, ["classes", "tokens"], ["pool"]),
    variableLengths: checkBoolean(caller, "options.variableLengths", options.variableLengths ?? false),
  };
  if (checked.variableLengths && "classes" in checked.output && checked.output.pool === "last") {
    throw refuse("value", caller, "options.output.pool", '"mean" or "first" with variableLengths, where the last token does not count', "last");
  }
  return checked;
}

/** An object with one of the sizes. */
function checkOne<T extends object>(caller: string, argument: string, given: T, sizes: readonly string[], more: readonly string[] = []): T {
  checkOptions(caller, argument, given, [...sizes, ...more] as never);
  const found = Object.keys(given).filter((key) => sizes.includes(key));
  if (found.length !== 1) throw refuse("value", caller, argument, `an object with ${sizes.join(" or ")}`, given);
  checkSize(caller, `${argument}.${found[0]!}`, (given as Readonly<Record<string, unknown>>)[found[0]!]);
  const pool = (given as { readonly pool?: unknown }).pool;
  if (pool !== undefined) checkEnum(caller, `${argument}.pool`, pool, ["mean", "first", "last"]);
  return given;
}
