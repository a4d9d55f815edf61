import { expect, test } from "vitest";
import { biasFromFunction, decayBias, manhattanBias, separableBias } from "./weights.ts";
import { expandWeights, toeplitzReference } from "../../testing/reference.ts";
import { type ToeplitzOptions, toeplitzSpec } from "../../testing/specs.ts";
import type { FastRpbError } from "../../core/errors.ts";
import { normals } from "../../testing/random.ts";

test("a function of the offset: order of a sequence's weights", () => {
  const calls: [number, number][] = [];
  const weights = biasFromFunction({ heads: 2, length: 3 }, (...args) => {
    calls.push(args);
    return args[0] + 10 * args[1];
  });
  expect([...weights]).toEqual([-2, -1, 0, 1, 2, 8, 9, 10, 11, 12]);
  expect(calls).toHaveLength(10);
  expect([...biasFromFunction({ length: 1 }, () => 7)]).toEqual([7]);
});

test("a function of rows and columns: order of a grid's weights", () => {
  const weights = biasFromFunction({ heads: 2, grid: [2, 3] }, (dy, dx, head) => 100 * head + 10 * dy + dx);
  expect(weights).toHaveLength(2 * 3 * 5);
  for (const [head, dy, dx] of [
    [0, -1, -2],
    [0, 1, 0],
    [1, 0, 2],
    [1, 1, -1],
  ] as const) {
    expect(weights[(head * 3 + dy + 1) * 5 + dx + 2], `${head} ${dy} ${dx}`).toBe(100 * head + 10 * dy + dx);
  }
});

test("the weight of offset j − i is that of the pair i, j", () => {
  // f counts tokens ahead: Σ_j (j − i) v_j, by hand.
  const v = normals(1, 5);
  const out = toeplitzReference(
    { batch: 1, heads: 1, length: 5, channels: 1 },
    v,
    biasFromFunction({ length: 5 }, (offset) => offset),
  );
  for (let i = 0; i < 5; i++) {
    const expected = v.reduce((sum, value, j) => sum + (j - i) * value, 0);
    expect(out[i], `token ${i}, seed 1`).toBeCloseTo(expected, 6);
  }
});

test("decay, with one rate and with one for each head", () => {
  const one = decayBias({ heads: 2, length: 4 }, 0.5);
  const each = decayBias({ heads: 2, length: 4 }, [0.5, 0]);
  for (let o = -3; o <= 3; o++) {
    const expected = Math.fround(Math.exp(-0.5 * Math.abs(o)));
    expect([one[o + 3], one[7 + o + 3], each[o + 3], each[7 + o + 3]], `offset ${o}`).toEqual([expected, expected, expected, 1]);
  }
});

test("separable: every sum of a row and a column", () => {
  const [rows, columns] = [Float32Array.of(1, 2, 3, 4, 5, 6), [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]];
  const weights = separableBias(rows, columns, { heads: 2 });
  expect(weights).toHaveLength(2 * 3 * 5);
  for (let head = 0; head < 2; head++) {
    for (let y = 0; y < 3; y++) {
      for (let x = 0; x < 5; x++) expect(weights[(head * 3 + y) * 5 + x]).toBe(rows[head * 3 + y]! + columns[head * 5 + x]!);
    }
  }
  expect([...separableBias([1], [2])]).toEqual([3]);
});

test("Manhattan distance", () => {
  const weights = manhattanBias([1, 2, 3, 4, 10, 20, 30, 40], { heads: 2, grid: [2, 3] });
  expect([...weights.subarray(0, 15)]).toEqual([4, 3, 2, 3, 4, 3, 2, 1, 2, 3, 4, 3, 2, 3, 4]);
  expect([...weights.subarray(15)]).toEqual([40, 30, 20, 30, 40, 30, 20, 10, 20, 30, 40, 30, 20, 30, 40]);
  expect([...manhattanBias([5], { grid: [1, 1] })]).toEqual([5]);
});

test("a function of distances, and of the axes of a separable form", () => {
  expect([...biasFromFunction({ heads: 2, length: 3, biasForm: "symmetric" }, (distance, head) => distance + 10 * head)]).toEqual([
    0, 1, 2, 10, 11, 12,
  ]);
  expect([...biasFromFunction({ grid: [2, 3], biasForm: "symmetric" }, (dy, dx) => 10 * dy + dx)]).toEqual([0, 1, 2, 10, 11, 12]);
  const named = { rows: 100, columns: 200, both: 300 };
  const f = (offset: number, axis: keyof typeof named, head: number) => 1000 * head + named[axis] + offset;
  const separable = biasFromFunction({ heads: 2, grid: [2, 3], biasForm: "separable" }, f);
  expect([...separable]).toEqual([99, 100, 101, 198, 199, 200, 201, 202, 1099, 1100, 1101, 1198, 1199, 1200, 1201, 1202]);
  expect([...biasFromFunction({ grid: [2, 3], biasForm: "separable-symmetric" }, f)]).toEqual([100, 101, 200, 201, 202]);
  expect([...biasFromFunction({ grid: [2, 2], biasForm: "separable", biasShared: true }, f)]).toEqual([299, 300, 301]);
});

