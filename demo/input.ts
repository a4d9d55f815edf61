/** Real input to q, k and v: bytes are looked up in seeded tables. The tables know no positions: order enters by the bias alone. */
import { DIGIT_PIXELS, type Data, type Source } from "./data.ts";
import { normal } from "./random.ts";
import { HEAD_DIM, type Recipe } from "./recipe.ts";

/** The sequence: one byte a token. What is too short for the length starts again. */
export function tokensOf(data: Data, recipe: Recipe): Uint8Array {
  const bytes = recipe.source === "digits" ? data.digits.pixels : data.novel;
  const start = recipe.source === "digits" ? recipe.digit * DIGIT_PIXELS : 0;
  const tokens = new Uint8Array(recipe.length);
  for (let filled = 0, from = start; filled < tokens.length; from = 0) {
    const part = bytes.subarray(from, from + tokens.length - filled);
    tokens.set(part, filled);
    filled += part.length;
  }
  return tokens;
}

export type TensorName = "q" | "k" | "v";

const SEEDS: Readonly<Record<TensorName, number>> = { q: 11, k: 22, v: 33 };
/** Queries and keys go through exp: a smaller spread keeps the attention from falling on one token. */
const SPREAD: Readonly<Record<TensorName, number>> = { q: 0.5, k: 0.5, v: 1 };
const VOCABULARY = 256;
/** Bytes of the novel are unrelated symbols, each with random entries. Pixels are brightnesses: near ones get near entries. */
const ANCHORS: Readonly<Record<Source, number>> = { digits: 3, novel: VOCABULARY };

/** Seeded entries, `[256, heads, HEAD_DIM]`. The values of a digit's background are zero, so that its ink stands out. */
export function table(name: TensorName, source: Source, heads: number): Float32Array {
  const width = heads * HEAD_DIM;
  const anchors = ANCHORS[source];
  const random = normal(SEEDS[name]);
  const anchorRows = Float32Array.from({ length: anchors * width }, () => SPREAD[name] * random());
  if (name === "v" && source === "digits") anchorRows.fill(0, 0, width);
  const rows = new Float32Array(VOCABULARY * width);
  for (let token = 0; token < VOCABULARY; token++) {
    const position = (token / (VOCABULARY - 1)) * (anchors - 1);
    const low = Math.min(Math.floor(position), anchors - 2);
    const share = position - low;
    for (let i = 0; i < width; i++) {
      rows[token * width + i] = (1 - share) * anchorRows[low * width + i]! + share * anchorRows[(low + 1) * width + i]!;
    }
  }
  return rows;
}

/** Looks every token up. `target` is `[1, heads, length, HEAD_DIM]`. */
export function embed(rows: Float32Array, tokens: Uint8Array, heads: number, target: Float32Array): void {
  const width = heads * HEAD_DIM;
  let to = 0;
  for (let head = 0; head < heads; head++) {
    for (let n = 0; n < tokens.length; n++) {
      let from = tokens[n]! * width + head * HEAD_DIM;
      for (let i = 0; i < HEAD_DIM; i++) target[to++] = rows[from++]!;
    }
  }
}
