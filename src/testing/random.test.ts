import { expect, test } from "vitest";
import { normals, random, relativeL2 } from "./random.ts";

test("random gives mulberry32's known numbers", () => {
  const uniform = random(1);
  const first = [uniform(), uniform(), uniform()].map((u) => u * 2 ** 32);
  expect(first).toEqual([2693262067, 11749833, 2265367787]);
});

test("normals have mean 0 and variance 1, for odd counts too", () => {
  const n = 100_001;
  const x = normals(2, n);
  const mean = x.reduce((sum, value) => sum + value, 0) / n;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n;
  expect(x).toHaveLength(n);
  expect(Math.abs(mean)).toBeLessThan(0.02);
  expect(Math.abs(variance - 1)).toBeLessThan(0.02);
});

test("relativeL2 is a relative norm, and never hides a NaN", () => {
  expect(relativeL2([3, 4], [3, 4])).toBe(0);
  expect(relativeL2([0, 0], [0, 0])).toBe(0);
  expect(relativeL2([0, 1], [0, 0])).toBe(Infinity);
  expect(relativeL2([3, 5], [3, 4])).toBeCloseTo(0.2);
  expect(relativeL2([NaN], [1])).toBeNaN();
  expect(() => relativeL2([1], [1, 2])).toThrow(RangeError);
});
