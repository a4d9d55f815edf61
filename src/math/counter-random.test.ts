import { expect, test } from "vitest";
import fixtures from "../testing/fixtures/nn-dropout.json" with { type: "json" };
import { foldSeed, pcg4d } from "./counter-random.ts";

test.each(fixtures.words)("as in Python: $counter", ({ counter, words }) => {
  expect(pcg4d(...(counter as [number, number, number, number]))).toEqual(words);
});

test("a seed of one word is itself, and others are of both", () => {
  expect(foldSeed(2 ** 32 - 1, 0)).toBe(2 ** 32 - 1);
  expect(new Set([0, 1, 2, 3].map((high) => foldSeed(5, high))).size).toBe(4);
});

/** χ² of counts that should be equal, less its mean and in units of its deviation: for many counts, normal. */
function excess(counts: readonly number[]): number {
  const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  const freedom = counts.length - 1;
  return (counts.reduce((sum, count) => sum + (count - mean) ** 2 / mean, 0) - freedom) / Math.sqrt(2 * freedom);
}

const TRIALS = 1 << 16;
/** Words of two counters that differ in one place by one, whose upper bits together should be any pair equally often. */
const NEIGHBOURS: readonly (readonly [string, (i: number) => readonly [number, number]])[] = [
  ["neighbours of four", (i) => pcg4d(1, 0, 0, i).slice(0, 2) as [number, number]],
  ["the first and the last of four", (i) => [pcg4d(1, 0, 0, i)[0], pcg4d(1, 0, 0, i)[3]]],
  ["one four and the next", (i) => [pcg4d(1, 0, 0, i)[3], pcg4d(1, 0, 0, i + 1)[0]]],
  ["sites", (i) => [pcg4d(1, 5, 0, i)[2], pcg4d(1, 5, 1, i)[2]]],
  ["steps", (i) => [pcg4d(1, 8, 3, i)[1], pcg4d(1, 9, 3, i)[1]]],
  ["seeds", (i) => [pcg4d(41, 8, 3, i)[0], pcg4d(42, 8, 3, i)[0]]],
  ["steps of one element", (i) => [pcg4d(7, i, 0, 0)[0], pcg4d(7, i + 1, 0, 0)[0]]],
  ["sites of one element", (i) => [pcg4d(7, 0, i, 0)[0], pcg4d(7, 0, i + 1, 0)[0]]],
];

test.each(NEIGHBOURS)("no correlation: %s", (_name, pair) => {
  for (const bits of [1, 4]) {
    const counts = Array.from({ length: 4 ** bits }, () => 0);
    for (let i = 0; i < TRIALS; i++) {
      const [a, b] = pair(i);
      counts[(a >>> (32 - bits)) * 2 ** bits + (b >>> (32 - bits))]!++;
    }
    expect(Math.abs(excess(counts))).toBeLessThan(5);
  }
});
