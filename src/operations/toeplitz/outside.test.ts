/** Tokens outside a bias, and grids with channels, against sums over all pairs of tokens; and what their plans do beside those of a plain grid. */
import { describe, expect, test } from "vitest";
import { elementCount } from "../../core/check.ts";
import type { FastRpbError } from "../../core/errors.ts";
import { attentionGradientReference, attentionReference } from "../../testing/attention-reference.ts";
import { compute, computeAll } from "../../testing/compute.ts";
import { planProgram } from "../../testing/operations.ts";
import { limitsWith, LIMIT_SETS } from "../../testing/planning.ts";
import { programComplaints } from "../../testing/programs.ts";
import { normals, relativeL2 } from "../../testing/random.ts";
import { expandWeights } from "../../testing/reference.ts";
import { errorsOfPairs } from "../../testing/toeplitz-pairs.ts";
import {
  attentionGradientSpec,
  type AttentionOptions,
  attentionSpec,
  type BiasFormOptions,
  spectrumSpec,
  type SequenceOptions,
  type TokenOptions,
  toeplitzGradientSpec,
  type ToeplitzOptions,
  toeplitzSpec,
  weightsShape,
} from "../../testing/specs.ts";

/** Half a unit of float32: all that a float64 result loses when it is stored. */
const ROUNDING = 2 ** -24;

type Tokens = BiasFormOptions & SequenceOptions & TokenOptions & { causal?: boolean };

const TOKENS: readonly (readonly [Tokens, tokens: number, weights: readonly number[]])[] = [
  [{ length: 1, outside: { first: 1 } }, 2, [1]],
  [{ length: 9, outside: { first: 1 } }, 10, [17]],
  [{ length: 9, outside: { last: 2 }, causal: true }, 11, [17]],
  [{ length: 6, outside: { first: 1, last: 1 }, biasForm: "symmetric", biasLength: 8 }, 8, [8]],
  [{ grid: [3, 5], outside: { first: 2, last: 1 } }, 18, [5, 9]],
  [{ grid: [1, 1], outside: { first: 0, last: 3 } }, 4, [1, 1]],
  [{ grid: [4, 3], outside: { first: 1, last: 1 }, biasForm: "separable" }, 14, [12]],
  [{ grid: [3, 4], gridChannels: 3 }, 36, [5, 7]],
  [{ grid: [3, 3], gridChannels: 2, biasForm: "separable-symmetric", biasShared: true }, 18, [3]],
  [{ grid: [1, 5], gridChannels: 2, outside: { first: 1 }, biasForm: "symmetric" }, 11, [1, 5]],
  [{ grid: [4, 2], gridChannels: 3, outside: { first: 1, last: 2 } }, 27, [7, 3]],
];

test.each(TOKENS)("on the CPU, a product of %j is that of all pairs", async (options, tokens, shape) => {
  const spec = toeplitzSpec({ batch: 2, heads: 3, channels: 5, ...options });
  expect(spec.length).toBe(tokens);
  expect(weightsShape(spec)).toEqual([3, ...shape]);
  const { out, dv, dWeights } = await errorsOfPairs(spec);
  expect(out, "seeds 1, 3").toBeLessThan(ROUNDING);
  expect(dv, "dv, seeds 1 to 3").toBeLessThan(ROUNDING);
  expect(dWeights, "dWeights, seeds 1 to 3").toBeLessThan(ROUNDING);
});

const ATTENTION = { batch: 3, heads: 2, headDim: 4, valueDim: 3, bias: "fastrpb" } as const;

test.each<AttentionOptions>([
  { ...ATTENTION, length: 7, outside: { first: 1, last: 2 }, kind: "softmax" },
  { ...ATTENTION, length: 7, outside: { first: 1, last: 2 }, kind: "softmax", variableLengths: true },
  { ...ATTENTION, length: 8, outside: { first: 1, last: 1 }, featureMap: "sikf", causal: true, variableLengths: true },
  { ...ATTENTION, grid: [2, 3], outside: { first: 1 }, featureMap: "elu+1", gridChannels: 2 },
])("on the CPU, attention of %j is that of all pairs", async (options) => {
  const spec = attentionSpec(options);
  const rows = 3 * 2 * spec.length;
  const [q, k, v, dOut] = [normals(1, 4 * rows), normals(2, 4 * rows), normals(3, 3 * rows), normals(4, 3 * rows)];
  const weights = normals(5, elementCount(weightsShape(spec)));
  const lengths = spec.variableLengths ? [spec.length, 2, 6] : undefined;
  const inputs = { q, k, v, weights: expandWeights(spec, weights), lengths };
  const given = { q, k, v, weights, ...(lengths && { lengths: Uint32Array.from(lengths) }) };
  expect(relativeL2(await compute(spec, given), attentionReference(spec, inputs)), "seeds 1 to 5").toBeLessThan(ROUNDING);
  const expected = attentionGradientReference(spec, inputs, dOut);
  const actual = await computeAll(attentionGradientSpec(spec), { ...given, dOut }, ["dq", "dk", "dv", "dBias"]);
  for (const name of ["dq", "dk", "dv", "dBias"] as const) {
    expect(relativeL2(actual[name], expected[name]), `${name}, seeds 1 to 5`).toBeLessThan(4 * ROUNDING);
  }
});

