/** Attention and its gradient as operations: batches, heads, lengths, grids and biases, against the definition; and their properties. */
import { describe, expect, test } from "vitest";
import { elementCount } from "../../core/check.ts";
import { attentionGradientSpec, type AttentionOptions, attentionSpec, type AttentionSpec, keyShape, weightsShape } from "../../testing/specs.ts";
import { attentionFixtures, layerFixtures } from "../../testing/attention-fixtures.ts";
import { normals, random, relativeL2 } from "../../testing/random.ts";
import { attentionGradientReference, attentionReference } from "../../testing/attention-reference.ts";
import { compute, computeAll } from "../../testing/compute.ts";

/** Half a unit of float32: all that a float64 result loses when it is stored. */
const ROUNDING = 2 ** -24;

interface Data {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly dOut: Float32Array;
  readonly weights: Float32Array;
  readonly lengths: Uint32Array | Float32Array;
  readonly keyMask?: Float32Array;
}

type Gradients = Readonly<Record<"dq" | "dk" | "dv" | "dBias", Float32Array>>;

/** Draws from the seeds `seed` to `seed + 5`. */
function draw(options: AttentionOptions, seed: number): Data {
  const spec = attentionSpec(options);
  const rows = spec.batch * spec.heads * spec.length;
  const keyed = keyShape(spec);
  const keys = spec.batch * keyed.heads * keyed.length;
  const uniform = random(seed + 5);
  return {
    q: normals(seed, rows * spec.headDim),
    k: normals(seed + 1, keys * spec.headDim),
    v: normals(seed + 2, keys * spec.valueDim),
    dOut: normals(seed + 3, rows * spec.valueDim),
    weights: normals(seed + 4, elementCount(weightsShape(spec))),
    lengths: Uint32Array.from({ length: spec.batch }, () => Math.floor(uniform() * (spec.length + 1))),
    ...(spec.keyMask && { keyMask: drawMask(keyed, uniform) }),
  };
}

/** Of every batch row some keys, none, or those from somewhere on. */
function drawMask({ batch, length }: AttentionSpec, uniform: () => number): Float32Array {
  const rows = Array.from({ length: batch }, () => {
    const [kind, first] = [uniform(), Math.floor(uniform() * length)];
    return Array.from({ length }, (_, j) => (kind < 0.6 ? Number(uniform() < 0.6) : kind < 0.8 ? Number(j >= first) : 0));
  });
  return Float32Array.from(rows.flat());
}

const attend = (options: AttentionOptions, data: Data): Promise<Float32Array> => compute(attentionSpec(options), { ...data, bias: data.weights });

async function backward(options: AttentionOptions, data: Data): Promise<Gradients> {
  const spec = attentionSpec(options);
  const names = spec.bias === "none" ? (["dq", "dk", "dv"] as const) : (["dq", "dk", "dv", "dBias"] as const);
  const gradients = await computeAll(attentionGradientSpec(spec), { ...data, bias: data.weights }, names);
  return Object.assign({ dBias: new Float32Array(elementCount(weightsShape(spec))) }, gradients);
}

/** What of the data the definition may see. */
function visibleTo(spec: AttentionSpec, { q, k, v, weights, lengths, keyMask }: Data) {
  return { q, k, v, ...(spec.bias !== "none" && { weights }), ...(spec.variableLengths && { lengths }), keyMask };
}

function norm(x: ArrayLike<number>): number {
  return Math.sqrt(Array.from(x).reduce((sum, value) => sum + value * value, 0));
}

/** Gradients may be nothing but what is left of a difference: those are held to the size of what came in. */
function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, incoming: number, message: string): void {
  const difference = norm(Array.from(expected, (value, at) => value - actual[at]!));
  expect(actual.length, message).toBe(expected.length);
  expect(difference, message).toBeLessThanOrEqual(ROUNDING * norm(expected) + 1e-12 * incoming);
}

