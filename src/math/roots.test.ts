import { expect, test } from "vitest";
import { writeRoot } from "./roots.ts";

function root(k: number, order: number): readonly [number, number] {
  const target = new Float64Array(4);
  writeRoot(target, 2, k, order);
  return [target[2]!, target[3]!];
}

test("quarters and eighths of a turn are exact", () => {
  const h = Math.SQRT1_2;
  const eighths = [0, 1, 2, 3, 4, 5, 6, 7].map((k) => root(3 * k, 24));
  expect(eighths).toEqual([
    [1, 0],
    [h, -h],
    [0, -1],
    [-h, -h],
    [-1, 0],
    [-h, h],
    [0, 1],
    [h, h],
  ]);
  expect(root(-5, 20)).toEqual([0, 1]);
  expect(root(7, 1)).toEqual([1, 0]);
});

test("symmetric roots are equal to the last bit, and all have length 1", () => {
  for (const order of [3, 7, 12, 37, 64, 1000]) {
    for (let k = 0; k <= order; k++) {
      const [re, im] = root(k, order);
      expect(root(order - k, order), `${k} of ${order}`).toEqual([re, -im + 0]);
      expect(root(k + order, order)).toEqual([re, im]);
      expect(root(k - order, order)).toEqual([re, im]);
      expect(root(4 * k, 4 * order)).toEqual([re, im]);
      expect(Math.abs(Math.hypot(re, im) - 1), `${k} of ${order}`).toBeLessThan(3e-16);
      expect(Math.hypot(re - Math.cos((2 * Math.PI * k) / order), im + Math.sin((2 * Math.PI * k) / order))).toBeLessThan(2e-15);
    }
  }
});

test("stays exact for large orders", () => {
  const order = 2 ** 40;
  // exp(−iφ) = 1 − iφ for a tiny φ, a turn and a half later.
  expect(root(order + 1, order)).toEqual([1, -2 * Math.PI * 2 ** -40]);
  expect(root(order + order / 2 + 1, order)).toEqual([-1, 2 * Math.PI * 2 ** -40]);
});