describe("plans", () => {
  test("of a grid with channels are those of a grid with more channels of a row", () => {
    const options = { batch: 2, heads: 3, grid: [6, 7] } as const;
    const image = planProgram("test", toeplitzSpec({ ...options, gridChannels: 3, channels: 4 }), limitsWith());
    const plain = planProgram("test", toeplitzSpec({ ...options, channels: 12 }), limitsWith());
    expect(image.dispatches).toEqual(plain.dispatches);
  });

  test("copy nothing for tokens outside: one dispatch more, of zeros", () => {
    const options = { batch: 2, heads: 3, grid: [28, 28], channels: 64 } as const;
    const [inside, around] = [{}, { outside: { first: 1, last: 1 } }].map((outside) =>
      planProgram("test", toeplitzSpec({ ...options, ...outside }), limitsWith()),
    );
    expect(around!.cost.dispatches).toBe(inside!.cost.dispatches + 1);
    expect(around!.cost.bytesMoved).toBe(inside!.cost.bytesMoved + 4 * 2 * 3 * 2 * 64);
  });

  test("share a spectrum, whatever tokens are outside", () => {
    const plain = toeplitzSpec({ heads: 2, length: 9, channels: 3 });
    expect(spectrumSpec(toeplitzSpec({ heads: 2, length: 9, channels: 3, outside: { first: 1, last: 4 } }))).toEqual(spectrumSpec(plain));
    const grid = { heads: 2, grid: [3, 4], channels: 3 } as const;
    expect(spectrumSpec(toeplitzSpec({ ...grid, gridChannels: 5 }))).toEqual(spectrumSpec(toeplitzSpec(grid)));
  });

  test.each(Object.entries(LIMIT_SETS))("obey the limits, or refuse by them: %s", (_, limits) => {
    for (const options of [
      { batch: 3, heads: 5, length: 700, channels: 7, outside: { first: 1, last: 2 } },
      { batch: 2, heads: 3, grid: [40, 50], channels: 8, gridChannels: 3, outside: { first: 1 } },
      { batch: 2, heads: 3, grid: [40, 50], channels: 6, outside: { first: 1, last: 1 }, biasForm: "separable" },
    ] as ToeplitzOptions[]) {
      for (const spec of [toeplitzSpec(options), toeplitzGradientSpec(toeplitzSpec(options))]) {
        try {
          expect(programComplaints(planProgram("test", spec, limits), limits)).toEqual([]);
        } catch (error) {
          expect((error as FastRpbError).code, String(error)).toBe("limit");
        }
      }
    }
  });
});

test.each([
  [{ length: 4, outside: { first: -1 } }, "options.outside.first"],
  [{ length: 4, outside: { last: 0.5 } }, "options.outside.last"],
  [{ length: 4, outside: { before: 1 } }, "options.outside"],
  [{ length: 4, outside: 1 }, "options.outside"],
  [{ length: 4, outside: { first: 2 ** 32 - 4 } }, "options.outside"],
  [{ length: 4, gridChannels: 2 }, "options.gridChannels"],
  [{ grid: [2, 2], gridChannels: 0 }, "options.gridChannels"],
  [{ grid: [2, 2], gridChannels: 2 ** 31 }, "options.gridChannels"],
])("%j is refused: %s", (options, mention) => {
  const make = () => toeplitzSpec({ heads: 1, channels: 1, ...options } as ToeplitzOptions);
  expect(make).toThrow(mention);
  expect(make).toThrow(expect.objectContaining({ code: "value" }));
});

test("without outside tokens nothing is outside", () => {
  const options = { heads: 1, grid: [3, 4], channels: 2 } as const;
  expect(toeplitzSpec({ ...options, outside: { first: 0 }, gridChannels: 1 })).toEqual(toeplitzSpec(options));
});

test("only an added bias leaves tokens alone", () => {
  for (const bias of ["none", "multiplicative"] as const) {
    for (const tokens of [{ outside: { first: 1 } }, { gridChannels: 2 }]) {
      const make = () => attentionSpec({ heads: 1, grid: [2, 2], headDim: 2, featureMap: "sikf", bias, ...tokens });
      expect(make).toThrow(expect.objectContaining({ code: "value" }));
    }
  }
});
