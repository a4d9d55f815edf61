import { describe, expect, test } from "vitest";
import { FastRpbError } from "../../core/errors.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import { isSmooth, nextSmooth } from "../../math/smooth.ts";
import { LIMIT_SETS, limitsWith, smoothNumbers } from "../../testing/planning.ts";
import { random } from "../../testing/random.ts";
import { chirpLength, choosePasses, chooseSplit, fitsPass, splitLength } from "./split.ts";
import { fits } from "./stockham.ts";

const DEVICES = Object.entries(LIMIT_SETS).filter(([name]) => /default|desktop|small workgroups|tiny/.test(name));

function product(factors: readonly number[]): number {
  return factors.reduce((result, factor) => result * factor, 1);
}

function divisors(n: number): number[] {
  const found: number[] = [];
  for (let d = 1; d * d <= n; d++) if (n % d === 0) found.push(d, ...(d * d < n ? [n / d] : []));
  return found;
}

function remembered(fitting: (n: number) => boolean): (n: number) => boolean {
  const known = new Map<number, boolean>();
  return (n) => {
    const found = known.get(n) ?? fitting(n);
    known.set(n, found);
    return found;
  };
}

/** The fewest factors, all of them fitting, that multiply to n; by trying all. */
function fewest(n: number, most: number, fitting: (n: number) => boolean): number {
  if (fitting(n)) return 1;
  if (most === 1) return Infinity;
  return Math.min(...divisors(n).map((d) => (d > 1 && d < n && fitting(d) ? 1 + fewest(n / d, most - 1, fitting) : Infinity)));
}

describe.each(DEVICES)("device: %s", (_name, limits) => {
  test("a length is split into two that fit, as even as possible, wherever there are two", () => {
    const fitting = new Set(smoothNumbers(1, 8192).filter((length) => fits(limits, length)));
    for (const length of smoothNumbers(2, 2 ** 18)) {
      const pairs = divisors(length).filter((b) => b > 1 && b * b <= length && fitting.has(b) && fitting.has(length / b));
      const split = chooseSplit(length, limits);
      if (pairs.length === 0) expect(split, `${length}`).toBeUndefined();
      else expect(split, `${length}`).toEqual({ a: length / Math.max(...pairs), b: Math.max(...pairs) });
    }
  });

  test("passes multiply to the length, all fit, and are as few as there can be", () => {
    const uniform = random(3);
    const direct = remembered((n) => fits(limits, n));
    const any = remembered((n) => fitsPass(limits, n));
    const lengths = [1, 2, 16, 17, 4096, 4099, 8192, 2 ** 20, 2 ** 22, 2 ** 24, 17 * 4096, 2039 * 2039, 3 * 5 * 7 * 11 * 13 * 17 * 19, 65_537];
    for (let i = 0; i < 150; i++) lengths.push(Math.ceil(2 ** (20 * uniform())));
    for (const length of lengths) {
      const message = `seed 3, ${length}`;
      const passes = choosePasses(length, limits);
      const [least, leastDirect] = [fewest(length, 3, any), fewest(length, 3, direct)];
      if (least === Infinity) {
        expect(passes, message).toBeUndefined();
        continue;
      }
      expect(product(passes!), message).toBe(length);
      expect(passes, message).toHaveLength(least);
      expect(passes!.every(any), `${message} = ${passes!.join(" · ")}`).toBe(true);
      // A convolution is three times the work: only where there is no other way.
      if (leastDirect === least) expect(passes!.every(direct), `${message} = ${passes!.join(" · ")}`).toBe(true);
      if (length > 1) expect(passes, message).not.toContain(1);
    }
  });

  test("a large prime has no passes", () => {
    for (const prime of [65_537, 1_048_573]) {
      expect(choosePasses(prime, limits)).toBeUndefined();
      expect(chooseSplit(prime, limits)).toBeUndefined();
    }
  });
});

test("a chirp's period is 7-smooth and holds all offsets", () => {
  for (let points = 1; points <= 5000; points++) {
    const period = chirpLength(points, limitsWith());
    if (!isSmooth(period) || period < 2 * points - 1 || period > Math.max(nextSmooth(2 * points - 1), 1.25 * (2 * points - 1)))
      expect(period, `${points}`).toBe(0);
  }
});

test("guaranteed limits: two passes to 2^22 for powers of two, three to 2^24; any length to 2048 in one", () => {
  const limits = limitsWith();
  for (let bits = 13; bits <= 24; bits++) expect(choosePasses(2 ** bits, limits), `2^${bits}`).toHaveLength(2);
  for (let length = 1; length <= 2048; length++) if (!fitsPass(limits, length)) expect(length).toBe(0);
  for (const length of smoothNumbers(4096, 2 ** 20)) expect(chooseSplit(length, limits), `${length}`).toBeDefined();
});

test("short lengths have no split", () => {
  expect(chooseSplit(7, limitsWith())).toBeUndefined();
  expect(chooseSplit(1, limitsWith())).toBeUndefined();
  expect(choosePasses(1, limitsWith())).toEqual([1]);
});

test("what cannot be split is refused with the limits that matter", () => {
  const refusal = (length: number, limits: PlannerLimits) => {
    try {
      return splitLength("runtime.test", length, limits);
    } catch (error) {
      return error;
    }
  };
  expect(refusal(65_536, limitsWith())).toEqual({ a: 256, b: 256 });
  const error = refusal(65_537, limitsWith()) as FastRpbError;
  expect(error).toBeInstanceOf(FastRpbError);
  expect(error.code).toBe("limit");
  for (const part of ["runtime.test", "65537", "16384", "maxComputeWorkgroupStorageSize", "256 invocations"]) expect(error.message).toContain(part);
});