async function compare(options: AttentionOptions, data: Data, what: string): Promise<void> {
  const spec = attentionSpec(options);
  const message = `${JSON.stringify(options)}, ${what}`;
  const inputs = visibleTo(spec, data);
  expectClose(await attend(options, data), attentionReference(spec, inputs), norm(data.v), message);
  const gradients = await backward(options, data);
  const expected = attentionGradientReference(spec, inputs, data.dOut);
  const incoming = { dq: conditioned(spec, data.q), dk: conditioned(spec, data.k), dv: 1, dBias: 1 };
  for (const name of ["dq", "dk", "dv", "dBias"] as const) {
    expectClose(gradients[name], expected[name], norm(data.dOut) * incoming[name], `${name} of ${message}`);
  }
}

/**
 * How large what makes up a gradient by x is, against dOut. Where features are products of numbers of x, their quotients have derivatives of 1/x, and
 * those of one query cancel, down to zero where it has one feature. The definition rounds as much: to 1e-15, not 1e-12.
 */
function conditioned({ featureMap }: AttentionSpec, x: Float32Array): number {
  if (featureMap !== "relu" && featureMap !== "dpfp") return 1;
  return 1 + 1e-3 * norm(x.map((value) => (value === 0 ? 0 : 1 / value)));
}

const MAPS = ["sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"] as const;

/** Every kind of attention. */
const KINDS = [...MAPS.map((featureMap) => ({ featureMap })), { kind: "softmax" }] as const;

/** A spec of this kind, all else by chance. */
function drawOptions(kind: (typeof KINDS)[number], seed: number): AttentionOptions {
  const uniform = random(seed);
  const upTo = (n: number) => 1 + Math.floor(n * uniform());
  const onGrid = uniform() < 0.3;
  const positions = onGrid ? { grid: [upTo(5), upTo(5)] as const } : { length: upTo(20), causal: uniform() < 0.5, variableLengths: uniform() < 0.4 };
  const isFavor = "featureMap" in kind && kind.featureMap === "favor+";
  const isScaled = isFavor || "kind" in kind;
  const multiplicative = !("kind" in kind) && kind.featureMap !== "softmax";
  const biases = multiplicative
    ? (["none", "fastrpb", "multiplicative"] as const)
    : (["none", "fastrpb", ...("kind" in kind ? (["logits"] as const) : [])] as const);
  const [headDim, batch, heads, valueDim] = [upTo(5), upTo(3), upTo(3), upTo(5)];
  const bias = biases[Math.floor(biases.length * uniform())]!;
  return {
    ...kind,
    ...positions,
    batch,
    heads,
    headDim,
    valueDim,
    bias,
    keyMask: seed % 3 === 0 && !(bias === "logits" && "variableLengths" in positions && positions.variableLengths),
    ...(isScaled && uniform() < 0.5 && { scale: 0.1 + uniform() }),
    ...("kind" in kind && !onGrid && uniform() < 0.5 && { window: upTo(20) }),
    ...(isFavor && uniform() < 0.7 && { randomFeatures: { count: upTo(9), seed } }),
    ...("featureMap" in kind && kind.featureMap === "dpfp" && uniform() < 0.7 && { nu: upTo(2 * headDim - 1) }),
  } as AttentionOptions;
}

