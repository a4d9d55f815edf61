import { describe, expect, test } from "vitest";
import { decodeHalf, halfBits } from "./half.ts";

const ALL = Uint16Array.from({ length: 0x10000 }, (_, word) => word);

describe("decodeHalf", () => {
  test("all 65536 words, by the float32 with the same sign, exponent and fraction", () => {
    const decoded = new Float32Array(ALL.length);
    decodeHalf(ALL, decoded);
    const view = new DataView(new ArrayBuffer(4));
    for (const word of ALL) {
      const [sign, exponent, fraction] = [word >>> 15, (word >>> 10) & 31, word & 1023];
      let expected: number;
      if (exponent === 0) {
        expected = (sign ? -1 : 1) * fraction * 2 ** -24;
      } else {
        view.setUint32(0, ((sign << 31) | ((exponent === 31 ? 255 : exponent - 15 + 127) << 23) | (fraction << 13)) >>> 0);
        expected = view.getFloat32(0);
      }
      if (!Object.is(decoded[word], expected)) expect.fail(`0x${word.toString(16)} is ${decoded[word]} instead of ${expected}`);
    }
  });

  test("landmarks", () => {
    const words = [0x0000, 0x8000, 0x0001, 0x03ff, 0x0400, 0x3555, 0x3c00, 0xc000, 0x7bff, 0x7c00, 0xfc00];
    const decoded = new Float32Array(words.length);
    decodeHalf(Uint16Array.from(words), decoded);
    const third = 1365 * 2 ** -12;
    expect([...decoded]).toEqual([0, -0, 2 ** -24, 1023 * 2 ** -24, 2 ** -14, third, 1, -2, 65504, Infinity, -Infinity]);
  });
});

describe("halfBits", () => {
  test("a Uint16Array is its own bits", () => {
    expect(halfBits(ALL)).toBe(ALL);
  });

  test("an array that is called Float16Array is seen as its bits, from its own place in memory", () => {
    // Node 20 has none.
    const array = Object.defineProperty(new DataView(ALL.buffer, 6, 4), Symbol.toStringTag, { value: "Float16Array" });
    expect([...halfBits(array)!]).toEqual([3, 4]);
  });

  test("nothing else is", () => {
    for (const value of [
      undefined,
      null,
      1,
      [1],
      {},
      "Float16Array",
      new Float32Array(2),
      new Int16Array(2),
      new DataView(new ArrayBuffer(4)),
      ALL.buffer,
    ]) {
      expect(halfBits(value)).toBeUndefined();
    }
    expect(halfBits({ [Symbol.toStringTag]: "Float16Array" })).toBeUndefined();
  });
});
