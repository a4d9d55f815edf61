/** The operations of `fastrpb/nn`, with random sizes and choices. */
import { crossEntropy, meanSquaredError } from "../../../src/operations/cross-entropy/operation.ts";
import { crossEntropySpec, meanSquaredErrorSpec } from "../../../src/operations/cross-entropy/spec.ts";
import { dropout } from "../../../src/operations/dropout/operation.ts";
import { dropoutSpec } from "../../../src/operations/dropout/spec.ts";
import { activation, add, multiply } from "../../../src/operations/elementwise/operation.ts";
import { type ActivationKind, activationSpec, addSpec, multiplySpec } from "../../../src/operations/elementwise/spec.ts";
import { embedding } from "../../../src/operations/embedding/operation.ts";
import { embeddingSpec } from "../../../src/operations/embedding/spec.ts";
import { norm as normOperation } from "../../../src/operations/layer-norm/operation.ts";
import { type NormSpec, normSpec } from "../../../src/operations/layer-norm/spec.ts";
import { matmul } from "../../../src/operations/matmul/operation.ts";
import { type MatmulHeads, type MatmulOptions, matmulSpec } from "../../../src/operations/matmul/spec.ts";
import { meanOverTokens } from "../../../src/operations/mean-over-tokens/operation.ts";
import { meanOverTokensSpec } from "../../../src/operations/mean-over-tokens/spec.ts";
import { task } from "../../../src/operations/operation.ts";
import { columnSums } from "../../../src/operations/reductions/operation.ts";
import { columnSumsSpec } from "../../../src/operations/reductions/spec.ts";
import type { Arrays } from "../case.ts";
import { largest, norm } from "../data.ts";
import type { Draw } from "../draw-numbers.ts";
import { FACTOR_KINDS, type Operation, U } from "../operation.ts";
import { flushFloor } from "./floor.ts";
import { type Family, nodeOperation, sumBounds, usual } from "./nodes.ts";

const MOST_ELEMENTS = 20_000;
const ACTIVATIONS = ["relu", "gelu", "gelu-tanh"] as const;

type Matmul = MatmulOptions & { readonly gradient?: boolean };

const ofMatmul: Family<Matmul> = {
  share: 3,
  draw(draw) {
    const [m, k] = sizes(draw, 2, 300);
    const n = draw.size(Math.min(300, Math.floor(MOST_ELEMENTS / Math.max(m!, k!))));
    const gradient = draw.chance(0.4);
    const transposed = { ...(draw.chance(0.5) && { transposeA: true }), ...(draw.chance(0.5) && { transposeB: true }) };
    const batch = draw.chance(0.3) ? draw.int(1, Math.max(1, Math.min(4, Math.floor(MOST_ELEMENTS / (m! * k! + k! * n + m! * n))))) : undefined;
    const options = {
      m: m!,
      n,
      k: k!,
      ...transposed,
      ...(draw.chance(0.5) && { bias: true }),
      ...(draw.chance(0.4) && { residual: true }),
      ...(!gradient && draw.chance(0.5) && { activation: draw.pick(ACTIVATIONS) }),
      ...(gradient && { gradient }),
    };
    if (batch !== undefined) return { ...options, batch };
    if (!draw.chance(0.4)) return options;
    return withHeads(options, { of: draw.pick(["a", "b", "out"]), length: draw.int(1, 9), heads: draw.int(1, 4) });
  },
  task: ({ gradient: _, ...options }) => task(matmul, matmulSpec(options)),
  results: ["out"],
  wanted: ({ gradient, bias, residual }) => (gradient ? ["a", "b", ...(bias ? ["bias"] : []), ...(residual ? ["residual"] : [])] : []),
  kinds: (_, { activation: kind = "none" }) => (kind === "none" ? FACTOR_KINDS : { ...FACTOR_KINDS, huge: 2 ** 16 }),
  bounds(context) {
    const { m, n, k, batch = 1, bias, residual, activation: kind = "none", gradient } = context.options;
    // An activation grows by up to 1.13 times as much as what goes in, and gelu(x) is at least x / 2.
    const factor = kind === "none" ? 1 : 3;
    const terms = { out: k + 2, da: n, db: m, dBias: m * batch } as Readonly<Record<string, number>>;
    const floats = ["a", "b", ...(bias ? ["bias"] : []), ...(residual ? ["residual"] : []), ...(gradient ? ["dOut"] : [])];
    return sumBounds(context, (result) => factor * (terms[result] ?? Math.max(m * batch, n, k)), floats).then((bounds) =>
      Object.fromEntries(Object.entries(bounds).map(([name, bound]) => [name, factor * bound])),
    );
  },
};