describe("agrees with the definition, backward too", () => {
  test.each(KINDS)("%j", async (kind) => {
    for (let seed = 0; seed < 30; seed++) {
      const options = drawOptions(kind, 1000 + seed);
      await compare(options, draw(options, 10 * seed), `seeds ${1000 + seed} and ${10 * seed} to ${10 * seed + 5}`);
    }
  });

  test.each(KINDS)("%j, of other keys, and with groups of queries", async (kind) => {
    for (let seed = 0; seed < 30; seed++) {
      const uniform = random(2000 + seed);
      const upTo = (n: number) => 1 + Math.floor(n * uniform());
      const given = drawOptions(kind, 2000 + seed);
      const [keyHeads, groupHeads] = [upTo(3), upTo(3)];
      const options = { ...given, heads: keyHeads * groupHeads, keyHeads };
      const { grid: _, window: __, ...crossed } = options;
      const bias = given.bias === "multiplicative" ? "none" : given.bias!;
      const cross = { ...crossed, bias, length: upTo(20), keyLength: upTo(20), causal: false, variableLengths: false };
      const chosen: AttentionOptions = seed % 2 === 0 ? options : cross;
      await compare(chosen, draw(chosen, 10 * seed), `seeds ${2000 + seed} and ${10 * seed} to ${10 * seed + 5}`);
    }
  });

  test("where a causal sequence is longer than what runs at once elsewhere", async () => {
    for (const [index, kind] of KINDS.entries()) {
      const options = { ...kind, heads: 1, length: 150, headDim: 3, valueDim: 2, causal: true, bias: "fastrpb" } as AttentionOptions;
      await compare(options, draw(options, 400 + 10 * index), `seeds ${400 + 10 * index} and up`);
    }
  });

  test("for inputs so large that one key takes all", async () => {
    for (const [index, kind] of KINDS.entries()) {
      for (const causal of [false, true]) {
        const options = { ...kind, heads: 2, length: 12, headDim: 4, causal } as AttentionOptions;
        const data = draw(options, 500 + 10 * index);
        // Not too large for elu+1, of which float64 has to hold the products of features.
        const large = { ...data, q: data.q.map((x) => 60 * x), k: data.k.map((x) => 60 * x) };
        await compare(options, large, `× 60, seeds ${500 + 10 * index} and up`);
      }
    }
  });
});

describe("agrees with PyTorch", () => {
  test.each(attentionFixtures())("$options", async ({ options, q, k, v, dOut, weights, lengths, out, dq, dk, dv, dBias }) => {
    const inputs = { q, k, v, dOut, weights: weights ?? new Float32Array(), lengths: Uint32Array.from(lengths ?? []) };
    expectClose(await attend(options, inputs), out, norm(v), "out");
    const gradients = await backward(options, inputs);
    for (const [name, expected] of Object.entries({ dq, dk, dv, ...(dBias && { dBias }) })) {
      expectClose(gradients[name as "dq"], expected, norm(dOut), name);
    }
    // The definition in O(N²), which the fast code is held to elsewhere, is held to this as well.
    const visible = { q, k, v, weights, lengths };
    const spec = attentionSpec(options);
    expectClose(attentionReference(spec, visible), out, norm(v), "out by definition");
    const reference = attentionGradientReference(spec, visible, dOut);
    for (const [name, expected] of Object.entries({ dq, dk, dv, ...(dBias && { dBias }) })) {
      expectClose(reference[name as "dq"], expected, norm(dOut), `${name} by definition`);
    }
  });
});

describe("agrees with layers as the paper's author has them, in PyTorch", () => {
  test.each(layerFixtures())("$options", async ({ options, q, k, v, dOut, weights, keyMask, out, dq, dk, dv, dBias }) => {
    const masks = keyMask && { keyMask: Float32Array.from(keyMask) };
    const inputs = { q, k, v, dOut, weights: weights!, lengths: new Uint32Array(), ...masks };
    expectClose(await attend(options, inputs), out, norm(v), "out");
    const gradients = await backward(options, inputs);
    for (const [name, expected] of Object.entries({ dq, dk, dv, dBias: dBias! })) {
      expectClose(gradients[name as "dq"], expected, norm(dOut), name);
    }
  });
});