test("forms of decay, Manhattan distance and sums say the same as all offsets", () => {
  const sequence = { heads: 2, length: 5, biasForm: "symmetric" } as const;
  const spec = (options: object, channels = 1) => toeplitzSpec({ heads: 2, channels, ...options } as ToeplitzOptions);
  expect([...expandWeights(spec(sequence), decayBias(sequence, [0.5, 1]))]).toEqual([...decayBias({ heads: 2, length: 5 }, [0.5, 1])]);
  const [distances, grid] = [{ heads: 2, grid: [2, 3], biasForm: "symmetric" } as const, { heads: 2, grid: [2, 3] } as const];
  const byDistance = [1, 2, 3, 4, 10, 20, 30, 40];
  expect([...expandWeights(spec(distances), manhattanBias(byDistance, distances))]).toEqual([...manhattanBias(byDistance, grid)]);
  const [rows, columns] = [Float32Array.of(1, 2, 3, 4, 5, 6), [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]];
  const separable = separableBias(rows, columns, { heads: 2, biasForm: "separable" });
  expect([...separable]).toEqual([1, 2, 3, 10, 20, 30, 40, 50, 4, 5, 6, 60, 70, 80, 90, 100]);
  expect([...expandWeights(spec({ grid: [2, 3], biasForm: "separable" }), separable)]).toEqual([...separableBias(rows, columns, { heads: 2 })]);
});

// oxlint-disable-next-line typescript/no-explicit-any
const any = (value: unknown) => value as any;

test.each([
  ["value", "biasFromFunction: options", () => biasFromFunction(any({ length: 3, head: 2 }), () => 0)],
  ["value", "biasFromFunction: options.length", () => biasFromFunction({ length: 0 }, () => 0)],
  ["value", "biasFromFunction: options.length", () => biasFromFunction(any({ length: 4, grid: [2, 2] }), () => 0)],
  ["value", "biasFromFunction: f must", () => biasFromFunction({ length: 3 }, any(1))],
  ["value", "biasFromFunction: f(1, 0)", () => biasFromFunction({ length: 2 }, (offset) => 1 / (1 - offset))],
  ["value", "biasFromFunction: f(-1, 0, 1)", () => biasFromFunction({ heads: 2, grid: [2, 1] }, (dy, _, head) => (head === 1 && dy < 0 ? NaN : 0))],
  ["value", "decayBias: rate must", () => decayBias({ length: 3 }, -1)],
  ["value", "decayBias: rate must", () => decayBias({ length: 3 }, NaN)],
  ["value", "decayBias: rate[1] must", () => decayBias({ heads: 2, length: 3 }, [1, -1])],
  ["value", "decayBias: rate must", () => decayBias({ length: 3 }, any("fast"))],
  ["shape", "decayBias: rate must be 2 numbers", () => decayBias({ heads: 2, length: 3 }, [1])],
  ["value", "decayBias: options", () => decayBias(any({ grid: [2, 2] }), 1)],
  ["shape", "separableBias: rows", () => separableBias([1, 2], [1])],
  ["shape", "separableBias: columns", () => separableBias([1, 2], [1, 2, 3], { heads: 2 })],
  ["shape", "separableBias: columns", () => separableBias([1], [])],
  ["value", "separableBias: columns[2]", () => separableBias([1], [1, 2, NaN])],
  ["value", "separableBias: rows must be an array", () => separableBias(any(3), [1])],
  ["value", "separableBias: the weight of (0, 0) in head 0", () => separableBias([3e38], [3e38])],
  ["shape", "manhattanBias: byDistance must be 4 numbers", () => manhattanBias([1, 2, 3], { grid: [2, 3] })],
  ["value", "manhattanBias: options.grid", () => manhattanBias([1], any({}))],
  ["value", "biasFromFunction: options.biasForm", () => biasFromFunction(any({ length: 3, biasForm: "separable" }), () => 0)],
  ["value", "biasFromFunction: f(1, columns, 0)", () => biasFromFunction({ grid: [1, 2], biasForm: "separable" }, (offset) => 1 / (1 - offset))],
  ["value", "separableBias: options.biasForm", () => separableBias([1], [2], any({ biasForm: "symmetric" }))],
  ["value", "manhattanBias: options.biasForm", () => manhattanBias([1], any({ grid: [1, 1], biasForm: "separable" }))],
  ["value", "decayBias: options.biasForm", () => decayBias(any({ length: 2, biasForm: "separable" }), 1)],
  ["value", "manhattanBias: options.heads", () => manhattanBias([1], { heads: 1.5, grid: [1, 1] })],
])("refused with %s: %s", (code, message, action) => {
  let error: unknown;
  try {
    action();
  } catch (caught) {
    error = caught;
  }
  expect((error as FastRpbError | undefined)?.code).toBe(code);
  expect((error as FastRpbError).message).toContain(message);
});
