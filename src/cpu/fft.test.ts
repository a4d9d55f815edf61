import { describe, expect, test } from "vitest";
import { fftSpec } from "../spec/operations.ts";
import { isSmooth } from "../spec/smooth.ts";
import { normals, relativeL2 } from "../testing/random.ts";
import { createFft } from "./fft.ts";
import fixtures from "./fixtures/fft.json" with { type: "json" };
import { dftReference } from "./reference.ts";

const DIRECTIONS = ["forward", "inverse"] as const;
const SHORT = Array.from({ length: 64 }, (_, index) => index + 1).filter(isSmooth);
const LONG = [81, 98, 105, 125, 128, 210, 243, 256, 343, 420, 512, 625, 1024, 1050, 1715, 2000];
/** Float64 rounds at 1.1e-16 a step; the reference's own error is about as large. */
const TIGHT = 2e-14;

function complexNormals(seed: number, length: number): Float64Array {
  return Float64Array.from(normals(seed, 2 * length));
}

function transformed(x: ArrayLike<number>, direction: "forward" | "inverse"): Float64Array {
  const result = Float64Array.from(x);
  createFft(x.length / 2).transform(result, direction);
  return result;
}

function scaled(x: Float64Array, factor: number): Float64Array {
  return x.map((value) => factor * value);
}

describe.each(DIRECTIONS)("%s", (direction) => {
  test.each([...SHORT, ...LONG])("length %i agrees with the definition", (length) => {
    const x = complexNormals(length, length);
    expect(relativeL2(transformed(x, direction), dftReference(x, direction)), `seed ${length}`).toBeLessThan(TIGHT);
  });

  test.each([1, 7, 60, 64, 343])("an impulse at length %i gives one root's powers", (length) => {
    for (const place of [0, 1, length - 1]) {
      const x = new Float64Array(2 * length);
      x[2 * (place % length)] = 1;
      const expected = new Float64Array(2 * length);
      for (let k = 0; k < length; k++) {
        const angle = ((direction === "forward" ? -2 : 2) * Math.PI * ((k * place) % length)) / length;
        expected.set([Math.cos(angle), Math.sin(angle)], 2 * k);
      }
      expect(relativeL2(transformed(x, direction), expected), `place ${place}`).toBeLessThan(TIGHT);
    }
  });

  test.each([1, 6, 49, 1024])("a constant of length %i gives an impulse", (length) => {
    const x = new Float64Array(2 * length).map((_, index) => (index % 2 === 0 ? 1.5 : -2));
    const expected = new Float64Array(2 * length);
    expected.set([1.5 * length, -2 * length]);
    expect(relativeL2(transformed(x, direction), expected)).toBeLessThan(TIGHT);
  });
});

test.each([30, 256, 1470])("is linear at length %i", (length) => {
  const [x, y] = [complexNormals(1, length), complexNormals(2, length)];
  const sum = x.map((value, index) => 3 * value - 0.5 * y[index]!);
  const [xs, ys] = [transformed(x, "forward"), transformed(y, "forward")];
  const expected = xs.map((value, index) => 3 * value - 0.5 * ys[index]!);
  expect(relativeL2(transformed(sum, "forward"), expected), "seeds 1, 2").toBeLessThan(TIGHT);
});

test.each([35, 128, 1260])("turns a shift into a phase at length %i", (length) => {
  const shift = 11;
  const x = complexNormals(3, length);
  const moved = x.map((_, index) => x[(index + 2 * shift) % (2 * length)]!);
  const expected = transformed(x, "forward");
  for (let k = 0; k < length; k++) {
    const angle = (2 * Math.PI * ((k * shift) % length)) / length;
    const [re, im] = [expected[2 * k]!, expected[2 * k + 1]!];
    expected[2 * k] = re * Math.cos(angle) - im * Math.sin(angle);
    expected[2 * k + 1] = re * Math.sin(angle) + im * Math.cos(angle);
  }
  expect(relativeL2(transformed(moved, "forward"), expected), "seed 3").toBeLessThan(TIGHT);
});

test.each([21, 4096, 5000])("keeps the energy at length %i (Parseval)", (length) => {
  const x = complexNormals(4, length);
  const energy = (z: Float64Array) => z.reduce((sum, value) => sum + value * value, 0);
  expect(energy(transformed(x, "forward")) / (length * energy(x)), "seed 4").toBeCloseTo(1, 12);
});

test.each([2 ** 16, 2 ** 17, 3 ** 10, 50_625, 7 ** 5, 44_100])("goes there and back at length %i", (length) => {
  const x = complexNormals(5, length);
  const back = scaled(transformed(transformed(x, "forward"), "inverse"), 1 / length);
  expect(relativeL2(back, x), "seed 5").toBeLessThan(TIGHT);
});

test("one transform serves many calls", () => {
  const fft = createFft(360);
  const x = complexNormals(6, 360);
  const [first, second] = [Float64Array.from(x), Float64Array.from(x)];
  fft.transform(first, "forward");
  fft.transform(complexNormals(7, 360), "inverse");
  fft.transform(second, "forward");
  expect(second).toEqual(first);
});

test("refuses what it cannot transform", () => {
  expect(() => createFft(11)).toThrow(RangeError);
  expect(() => createFft(2 * 13)).toThrow(RangeError);
  expect(() => createFft(4).transform(new Float64Array(6), "forward")).toThrow(RangeError);
});

describe("agrees with scipy", () => {
  for (const { length, x, results } of fixtures) {
    test.each(results)(`length ${length}, $direction, norm $norm`, ({ direction, norm, out }) => {
      const spec = fftSpec({ shape: [length], direction: direction as "forward", norm: norm as "ortho" });
      expect(relativeL2(scaled(transformed(x, spec.direction), spec.scale), out)).toBeLessThan(TIGHT);
    });
  }
});
