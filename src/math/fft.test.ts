import { describe, expect, test } from "vitest";
import { dftReference } from "../testing/reference.ts";
import { fftSpec } from "../testing/specs.ts";
import { normals, relativeL2 } from "../testing/random.ts";
import { createFft } from "./fft.ts";
import { writeRoot } from "./roots.ts";
import fixtures from "../testing/fixtures/fft.json" with { type: "json" };

const DIRECTIONS = ["forward", "inverse"] as const;
const LONG = [343, 420, 499, 512, 625, 1001, 1024, 1050, 1331, 1715, 1999, 2000, 2048, 2197];
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
  test("every length up to 300 agrees with the definition", () => {
    for (let length = 1; length <= 300; length++) {
      const x = complexNormals(length, length);
      const error = relativeL2(transformed(x, direction), dftReference(x, direction));
      expect(error, `length and seed ${length}`).toBeLessThan(3e-15);
    }
  });

  test.each(LONG)("length %i agrees with the definition", (length) => {
    const x = complexNormals(length, length);
    expect(relativeL2(transformed(x, direction), dftReference(x, direction)), `seed ${length}`).toBeLessThan(TIGHT);
  });

  test.each([1, 7, 11, 60, 64, 83, 343, 1024])("an impulse at length %i gives one root's powers", (length) => {
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

  test.each([1, 6, 23, 49, 1024])("a constant of length %i gives an impulse", (length) => {
    const x = new Float64Array(2 * length).map((_, index) => (index % 2 === 0 ? 1.5 : -2));
    const expected = new Float64Array(2 * length);
    expected.set([1.5 * length, -2 * length]);
    expect(relativeL2(transformed(x, direction), expected)).toBeLessThan(TIGHT);
  });
});

test.each([30, 256, 1009, 1470])("is linear at length %i", (length) => {
  const [x, y] = [complexNormals(1, length), complexNormals(2, length)];
  const sum = x.map((value, index) => 3 * value - 0.5 * y[index]!);
  const [xs, ys] = [transformed(x, "forward"), transformed(y, "forward")];
  const expected = xs.map((value, index) => 3 * value - 0.5 * ys[index]!);
  expect(relativeL2(transformed(sum, "forward"), expected), "seeds 1, 2").toBeLessThan(TIGHT);
});