/** With sizes that sequences and heads divide. */
function withHeads(options: Matmul, heads: MatmulHeads): Matmul {
  const { of, length, heads: count } = heads;
  const { transposeA = false, transposeB = false } = options;
  const names = {
    a: transposeA ? (["k", "m"] as const) : (["m", "k"] as const),
    b: transposeB ? (["n", "k"] as const) : (["k", "n"] as const),
    out: ["m", "n"] as const,
  }[of];
  const whole = (name: "m" | "n" | "k", by: number) => by * Math.ceil(options[name] / by);
  return { ...options, [names[0]]: whole(names[0], length), [names[1]]: whole(names[1], count), heads };
}

/** Sizes up to `most` each, of {@link MOST_ELEMENTS} together. */
function sizes(draw: Draw, count: number, most: number): readonly number[] {
  const drawn: number[] = [];
  for (let left = MOST_ELEMENTS; drawn.length < count; left = Math.floor(left / drawn.at(-1)!)) drawn.push(draw.size(Math.min(most, left)));
  return draw.chance(0.5) ? drawn : drawn.reverse();
}

type Combined = { readonly combine: "add" | "multiply"; readonly shape: readonly number[]; readonly repeated: number };

const periodOf = ({ shape, repeated }: Combined) => shape.slice(Math.min(repeated, shape.length)).reduce((product, size) => product * size, 1);
const sizeOf = ({ shape }: Combined) => shape.reduce((product, size) => product * size, 1);

const ofSums: Family<Combined> = {
  share: 1,
  draw(draw) {
    const shape = sizes(draw, draw.int(1, 3), MOST_ELEMENTS);
    return { combine: draw.pick(["add", "multiply"]), shape, repeated: draw.chance(0.5) ? 0 : draw.int(0, shape.length) };
  },
  task(options) {
    const spec = { size: sizeOf(options), period: periodOf(options) };
    return options.combine === "add" ? task(add, addSpec(spec)) : task(multiply, multiplySpec(spec));
  },
  results: ["out"],
  wanted: (options) => (options.combine === "multiply" ? ["x", "y"] : periodOf(options) < sizeOf(options) ? ["y"] : []),
  kinds: () => FACTOR_KINDS,
  bounds: (context) =>
    sumBounds(context, (result) => (result === "dY" ? sizeOf(context.options) / periodOf(context.options) : 2), Object.keys(context.data)),
};

const ofActivations: Family<{ readonly size: number; readonly kind: ActivationKind }> = {
  share: 1,
  draw: (draw) => ({ size: draw.size(MOST_ELEMENTS), kind: draw.pick(ACTIVATIONS) }),
  task: (options) => task(activation, activationSpec(options)),
  results: ["out"],
  wanted: () => ["x"],
  kinds: (name) =>
    name === "x" ? { normal: 2, huge: 2 ** 40, tiny: 2 ** -30, denormal: 1, constant: 3, impulse: 3, zero: 0, mixed: 2 ** 5 } : FACTOR_KINDS,
  // 2e-6 of each number, as the tests of activations have it; slopes have a zero, near which they are off by some roundings of 1.
  bounds: async ({ data, expected }) => ({
    out: 2e-6 * norm(expected["out"]!) + flushFloor(expected["out"]!.length, 4, 2, [data["x"]!]),
    dX: 2e-6 * norm(expected["dX"]!) + 8 * U * norm(data["dOut"]!) + flushFloor(expected["dX"]!.length, 4, 2, [data["dOut"]!]),
  }),
};

const ofColumnSums: Family<{ readonly matrices?: number; readonly rows: number; readonly columns: number }> = {
  share: 1,
  draw(draw) {
    const [rows, columns] = sizes(draw, 2, MOST_ELEMENTS);
    const matrices = draw.chance(0.3) ? draw.int(1, Math.max(1, Math.min(5, Math.floor(MOST_ELEMENTS / (rows! * columns!))))) : undefined;
    return { rows: rows!, columns: columns!, ...(matrices !== undefined && { matrices }) };
  },
  task: (options) => task(columnSums, columnSumsSpec(options)),
  results: ["out"],
  wanted: () => [],
  kinds: () => FACTOR_KINDS,
  bounds: (context) => sumBounds(context, () => context.options.rows, ["x"]),
};

