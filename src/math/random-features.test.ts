import { expect, test } from "vitest";
import { orthogonalFeatures } from "./random-features.ts";

function dot(features: Float64Array, dim: number, a: number, b: number): number {
  let sum = 0;
  for (let d = 0; d < dim; d++) sum += features[a * dim + d]! * features[b * dim + d]!;
  return sum;
}

test.each([
  [1, 1],
  [5, 1],
  [3, 8],
  [8, 8],
  [21, 8],
  [200, 64],
])("%i vectors of %i numbers are orthogonal in blocks, and not across them", (count, dim) => {
  const seed = 10 * count + dim;
  const features = orthogonalFeatures(count, dim, seed);
  expect(features).toHaveLength(count * dim);
  for (let a = 0; a < count; a++) {
    expect(dot(features, dim, a, a), `seed ${seed}`).toBeGreaterThan(0);
    for (let b = 0; b < a; b++) {
      const cosine = dot(features, dim, a, b) / Math.sqrt(dot(features, dim, a, a) * dot(features, dim, b, b));
      const message = `seed ${seed}, rows ${a} and ${b}`;
      if (Math.floor(a / dim) === Math.floor(b / dim)) expect(Math.abs(cosine), message).toBeLessThan(1e-14);
      else expect(Math.abs(cosine), message).toBeGreaterThan(0);
    }
  }
});

test("lengths and directions have the moments of Gaussian vectors", () => {
  const [count, dim] = [16_000, 16];
  const features = orthogonalFeatures(count, dim, 3);
  const squares = Array.from({ length: count }, (_, r) => dot(features, dim, r, r));
  const mean = squares.reduce((sum, x) => sum + x, 0) / count;
  const variance = squares.reduce((sum, x) => sum + (x - mean) ** 2, 0) / count;
  // χ² with 16 degrees of freedom; five standard errors.
  expect(Math.abs(mean - dim), "seed 3").toBeLessThan(5 * Math.sqrt((2 * dim) / count));
  expect(Math.abs(variance / (2 * dim) - 1), "seed 3").toBeLessThan(0.08);
  for (let d = 0; d < dim; d++) {
    let [sum, square] = [0, 0];
    for (let r = 0; r < count; r++) {
      sum += features[r * dim + d]!;
      square += features[r * dim + d]! ** 2;
    }
    expect(Math.abs(sum / count), `seed 3, component ${d}`).toBeLessThan(5 / Math.sqrt(count));
    expect(Math.abs(square / count - 1), `seed 3, component ${d}`).toBeLessThan(5 * Math.sqrt(2 / count));
  }
});

test("the estimate of exp(q·k) is unbiased", () => {
  const dim = 4;
  const [q, k] = [
    [0.3, -0.7, 0.5, 0.1],
    [-0.2, 0.4, 0.6, -0.5],
  ] as const;
  const squares = (x: readonly number[]) => x.reduce((sum, value) => sum + value * value, 0);
  const count = 40_000;
  const features = orthogonalFeatures(count, dim, 4);
  let sum = 0;
  for (let r = 0; r < count; r++) {
    let exponent = -(squares(q) + squares(k)) / 2;
    for (let d = 0; d < dim; d++) exponent += features[r * dim + d]! * (q[d]! + k[d]!);
    sum += Math.exp(exponent);
  }
  const expected = Math.exp(q.reduce((total, value, d) => total + value * k[d]!, 0));
  expect(Math.abs(sum / count / expected - 1), "seed 4").toBeLessThan(0.02);
});

test("the same seed gives the same numbers, another one others; the largest seed counts", () => {
  expect(orthogonalFeatures(7, 3, 5)).toEqual(orthogonalFeatures(7, 3, 5));
  expect(orthogonalFeatures(7, 3, 5)).not.toEqual(orthogonalFeatures(7, 3, 6));
  expect(orthogonalFeatures(7, 3, 2 ** 32 - 1)).not.toEqual(orthogonalFeatures(7, 3, 0));
});