test.each([35, 127, 128, 1260])("turns a shift into a phase at length %i", (length) => {
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

test.each([21, 4096, 4999, 5000])("keeps the energy at length %i (Parseval)", (length) => {
  const x = complexNormals(4, length);
  const energy = (z: Float64Array) => z.reduce((sum, value) => sum + value * value, 0);
  expect(energy(transformed(x, "forward")) / (length * energy(x)), "seed 4").toBeCloseTo(1, 12);
});

test.each([2 ** 16, 2 ** 17, 2 ** 18, 3 ** 10, 50_625, 7 ** 5, 44_100, 11 ** 4, 13 ** 4, 65_537, 100_003])(
  "goes there and back at length %i",
  (length) => {
    const x = complexNormals(5, length);
    const back = scaled(transformed(transformed(x, "forward"), "inverse"), 1 / length);
    expect(relativeL2(back, x), "seed 5").toBeLessThan(TIGHT);
  },
);

test("one transform serves many calls", () => {
  const fft = createFft(360);
  const x = complexNormals(6, 360);
  const [first, second] = [Float64Array.from(x), Float64Array.from(x)];
  fft.transform(first, "forward");
  fft.transform(complexNormals(7, 360), "inverse");
  fft.transform(second, "forward");
  expect(second).toEqual(first);
});

/** Single bins by the definition, where all of them would take too long. */
test.each([2 ** 15, 2 ** 20, 3 * 2 ** 20, 30_030, 524_287, 1_000_003])("a few bins of length %i agree with the definition", (length) => {
  const x = complexNormals(8, length);
  const result = transformed(x, "forward");
  const bins = [0, 1, 2, Math.floor(length / 3), Math.floor(length / 2), length - 1];
  const expected = bins.flatMap((k) => {
    let [re, im] = [0, 0];
    const root = new Float64Array(2);
    for (let n = 0; n < length; n++) {
      writeRoot(root, 0, k * n, length);
      re += x[2 * n]! * root[0]! - x[2 * n + 1]! * root[1]!;
      im += x[2 * n]! * root[1]! + x[2 * n + 1]! * root[0]!;
    }
    return [re, im];
  });
  const actual = bins.flatMap((k) => [result[2 * k]!, result[2 * k + 1]!]);
  // The straight sum rounds √N times; the transform itself is better.
  expect(relativeL2(actual, expected), "seed 8").toBeLessThan(1e-16 * Math.sqrt(length) + TIGHT);
});

/** Half a unit of float32: all that a result loses when it is rounded. */
const ROUNDING = 2 ** -24;

describe.each(DIRECTIONS)("%s, from float32 to float32", (direction) => {
  test("every length up to 1040 that is offered agrees with the definition, and is written as a whole", () => {
    const offered = [];
    for (let length = 16; length <= 1040; length += 16) {
      const { round } = createFft(length);
      if (!round) continue;
      offered.push(length);
      const x = normals(length, 2 * length);
      const result = new Float32Array(2 * length).fill(NaN);
      round(x, result, direction, 0.5);
      expect(relativeL2(result, scaled(dftReference(x, direction), 0.5)), `length and seed ${length}`).toBeLessThan(ROUNDING);
    }
    expect(offered).toEqual(expect.arrayContaining([16, 32, 48, 64, 80, 112, 144, 176, 208, 256, 512, 1024]));
  });

  // One tile, two steps, three.
  test.each([2000, 3696, 4096, 8192, 15_360, 2 ** 16, 3 * 2 ** 16, 2 ** 21])("length %i is the float64 transform, rounded", (length) => {
    const x = normals(9, 2 * length);
    const expected = transformed(x, direction);
    const scale = 1 / length;
    const { round } = createFft(length);
    if (!round) throw new Error(`not for length ${length}`);
    const result = new Float32Array(2 * length).fill(NaN);
    round(x, result, direction, scale);
    expect(relativeL2(result, scaled(expected, scale)), "seed 9").toBeLessThan(ROUNDING);
    round(x, x, direction, scale);
    expect(relativeL2(x, result), "in place, seed 9").toBe(0);
  });
});

test("transforms of several lengths do not disturb each other", () => {
  const ffts = [64, 1000, 4096, 8192].map((length) => createFft(length));
  const once = ffts.map(({ length }) => transformed(complexNormals(10, length), "forward"));
  for (const [index, fft] of ffts.entries()) {
    const data = complexNormals(10, fft.length);
    fft.transform(data, "forward");
    expect(relativeL2(data, once[index]!), `length ${fft.length}, seed 10`).toBe(0);
  }
});

test("refuses what it cannot transform", () => {
  for (const length of [0, -4, 2.5, NaN]) expect(() => createFft(length), `${length}`).toThrow(RangeError);
  expect(() => createFft(2 ** 28 + 1)).toThrow(expect.objectContaining({ code: "limit" }));
  expect(() => createFft(4).transform(new Float64Array(6), "forward")).toThrow(RangeError);
  expect(() => createFft(16).round!(new Float32Array(32), new Float32Array(30), "forward", 1)).toThrow(RangeError);
});

describe("agrees with scipy", () => {
  for (const { length, x, results } of fixtures) {
    test.each(results)(`length ${length}, $direction, norm $norm`, ({ direction, norm, out }) => {
      const spec = fftSpec({ shape: [length], direction: direction as "forward", norm: norm as "ortho" });
      expect(relativeL2(scaled(transformed(x, spec.direction), spec.scale), out)).toBeLessThan(TIGHT);
    });
  }
});