type Norm = Omit<NormSpec, "operation">;

/** Of each row 1/√(variance + ε), and normalised numbers, in float64. */
function normalised({ kind, rows, width, epsilon }: Norm, x: Float32Array): { readonly factors: Float64Array; readonly numbers: Float64Array } {
  const factors = new Float64Array(rows);
  const numbers = new Float64Array(x.length);
  for (let row = 0; row < rows; row++) {
    const own = Float64Array.from(x.subarray(row * width, (row + 1) * width));
    const mean = kind === "layer" ? own.reduce((sum, value) => sum + value, 0) / width : 0;
    const variance = own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width;
    factors[row] = 1 / Math.sqrt(variance + epsilon);
    for (const [i, value] of own.entries()) numbers[row * width + i] = (value - mean) * factors[row]!;
  }
  return { factors, numbers };
}

/** The bound of the other tests, measured by the sizes of the terms that a result is a sum of. */
function normBounds(options: Norm, data: Arrays, expected: Arrays): Readonly<Record<string, number>> {
  const { rows, width } = options;
  const { x, weight, dOut, bias } = data as Readonly<Record<"x" | "weight" | "dOut" | "bias", Float32Array>>;
  const { factors, numbers } = normalised(options, x);
  const [of, ofX, ofWeight] = [new Float64Array(x.length), new Float64Array(x.length), new Float64Array(x.length)];
  for (let i = 0; i < x.length; i++) {
    of[i] = Math.abs(numbers[i]! * weight[i % width]!) + Math.abs(bias?.[i % width] ?? 0);
    ofX[i] = dOut[i]! * weight[i % width]! * factors[Math.floor(i / width)]!;
    ofWeight[i] = dOut[i]! * (Math.abs(numbers[i]!) + 1);
  }
  const terms: Readonly<Record<string, number>> = { out: norm(of), dX: 2 * norm(ofX), dWeight: norm(ofWeight), dBias: norm(dOut) };
  const most = largest(factors) * (1 + largest(x)) ** 2;
  return Object.fromEntries(
    Object.entries(expected).map(([name, { length }]) => [
      name,
      usual(terms[name]!, length) + flushFloor(length, rows + width, most, [weight, dOut]),
    ]),
  );
}

const ofNorms: Family<Norm> = {
  share: 2,
  draw(draw) {
    const [rows, width] = sizes(draw, 2, 5000);
    const kind = draw.pick(["layer", "rms"]);
    return { kind, rows: rows!, width: width!, epsilon: draw.pick([1e-5, 1e-6, 0.1]), bias: kind === "layer" && draw.chance(0.8) };
  },
  task: (options) => task(normOperation, normSpec(options)),
  results: ["out"],
  wanted: ({ bias }) => ["x", "weight", ...(bias ? ["bias"] : [])],
  kinds: (name) =>
    name === "x" ? { normal: 1, huge: 2 ** 20, tiny: 2 ** -10, constant: 2, impulse: 3, zero: 0 } : { normal: 1, constant: 2, zero: 0 },
  bounds: async ({ options, data, expected }) => normBounds(options, data, expected),
};

const ofMeans: Family<{ readonly batch: number; readonly length: number; readonly width: number; readonly variableLengths: boolean }> = {
  share: 1,
  draw(draw) {
    const [batch, length, width] = sizes(draw, 3, 2000);
    return { batch: batch!, length: length!, width: width!, variableLengths: draw.chance(0.6) };
  },
  task: (options) => task(meanOverTokens, meanOverTokensSpec(options)),
  results: ["out"],
  wanted: () => ["x"],
  kinds: (name, { length }) => (name === "lengths" ? { normal: length + 1, constant: length + 1 } : FACTOR_KINDS),
  bounds: (context) => sumBounds(context, (result) => (result === "out" ? context.options.length : 1), ["x", "dOut"]),
};

type Classes = { readonly rows: number; readonly classes: number; readonly labelSmoothing: number };