describe("the largest inputs", () => {
  const cases = KINDS.flatMap((kind) => [false, true].map((causal) => ({ ...kind, causal })));
  test.each(cases)("%j: values and gradients are finite", async (kind) => {
    const options = { ...kind, batch: 2, heads: 2, length: 12, headDim: 4, valueDim: 3 } as AttentionOptions;
    const data = draw(options, 600);
    const mixed = { ...data, q: data.q.map((x) => 1e4 * x), k: data.k.map((x) => 1e4 * x) };
    const signs = { ...data, q: data.q.map((x) => 1e4 * Math.sign(x)), k: data.k.map((x) => 1e4 * Math.sign(x)) };
    const oneKey = { ...data, k: data.k.map((x, at) => (at === 21 ? 1e4 : x)) };
    const low = { ...data, q: data.q.map(() => -1e4), k: data.k.map(() => -1e4) };
    const between = { ...data, q: data.q.map((x) => x - 350), k: data.k.map((x) => x - 380) };
    for (const [name, inputs] of Object.entries({ mixed, signs, oneKey, low, between })) {
      const results = { out: await attend(options, inputs), ...(await backward(options, inputs)) };
      for (const [result, values] of Object.entries(results))
        expect(values.every(Number.isFinite), `${result}, ${name}, seeds 600 to 605`).toBe(true);
    }
  });

  test.each(["sikf", "relu", "elu+1", "favor+", "dpfp"] as const)(
    "%s with a multiplicative bias: values and gradients are finite",
    async (featureMap) => {
      for (const causal of [false, true]) {
        const options = { featureMap, heads: 1, length: 12, headDim: 4, bias: "multiplicative", causal } as AttentionOptions;
        const data = draw(options, 620);
        for (const factor of [30, 1e4]) {
          const inputs = { ...data, q: data.q.map((x) => factor * x), k: data.k.map((x) => factor * x) };
          const results = { out: await attend(options, inputs), ...(await backward(options, inputs)) };
          for (const [result, values] of Object.entries(results)) {
            expect(values.every(Number.isFinite), `${result}, × ${factor}, causal ${causal}, seeds 620 to 625`).toBe(true);
          }
        }
      }
    },
  );

  test("a row of softmax with one huge logit takes that key's value", async () => {
    const options: AttentionOptions = { kind: "softmax", heads: 1, length: 7, headDim: 2, valueDim: 3, scale: 1 };
    const data = draw(options, 630);
    const k = data.k.slice().fill(0);
    k[2 * 4] = 1e4;
    const q = data.q.map((_, at) => (at % 2 === 0 ? 1e4 : 1));
    const out = await attend(options, { ...data, q, k });
    for (let i = 0; i < 7; i++) expect([...out.subarray(3 * i, 3 * i + 3)], "seed 632").toEqual([...data.v.subarray(12, 15)]);
  });
});

describe("a mask over keys", () => {
  const cases = KINDS.flatMap((kind) => [false, true].map((causal) => ({ ...kind, causal })));
  test.each(cases)("%j: what is not seen has no influence, whatever it holds, and no gradient; rows that see nothing are zero", async (kind) => {
    const options = { ...kind, batch: 3, heads: 2, length: 9, headDim: 3, valueDim: 2, bias: "fastrpb", keyMask: true } as AttentionOptions;
    const drawn = draw(options, 800);
    // Some keys, none, and those from the fifth on.
    const keyMask = Float32Array.of(1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1);
    const fill = (x: Float32Array, dim: number, value: number) =>
      x.map((given, at) => (keyMask[Math.floor(at / dim / 18) * 9 + (Math.floor(at / dim) % 9)] ? given : value));
    const data = { ...drawn, keyMask, k: fill(drawn.k, 3, NaN), v: fill(drawn.v, 2, Infinity) };
    const zeros = { ...data, k: fill(drawn.k, 3, 0), v: fill(drawn.v, 2, 0) };
    await compare(options, zeros, "seeds 800 to 804");
    const [out, { dq, dk, dv, dBias }] = [await attend(options, data), await backward(options, data)];
    const [expected, gradients] = [await attend(options, zeros), await backward(options, zeros)];
    expect({ out, dq, dk, dv, dBias }, "seeds 800 to 804").toEqual({ out: expected, ...gradients });
    for (const [values, dim] of [
      [dk, 3],
      [dv, 2],
    ] as const) {
      expect([...values], "seeds 800 to 804").toEqual([...fill(values, dim, 0)]);
    }
    // The second batch row sees nothing, nor do the first four of the third where it is causal.
    const silent = (values: Float32Array, dim: number) =>
      values.filter((_, at) => {
        const [b, n] = [Math.floor(at / dim / 18), Math.floor(at / dim) % 9];
        return b === 1 || (b === 2 && kind.causal && n < 4);
      });
    expect(norm(silent(dq, 3)), "seeds 800 to 804").toBe(0);
    // What transforms of later values leave.
    expect(norm(silent(out, 2)), "seeds 800 to 804").toBeLessThan(1e-12);
  });
});

