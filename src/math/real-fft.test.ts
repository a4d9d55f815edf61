import { expect, test } from "vitest";
import { dftReference } from "../testing/reference.ts";
import { normals, relativeL2 } from "../testing/random.ts";
import { createFft } from "./fft.ts";
import { createRealFft } from "./real-fft.ts";

const TIGHT = 2e-14;
const LENGTHS = [...Array.from({ length: 40 }, (_, i) => i + 1), 97, 98, 128, 210, 211, 1000, 1024];

function forward(x: Float32Array): Float64Array {
  const line = new Float64Array(2 * Math.floor(x.length / 2) + 2);
  line.set(x);
  // What lies beyond the input must not matter.
  line.fill(NaN, x.length);
  createRealFft(x.length, createFft).forward(line);
  return line;
}

test("the half spectrum is that of the definition", () => {
  for (const length of LENGTHS) {
    const x = normals(length, length);
    const expected = dftReference(
      [...x].flatMap((value) => [value, 0]),
      "forward",
    );
    const actual = forward(x);
    expect(relativeL2(actual, expected.subarray(0, actual.length)), `length and seed ${length}`).toBeLessThan(TIGHT);
    expect(actual[1]! + 0, "the imaginary part at 0").toBe(0);
    if (length % 2 === 0) expect(actual[length + 1]! + 0, "the imaginary part at N/2").toBe(0);
  }
});

test("the inverse undoes it, whatever the imaginary parts that have to be zero are", () => {
  for (const length of LENGTHS) {
    const x = normals(length, length);
    const line = forward(x);
    line[1] = 5;
    if (length % 2 === 0) line[length + 1] = -7;
    createRealFft(length, createFft).inverse(line);
    const back = line.subarray(0, length).map((value) => value / length);
    expect(relativeL2(back, x), `length and seed ${length}`).toBeLessThan(TIGHT);
  }
});
