import { fftFlops } from "../../math/flops.ts";
import { describe, expect, test } from "vitest";
import { RADICES } from "../../../shaders/fft/butterfly.ts";
import { exchangeBytes, radicesOf, registerCount, reversedAxes, type StockhamShape, workgroupLanes } from "../../../shaders/fft/stockham.ts";
import { type Choices, DEFAULT_CHOICES } from "../../core/choices.ts";
import type { PlannerLimits } from "../../core/limits.ts";
import { limitsWith, smoothNumbers } from "../../testing/planning.ts";
import { random } from "../../testing/random.ts";
import { chooseRadices, chooseShape, fits, hasRadices, type ShapeRequest } from "./stockham.ts";

/** Lengths with codelets to 8192: all products of 2, 3, 5, 7, 11 and 13, made by multiplying. */
const LENGTHS = [1, 11, 13, 121, 143, 169, 1331, 1573, 1859, 2197]
  .flatMap((factor) => smoothNumbers(1, Math.floor(8192 / factor)).map((n) => factor * n))
  .sort((a, b) => a - b);
const DEVICES: Readonly<Record<string, PlannerLimits>> = {
  default: limitsWith(),
  small: limitsWith({ maxComputeInvocationsPerWorkgroup: 64, maxComputeWorkgroupSizeX: 64, maxComputeWorkgroupStorageSize: 4096 }),
  large: limitsWith({ maxComputeInvocationsPerWorkgroup: 1024, maxComputeWorkgroupSizeX: 1024, maxComputeWorkgroupStorageSize: 32768 }),
  narrow: limitsWith({ maxComputeWorkgroupSizeX: 48 }),
  "few invocations, much memory": limitsWith({ maxComputeInvocationsPerWorkgroup: 64, maxComputeWorkgroupStorageSize: 32768 }),
};
const CHOICES: readonly Choices[] = [
  DEFAULT_CHOICES,
  { maxRadix: 4, registers: 4, lanes: 32, columns: 1, exchange: "split", roots: "split" },
  { maxRadix: 8, registers: 8, lanes: 256, columns: 8, exchange: "whole", roots: "full" },
  { maxRadix: 16, registers: 24, lanes: 1, columns: 4, exchange: "auto", roots: "split" },
  { maxRadix: 8, registers: 1024, lanes: 1024, columns: 2, exchange: "whole", roots: "split" },
  { maxRadix: 4, registers: 1, lanes: 64, columns: 16, exchange: "auto", roots: "split" },
];
/** Registers that a thread may hold: 52 floats beside the temporaries. */
const MOST_REGISTERS = 26;

function lanesOf(limits: PlannerLimits): number {
  return Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
}

/** Most complex values that one thread holds in any stage: dealt out one by one, the first thread gets the most butterflies. */
function countRegisters(length: number, radices: readonly number[], threads: number): number {
  let most = 0;
  for (const radix of radices) {
    let held = 0;
    for (let butterfly = 0; butterfly < length / radix; butterfly += threads) held += radix;
    most = Math.max(most, held);
  }
  return most;
}

function product(factors: readonly number[]): number {
  return factors.reduce((result, factor) => result * factor, 1);
}

describe("radices", () => {
  test.each([4, 8, 16] as const)("multiply to the length, have a codelet, and powers of two stay within %i", (maxRadix) => {
    for (const length of LENGTHS) {
      const radices = chooseRadices(length, maxRadix);
      expect(product(radices)).toBe(length);
      expect(radices.every((radix) => RADICES.includes(radix))).toBe(true);
      expect(radices.every((radix) => radix % 2 === 1 || radix <= maxRadix)).toBe(true);
      if (length > 1) expect(radices, `${length}`).not.toContain(1);
    }
  });

  test("are equal first and last where any occurs twice", () => {
    for (const length of LENGTHS) {
      for (const maxRadix of [4, 8, 16] as const) {
        const radices = chooseRadices(length, maxRadix);
        const repeats = new Set(radices).size < radices.length;
        if (repeats) expect(radices.at(-1), `${length}: ${radices.join("·")}`).toBe(radices[0]);
      }
    }
  });

  test("of powers of two are as few as the largest allows, and even", () => {
    for (let bits = 1; bits <= 24; bits++) {
      for (const maxBits of [2, 3, 4]) {
        const radices = chooseRadices(2 ** bits, (2 ** maxBits) as 4 | 8 | 16);
        expect(radices, `2^${bits}`).toHaveLength(Math.ceil(bits / maxBits));
        expect(Math.max(...radices) / Math.min(...radices), `2^${bits}: ${radices.join("·")}`).toBeLessThanOrEqual(2);
      }
    }
  });

  test("of long lengths stay few", () => {
    for (const length of smoothNumbers(2, 2 ** 20)) {
      // At worst every odd prime factor and every four factors of two are one stage.
      let odd = length;
      while (odd % 2 === 0) odd /= 2;
      expect(chooseRadices(length).length).toBeLessThanOrEqual(Math.log(odd) / Math.log(3) + 1e-9 + Math.ceil(Math.log2(length / odd) / 4));
    }
  });

  test("are there for products of primes to 13, and for no other length", () => {
    const known = new Set(LENGTHS);
    for (let length = 1; length <= 8192; length++)
      if (hasRadices(length) !== known.has(length)) expect(hasRadices(length), `${length}`).toBe(known.has(length));
  });
});

