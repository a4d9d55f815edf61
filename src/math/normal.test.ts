/** Φ against values of scipy.special.ndtr. */
import { expect, test } from "vitest";
import { normalDensity, normalDistribution } from "./normal.ts";

const VALUES = [
  [-30, 4.906713927147908e-198],
  [-12.25, 8.399796063633299e-35],
  [-8, 6.22096057427174e-16],
  [-5, 2.866515718791933e-7],
  [-3, 0.0013498980316300933],
  [-2.5625, 0.005196079382091158],
  [-2.5, 0.006209665325776132],
  [-1, 0.15865525393145707],
  [-0.125, 0.4502617751698871],
  [0, 0.5],
  [0.5, 0.6914624612740131],
  [2.5, 0.9937903346742238],
  [3, 0.9986501019683699],
  [7, 0.9999999999987201],
] as const;

test.each(VALUES)("Φ(%f)", (x, expected) => {
  expect(Math.abs(normalDistribution(x) / expected - 1)).toBeLessThan(1e-13);
});

test("at the ends, and of no number", () => {
  expect([-Infinity, Infinity, NaN].map(normalDistribution)).toEqual([0, 1, NaN]);
  expect(normalDensity(0)).toBeCloseTo(1 / Math.sqrt(2 * Math.PI), 15);
});