describe("lengths", () => {
  const cases = KINDS.flatMap((kind) =>
    (["none", "fastrpb", "multiplicative"] as const)
      .filter((bias) => bias !== "multiplicative" || !("kind" in kind || kind.featureMap === "softmax"))
      .flatMap((bias) => [false, true].map((causal) => ({ ...kind, bias, causal }))),
  );
  test.each(cases)("%j: as if the tokens beyond were not there, whatever they hold", async (kind) => {
    const options = { ...kind, batch: 4, heads: 2, length: 9, headDim: 3, valueDim: 2, variableLengths: true } as AttentionOptions;
    const drawn = draw(options, 700);
    const lengths = Uint32Array.from([0, 1, 6, 9]);
    const beyond = (x: Float32Array, dim: number, value: number) =>
      x.map((given, at) => (Math.floor(at / dim) % 9 < lengths[Math.floor(at / dim / 18)]! ? given : value));
    const poisoned = {
      ...drawn,
      lengths,
      q: beyond(drawn.q, 3, NaN),
      k: beyond(drawn.k, 3, NaN),
      v: beyond(drawn.v, 2, NaN),
      dOut: beyond(drawn.dOut, 2, NaN),
    };
    const [out, gradients] = [await attend(options, poisoned), await backward(options, poisoned)];
    for (const [name, values, dim] of [
      ["out", out, 2],
      ["dq", gradients.dq, 3],
      ["dk", gradients.dk, 3],
      ["dv", gradients.dv, 2],
    ] as const) {
      expect([...values], `${name}, seeds 700 to 704`).toEqual([...beyond(values, dim, 0)]);
    }
    // As float32 numbers in their place, which nobody has checked.
    const given = { ...poisoned, lengths: Float32Array.of(-1, 1.5, 6, Infinity) };
    expect({ out: await attend(options, given), ...(await backward(options, given)) }, "seeds 700 to 704").toEqual({ out, ...gradients });
    const dBias = new Float64Array(gradients.dBias.length);
    for (const [b, length] of lengths.entries()) {
      if (length === 0) continue;
      const short = { ...options, batch: 1, length, variableLengths: false } as AttentionOptions;
      const cut = (x: Float32Array, dim: number) => x.filter((_, at) => Math.floor(at / dim / 18) === b && Math.floor(at / dim) % 9 < length);
      // Offsets that are left, in the middle.
      const offset = (at: number) => (at % 17) - 8;
      const weights = poisoned.weights.filter((_, at) => Math.abs(offset(at)) < length);
      const data = { ...poisoned, q: cut(poisoned.q, 3), k: cut(poisoned.k, 3), v: cut(poisoned.v, 2), dOut: cut(poisoned.dOut, 2), weights };
      const alone = { out: await attend(short, data), ...(await backward(short, data)) };
      const close = (name: string, values: Float32Array, expected: Float32Array) =>
        expect(norm(expected.map((x, at) => x - values[at]!)), `${name} of row ${b}, seeds 700 to 704`).toBeLessThan(1e-6 * (norm(expected) + 1e-3));
      close("out", cut(out, 2), alone.out);
      close("dq", cut(gradients.dq, 3), alone.dq);
      close("dk", cut(gradients.dk, 3), alone.dk);
      close("dv", cut(gradients.dv, 2), alone.dv);
      let next = 0;
      for (const at of dBias.keys()) if (Math.abs(offset(at)) < length) dBias[at]! += alone.dBias[next++]!;
    }
    expect(norm(dBias.map((x, at) => x - gradients.dBias[at]!)), "dBias, seeds 700 to 704").toBeLessThan(1e-6 * (norm(dBias) + 1e-3));
  });
});