/** What is wrong with a shape. */
function complaints(shape: StockhamShape, request: ShapeRequest, limits: PlannerLimits): string[] {
  const found: string[] = [];
  const check = (holds: boolean, what: string) => {
    if (!holds) found.push(what);
  };
  const length = product(request.lengths);
  const radices = radicesOf(shape);
  check(shape.length === length && product(radices) === length, "length");
  check(shape.lanes === request.lanes, "lanes");
  // Axes of one point are left out.
  const long = request.lengths.filter((size) => size > 1);
  check(shape.axes.map(product).join() === (long.length > 0 ? long : [1]).join(), "axes");
  check(workgroupLanes(shape) === shape.threads * shape.columns && workgroupLanes(shape) <= lanesOf(limits), "lanes of a workgroup");
  const registers = countRegisters(length, radices, shape.threads);
  const most = Math.max(MOST_REGISTERS, limits.choices.registers);
  check(registerCount(shape) === registers && registers <= most, `${registers} registers`);
  const mirrors = request.mirrors ?? false;
  // A spread layout fills its last row of 32 banks.
  const elements = shape.bankShift === 0 ? length * shape.columns : 32 * Math.ceil((length * shape.columns) / 32);
  const bytes = (radices.length === 1 || shape.threads === 1) && !mirrors ? 0 : elements * { split: 4, whole: 8 }[shape.exchange];
  check(exchangeBytes(shape, mirrors) === bytes && bytes <= limits.maxComputeWorkgroupStorageSize, `${bytes} bytes`);
  // More columns than there are would only idle; rounding up to a power of two may not double them.
  check(shape.columns < 2 * request.columns && Number.isInteger(Math.log2(shape.columns)), `${shape.columns} columns`);
  check(shape.threads <= Math.max(...radices.map((radix) => length / radix)), "a thread is idle in every stage");
  return found;
}