const ofCrossEntropy: Family<Classes> = {
  share: 2,
  draw(draw) {
    const [rows, classes] = sizes(draw, 2, 5000);
    return { rows: rows!, classes: classes!, labelSmoothing: draw.pick([0, 0, 0.1, 0.5, 1]) };
  },
  task: (options) => task(crossEntropy, crossEntropySpec(options)),
  results: ["loss", "counts"],
  wanted: () => ["logits"],
  kinds(name, { classes }) {
    if (name === "targets") return { normal: classes, constant: classes, holes: classes };
    return name === "logits" ? { normal: 2, huge: 40, tiny: 2 ** -10, constant: 3, impulse: 5, zero: 0 } : { normal: 1, constant: 1 };
  },
  async bounds({ options: { classes }, data, expected }) {
    const { logits, dLoss } = data as Readonly<Record<"logits" | "dLoss", Float32Array>>;
    const size = largest(logits);
    // A loss is a difference of numbers of the size of logits, with the logarithm of a sum; a probability is as exact as its exponent.
    const exponents = (8 + 2 * size) * U * Math.sqrt(logits.length / classes);
    return {
      loss: 1e-6 * norm(expected["loss"]!) + 8 * U * (size + Math.log(classes)),
      counts: 0,
      dLogits:
        usual(norm(expected["dLogits"]!), expected["dLogits"]!.length) +
        (exponents * norm(dLoss)) / expected["counts"]![0]! +
        flushFloor(logits.length, 4, 2, [dLoss]),
    };
  },
};

const ofSquares: Family<{ readonly size: number }> = {
  share: 1,
  draw: (draw) => ({ size: draw.size(MOST_ELEMENTS) }),
  task: (options) => task(meanSquaredError, meanSquaredErrorSpec(options)),
  results: ["loss"],
  wanted: () => ["x", "y"],
  kinds: () => FACTOR_KINDS,
  // A difference rounds once, and what is squared is not negative.
  async bounds({ data, expected }) {
    const { x, y, dLoss } = data as Readonly<Record<"x" | "y" | "dLoss", Float32Array>>;
    const of = (name: string, factors: readonly Float32Array[]) =>
      usual(norm(expected[name]!), expected[name]!.length) + flushFloor(expected[name]!.length, 4, 4, factors);
    const larger = largest(x) > largest(y) ? x : y;
    return Object.fromEntries(Object.keys(expected).map((name) => [name, of(name, [larger, name === "loss" ? larger : dLoss])]));
  },
};

const ofEmbedding: Family<{ readonly tokens: number; readonly count: number; readonly width: number }> = {
  share: 1,
  draw(draw) {
    const [tokens, width] = sizes(draw, 2, 5000);
    return { tokens: tokens!, count: draw.size(Math.floor(MOST_ELEMENTS / width!)), width: width! };
  },
  task: (options) => task(embedding, embeddingSpec(options)),
  results: ["out"],
  wanted: () => ["table"],
  kinds: (name, { count }) => (name === "indices" ? { normal: count, constant: count } : FACTOR_KINDS),
  bounds: (context) => sumBounds(context, (result) => (result === "out" ? 1 : context.options.tokens), ["table", "dOut"]),
};

const ofDropout: Family<{ readonly size: number; readonly rate: number; readonly site: number }> = {
  share: 1,
  draw: (draw) => ({ size: draw.size(MOST_ELEMENTS), rate: draw.pick([0.1, 0.5, 1 / 3, 0.999, 0]), site: draw.int(0, 50) }),
  task: (options) => task(dropout, dropoutSpec(options)),
  results: ["out"],
  wanted: () => ["x"],
  kinds: (name) => (name === "clock" ? { normal: 2 ** 20, constant: 2 ** 20 } : FACTOR_KINDS),
  bounds: (context) => sumBounds(context, () => 1, ["x", "dOut"]),
};

export const MODEL_OPERATIONS = {
  matmul: nodeOperation(ofMatmul),
  "sums and products": nodeOperation(ofSums),
  activation: nodeOperation(ofActivations),
  columnSums: nodeOperation(ofColumnSums),
  norm: nodeOperation(ofNorms),
  meanOverTokens: nodeOperation(ofMeans),
  crossEntropy: nodeOperation(ofCrossEntropy),
  meanSquaredError: nodeOperation(ofSquares),
  embedding: nodeOperation(ofEmbedding),
  dropout: nodeOperation(ofDropout),
} satisfies Readonly<Record<string, Operation>>;