describe("causal", () => {
  const cases = KINDS.flatMap((kind) => (["none", "fastrpb"] as const).map((bias) => ({ ...kind, bias })));
  test.each(cases)("%j: no output depends on what comes later, and no gradient comes from before", async (kind) => {
    const options = { ...kind, heads: 2, length: 10, headDim: 3, valueDim: 2, causal: true } as AttentionOptions;
    const data = draw(options, 800);
    const later = (x: Float32Array, dim: number, value: number) => x.map((given, at) => (Math.floor(at / dim) % 10 < 6 ? given : value));
    // The bias goes by FFT, through which NaN would get everywhere: large numbers show as much.
    const poison = kind.bias === "none" ? NaN : 100;
    const changed = { ...data, q: later(data.q, 3, poison), k: later(data.k, 3, poison), v: later(data.v, 2, poison) };
    const [before, after] = [await attend(options, data), await attend(options, changed)];
    expect(norm(later(before, 2, 0).map((x, at) => x - later(after, 2, 0)[at]!)), "seeds 800 to 804").toBeLessThan(1e-6);
    // With a gradient for the first six rows alone, later tokens get none.
    const early = { ...data, dOut: later(data.dOut, 2, 0) };
    const gradients = await backward(options, early);
    for (const [name, dim] of [
      ["dq", 3],
      ["dk", 3],
      ["dv", 2],
    ] as const) {
      const rest = gradients[name].filter((_, at) => Math.floor(at / dim) % 10 >= 6);
      expect(norm(rest), `${name}, seeds 800 to 804`).toBeLessThan(1e-12);
    }
  });

  test("weights of later tokens count for nothing, in the maximum of a multiplicative bias neither", async () => {
    for (const bias of ["fastrpb", "multiplicative"] as const) {
      const options: AttentionOptions = { featureMap: "sikf", heads: 2, length: 8, headDim: 3, causal: true, bias };
      const data = draw(options, 810);
      const changed = { ...data, weights: data.weights.map((w, at) => (at % 15 > 7 ? 3000 : w)) };
      expect([...(await attend(options, changed))], "seeds 810 to 814").toEqual([...(await attend(options, data))]);
      const [gradients, others] = [await backward(options, data), await backward(options, changed)];
      expect(others, "seeds 810 to 814").toEqual(gradients);
      expect(gradients.dBias.filter((_, at) => at % 15 > 7).every((x) => x === 0)).toBe(true);
      expect(gradients.dBias.filter((_, at) => at % 15 <= 7).every((x) => x !== 0)).toBe(true);
    }
  });
});