describe.each(Object.entries(DEVICES))("shapes, device: %s", (_name, limits) => {
  const uniform = random(2);
  const columns = () => Math.ceil(2 ** (20 * uniform()));
  const lanes = () => (uniform() < 0.5 ? "columns" : "points");

  test("obey the limits for every length with codelets", () => {
    const found: string[] = [];
    let shapes = 0;
    for (const length of LENGTHS) {
      for (const mirrors of [false, true]) {
        const request: ShapeRequest = { lengths: [length], columns: columns(), lanes: lanes(), mirrors };
        const shape = chooseShape(request, limits);
        if (!shape) continue;
        shapes++;
        found.push(...complaints(shape, request, limits).map((what) => `seed 2, ${JSON.stringify(request)}, ${JSON.stringify(shape)}: ${what}`));
      }
    }
    expect(found.slice(0, 5)).toEqual([]);
    expect(shapes).toBeGreaterThan(100);
  });

  test("obey the limits over two and three axes, which fit as their product does", () => {
    const found: string[] = [];
    let shapes = 0;
    for (let trial = 0; trial < 600; trial++) {
      const lengths = Array.from({ length: 2 + (trial % 2) }, () => LENGTHS[Math.floor(LENGTHS.length ** uniform())]!);
      const request: ShapeRequest = { lengths, columns: columns(), lanes: lanes() };
      const shape = chooseShape(request, limits);
      const enoughMemory = 4 * product(lengths) <= limits.maxComputeWorkgroupStorageSize;
      const radices = lengths.flatMap((length) => chooseRadices(length)).filter((radix) => radix > 1);
      const expected =
        (enoughMemory || radices.length < 2) &&
        product(lengths) < 2 ** 20 &&
        countRegisters(product(lengths), radices, lanesOf(limits)) <= MOST_REGISTERS;
      if ((shape !== undefined) !== expected || fits(limits, ...lengths) !== expected) found.push(`seed 2, ${lengths}: fits, or does not`);
      if (!shape) continue;
      shapes++;
      found.push(...complaints(shape, request, limits).map((what) => `seed 2, ${JSON.stringify(request)}, ${JSON.stringify(shape)}: ${what}`));
      if (product(reversedAxes(shape).axes.map(product)) !== product(lengths)) found.push(`seed 2, ${lengths}: reversed`);
    }
    expect(found.slice(0, 5)).toEqual([]);
    expect(shapes).toBeGreaterThan(20);
  });

  test("are missing only where neither threads nor memory suffice, whatever a tuner chooses", () => {
    const found: string[] = [];
    for (const [at, length] of LENGTHS.entries()) {
      const radices = chooseRadices(length);
      const enoughMemory = radices.length === 1 || 4 * length <= limits.maxComputeWorkgroupStorageSize;
      const enoughThreads = countRegisters(length, radices, lanesOf(limits)) <= MOST_REGISTERS;
      const expected = enoughMemory && enoughThreads;
      if (fits(limits, length) !== expected) found.push(`${length}: fits`);
      // All lengths with the default, some with each of the others.
      for (const choices of [DEFAULT_CHOICES, CHOICES[at % CHOICES.length]!]) {
        const lanes = at % 2 === 0 ? "columns" : "points";
        const request: ShapeRequest = { lengths: [length], columns: [1, 3, 1000][at % 3]!, lanes };
        const shape = chooseShape(request, { ...limits, choices });
        const what = `${length}, ${JSON.stringify(choices)}`;
        // Other radices can fit where the default ones do not; the planner asks `fits` first.
        if (shape === undefined ? expected : choices === DEFAULT_CHOICES && !expected) found.push(`${what}: ${expected ? "no " : "a "}shape`);
        if (fits({ ...limits, choices }, length) !== expected) found.push(`${what}: fits`);
        if (shape) found.push(...complaints(shape, request, { ...limits, choices }).map((wrong) => `${what}: ${wrong}`));
      }
    }
    expect(found.slice(0, 5)).toEqual([]);
  });

  test("follow the choices where there is room", () => {
    const shapeOf = (length: number, choices: Partial<Choices>) =>
      chooseShape({ lengths: [length], columns: 1000, lanes: "points" }, { ...limits, choices: { ...DEFAULT_CHOICES, ...choices } })!;
    for (const length of [64, 256, 512]) {
      for (const maxRadix of [4, 8, 16] as const) {
        const shape = shapeOf(length, { maxRadix, registers: 8 });
        expect(shape.axes).toEqual([chooseRadices(length, maxRadix)]);
        const fitting = maxRadix <= 8 && 8 * lanesOf(limits) >= length;
        if (fitting) expect(registerCount(shape), `${length}, radix ${maxRadix}`).toBeLessThanOrEqual(8);
      }
      expect(shapeOf(length, { exchange: "split" }).exchange).toBe("split");
      expect(shapeOf(length, { exchange: "auto" }).exchange).toBe(
        exchangeBytes(shapeOf(length, { exchange: "auto" })) <= 8192 ? shapeOf(length, { exchange: "auto" }).exchange : "split",
      );
      const whole = shapeOf(length, { exchange: "whole", lanes: 16 });
      expect(whole.exchange, `${length}`).toBe("whole");
    }
  });

  test("are frozen", () => {
    const shape = chooseShape({ lengths: [60, 4], columns: 10, lanes: "columns" }, limits) as StockhamShape;
    expect(Object.isFrozen(shape) && Object.isFrozen(shape.axes) && shape.axes.every(Object.isFrozen)).toBe(true);
  });
});

test("guaranteed limits fit every length with codelets to 4096 in one workgroup", () => {
  for (const length of LENGTHS.filter((n) => n <= 4096)) expect(fits(limitsWith(), length), `${length}`).toBe(true);
  expect(fits(limitsWith(), 64, 64)).toBe(true);
  expect(fits(limitsWith(), 16, 16, 16)).toBe(true);
  expect(fits(limitsWith(), 64, 65)).toBe(false);
  expect(fits(limitsWith(), 17, 4)).toBe(false);
});

test("32 KiB and 1024 invocations fit every length with codelets to 8192", () => {
  for (const length of LENGTHS) expect(fits(DEVICES["large"]!, length), `${length}`).toBe(true);
});

test("flops are 5 n log₂ n", () => {
  expect(fftFlops(1)).toBe(0);
  expect(fftFlops(8)).toBe(120);
  expect(fftFlops(1024)).toBe(51200);
});