describe("properties", () => {
  /** A permutation of the tokens of each head. */
  const reversed = (x: Float32Array, length: number, dim: number) =>
    x.map((_, at) => {
      const [row, d] = [Math.floor(at / dim), at % dim];
      return x[(row - (row % length) + length - 1 - (row % length)) * dim + d]!;
    });

  test.each(KINDS)("%j: permuted tokens give permuted outputs and gradients, but not with a bias", async (kind) => {
    const options = { ...kind, batch: 2, heads: 2, length: 11, headDim: 3, valueDim: 2 } as AttentionOptions;
    const data = draw(options, 900);
    const permuted = {
      ...data,
      q: reversed(data.q, 11, 3),
      k: reversed(data.k, 11, 3),
      v: reversed(data.v, 11, 2),
      dOut: reversed(data.dOut, 11, 2),
    };
    const change = async (bias: "none" | "fastrpb") =>
      relativeL2(await attend({ ...options, bias }, permuted), reversed(await attend({ ...options, bias }, data), 11, 2));
    expect(await change("none"), "seeds 900 to 904").toBeLessThan(1e-6);
    expect(await change("fastrpb"), "seeds 900 to 904").toBeGreaterThan(0.1);
    const [before, after] = [await backward(options, data), await backward(options, permuted)];
    expect(relativeL2(after.dq, reversed(before.dq, 11, 3)), "dq, seeds 900 to 904").toBeLessThan(1e-6);
    expect(relativeL2(after.dk, reversed(before.dk, 11, 3)), "dk, seeds 900 to 904").toBeLessThan(1e-6);
    expect(relativeL2(after.dv, reversed(before.dv, 11, 2)), "dv, seeds 900 to 904").toBeLessThan(1e-6);
  });

  test.each(KINDS)("%j: equal keys give the mean of the values", async (kind) => {
    const options = { ...kind, heads: 1, length: 4, headDim: 2, valueDim: 1 } as AttentionOptions;
    const v = new Float32Array([1, 2, 3, 6]);
    const data = { ...draw(options, 910), k: new Float32Array(8).fill(0.5), v };
    // The features of "relu" may all be 0.
    const out = await attend(options, { ...data, q: data.q.map(Math.abs) });
    out.forEach((value) => expect(value, "seed 910").toBeCloseTo(3, 6));
    const causal = await attend({ ...options, causal: true }, { ...data, q: data.q.map(Math.abs) });
    [1, 1.5, 2, 3].forEach((mean, i) => expect(causal[i], "seed 910").toBeCloseTo(mean, 6));
  });

  test.each(KINDS)("%j: one token gets its own value, and gives its gradient", async (kind) => {
    const options = { ...kind, batch: 3, heads: 2, length: 1, headDim: 2, valueDim: 4 } as AttentionOptions;
    const drawn = draw(options, 920);
    const data = { ...drawn, q: drawn.q.map(Math.abs), k: drawn.k.map(Math.abs) };
    expect(relativeL2(await attend(options, data), data.v), "seeds 920 to 924").toBeLessThan(ROUNDING);
    const { dq, dk, dv } = await backward(options, data);
    expect(relativeL2(dv, data.dOut), "seeds 920 to 924").toBeLessThan(ROUNDING);
    expect(norm(dq) + norm(dk), "seeds 920 to 924").toBeLessThan(1e-12);
  });

  test("a sum of gradients is nothing where a shift makes no difference", async () => {
    for (const featureMap of ["sikf", "softmax"] as const) {
      const options: AttentionOptions = { featureMap, heads: 2, length: 13, headDim: 4, causal: true };
      const { dq, dk } = await backward(options, draw(options, 930));
      // All features of a query may be shifted at once.
      for (let row = 0; row < 26; row++) {
        expect(Math.abs(dq.subarray(4 * row, 4 * row + 4).reduce((sum, x) => sum + x, 0)), `row ${row}, seed 930`).toBeLessThan(1e-6);
      }
      // So may all keys; of Efficient Attention in each feature by a shift of its own.
      const columns = [0, 1, 2, 3].map((d) => dk.reduce((sum, x, at) => (at % 4 === d && at < 52 ? sum + x : sum), 0));
      if (featureMap === "softmax") columns.forEach((sum) => expect(Math.abs(sum), "seed 930").toBeLessThan(1e-6));
      expect(Math.abs(columns.reduce((sum, x) => sum + x, 0)), "seed 930").toBeLessThan(1e-6);
    }
  });

  test.each(["fastrpb", "multiplicative"] as const)("bias %s on a grid of one row, or one column, is that of a sequence", async (bias) => {
    const sequence: AttentionOptions = { featureMap: "sikf", batch: 2, heads: 2, length: 9, headDim: 3, bias };
    const data = draw(sequence, 940);
    const expected = { out: await attend(sequence, data), ...(await backward(sequence, data)) };
    for (const grid of [
      [1, 9],
      [9, 1],
    ] as const) {
      const { length: _, ...rest } = sequence;
      const options = { ...rest, grid };
      const actual = { out: await attend(options, data), ...(await backward(options, data)) };
      for (const name of ["out", "dq", "dk", "dv", "dBias"] as const) {
        expect(relativeL2(actual[name], expected[name]), `${name}, ${grid}, seeds 940 to 944`).toBeLessThan(1e-6);
      }
    }
  });

  test.each(["sikf", "elu+1", "relu", "favor+", "dpfp"] as const)(
    "%s with a multiplicative bias that is constant is without one",
    async (featureMap) => {
      for (const [positions, weight] of [
        [{ length: 9 }, 0],
        [{ length: 9, causal: true }, -70.5],
        [{ grid: [3, 4] }, 200],
      ] as const) {
        const options = { featureMap, batch: 2, heads: 2, headDim: 3, valueDim: 2, ...positions } as AttentionOptions;
        const drawn = draw(options, 950);
        const data = { ...drawn, weights: drawn.weights.fill(weight) };
        const biased: AttentionOptions = { ...options, bias: "multiplicative" };
        expect(relativeL2(await attend(biased, data), await attend(options, data)), "seeds 950 to 954").toBeLessThan(1e-6);
        const [actual, expected] = [await backward(biased, data), await backward(options, data)];
        for (const name of ["dq", "dk", "dv"] as const) {
          expect(relativeL2(actual[name], expected[name]), `${name}, seeds 950 to 954`).toBeLessThan(1e-6);
        }
        // A constant on all weights of a head makes no difference.
        const sums = [0, 1].map((head) => {
          const size = actual.dBias.length / 2;
          return actual.dBias.subarray(head * size, (head + 1) * size).reduce((sum, x) => sum + x, 0);
        });
        sums.forEach((sum) => expect(Math.abs(sum), "seeds 950 to 954").toBeLessThan(1e-5));
      }
    },
  );

  test("softmax weights do not change when all keys are shifted; without a scale it is 1/√D", async () => {
    const options: AttentionOptions = { kind: "softmax", heads: 2, length: 9, headDim: 4 };
    const data = draw(options, 960);
    const k = data.k.map((x) => Math.round(64 * x) / 64);
    const before = await attend(options, { ...data, k });
    expect(relativeL2(await attend(options, { ...data, k: k.map((x, at) => x + (at % 4) - 1) }), before), "seeds 960 to 964").toBeLessThan(1e-6);
    expect([...(await attend({ ...options, scale: 0.5 }, { ...data, k }))]).toEqual([...before]);
  });

  test("favor+ comes near softmax attention, and nearer with more features", async () => {
    const options: AttentionOptions = { kind: "softmax", heads: 2, length: 20, headDim: 4 };
    const drawn = draw(options, 970);
    const data = { ...drawn, q: drawn.q.map((x) => x / 2), k: drawn.k.map((x) => x / 2) };
    const exact = await attend(options, data);
    const distance = async (count: number) =>
      relativeL2(await attend({ featureMap: "favor+", heads: 2, length: 20, headDim: 4, randomFeatures: { count, seed: 3 } }, data), exact);
    const [few, many] = [await distance(8), await distance(8192)];
    expect(many, "seeds 970 to 974").toBeLessThan(0.03);
    expect(few, "seeds 970 to 974").toBeGreaterThan(3 * many);
  });

  test("a query without a feature in common with any key gets zero and no gradient, with a multiplicative bias too", async () => {
    for (const bias of ["none", "multiplicative"] as const) {
      for (const causal of [false, true]) {
        const options: AttentionOptions = { featureMap: "relu", heads: 1, length: 6, headDim: 2, valueDim: 3, bias, causal };
        const data = draw(options, 980);
        // Keys have the second feature alone, and queries 0 and 3 lack it. Causal: query 1 sees no key that has it.
        const q = Float32Array.from([1, 0, 1, 2, 3, 1, 1, -1, 0.5, 1, 2, 2]);
        const k = Float32Array.from([-1, -1, 0, -2, -1, 1, -1, 2, 0, 0.5, -1, 3]);
        const none = causal ? [0, 1, 3] : [0, 3];
        const out = await attend(options, { ...data, q, k });
        const { dq } = await backward(options, { ...data, q, k });
        for (let i = 0; i < 6; i++) {
          const [values, gradient] = [norm(out.subarray(3 * i, 3 * i + 3)), norm(dq.subarray(2 * i, 2 * i + 2))];
          const message = `bias ${bias}, causal ${causal}, row ${i}, seeds 980 to 984`;
          if (none.includes(i)) expect([values, gradient], message).toEqual([0, 0]);
          else expect(values, message).toBeGreaterThan(0.01);
        }
      }
    }
  });
});
