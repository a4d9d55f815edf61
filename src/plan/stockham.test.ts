import { describe, expect, test } from "vitest";
import { RADICES } from "../../shaders/butterfly.ts";
import { exchangeBytes, registerCount, type StockhamShape, workgroupLanes } from "../../shaders/stockham.ts";
import type { PlannerLimits } from "../spec/limits.ts";
import { limitsWith, smoothNumbers } from "../testing/planning.ts";
import { random } from "../testing/random.ts";
import { chooseRadices, chooseShape, chooseSplit, fftFlops, fits } from "./stockham.ts";

const SMOOTH = smoothNumbers(1, 8192);
const DEVICES: Readonly<Record<string, PlannerLimits>> = {
  default: limitsWith(),
  small: limitsWith({ maxComputeInvocationsPerWorkgroup: 64, maxComputeWorkgroupSizeX: 64, maxComputeWorkgroupStorageSize: 4096 }),
  large: limitsWith({ maxComputeInvocationsPerWorkgroup: 1024, maxComputeWorkgroupSizeX: 1024, maxComputeWorkgroupStorageSize: 32768 }),
  narrow: limitsWith({ maxComputeWorkgroupSizeX: 48 }),
  "few invocations, much memory": limitsWith({ maxComputeInvocationsPerWorkgroup: 64, maxComputeWorkgroupStorageSize: 32768 }),
};
/** Registers that a thread may hold: 48 floats beside the temporaries. */
const MOST_REGISTERS = 24;

function lanesOf(limits: PlannerLimits): number {
  return Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
}

/** Most complex values that one thread holds in any stage, by dealing the butterflies out one by one. */
function countRegisters(length: number, radices: readonly number[], threads: number): number {
  let most = 0;
  for (const radix of radices) {
    const held = Array.from({ length: threads }, () => 0);
    for (let butterfly = 0; butterfly < length / radix; butterfly++) held[butterfly % threads]! += radix;
    most = Math.max(most, ...held);
  }
  return most;
}

describe("radices", () => {
  test("multiply to the length, and all have a codelet", () => {
    for (const length of SMOOTH) {
      const radices = chooseRadices(length);
      expect(radices.reduce<number>((product, radix) => product * radix, 1)).toBe(length);
      expect(radices.every((radix) => RADICES.includes(radix))).toBe(true);
      if (length > 1) expect(radices, `${length}`).not.toContain(1);
    }
  });

  test("are equal first and last where any occurs twice", () => {
    for (const length of SMOOTH) {
      const radices = chooseRadices(length);
      const repeats = new Set(radices).size < radices.length;
      if (repeats) expect(radices.at(-1), `${length}: ${radices.join("·")}`).toBe(radices[0]);
    }
  });

  test("of powers of two are as few as radix 16 allows", () => {
    for (let bits = 1; bits <= 13; bits++) expect(chooseRadices(2 ** bits), `2^${bits}`).toHaveLength(Math.ceil(bits / 4));
  });

  test("of long lengths stay few", () => {
    for (const length of smoothNumbers(2, 2 ** 20)) {
      // At worst every odd prime factor and every four factors of two are one stage.
      let odd = length;
      while (odd % 2 === 0) odd /= 2;
      expect(chooseRadices(length).length).toBeLessThanOrEqual(Math.log(odd) / Math.log(3) + 1e-9 + Math.ceil(Math.log2(length / odd) / 4));
    }
  });
});

describe.each(Object.entries(DEVICES))("shapes, device: %s", (_name, limits) => {
  test("obey the limits for every 7-smooth length", () => {
    const uniform = random(2);
    let shapes = 0;
    for (const length of SMOOTH) {
      for (const lanes of ["columns", "points"] as const) {
        const totalColumns = Math.ceil(2 ** (20 * uniform()));
        const shape = chooseShape(length, totalColumns, lanes, limits);
        if (!shape) continue;
        shapes++;
        const message = `seed 2, ${length}, ${totalColumns} columns: ${JSON.stringify(shape)}`;
        expect(shape.length, message).toBe(length);
        expect(shape.lanes, message).toBe(lanes);
        expect(shape.threads * shape.columns, message).toBeLessThanOrEqual(lanesOf(limits));
        expect(workgroupLanes(shape), message).toBe(shape.threads * shape.columns);
        const registers = countRegisters(length, shape.radices, shape.threads);
        expect(registerCount(shape), message).toBe(registers);
        expect(registers, message).toBeLessThanOrEqual(MOST_REGISTERS);
        const bytes = shape.radices.length === 1 ? 0 : length * shape.columns * { split: 4, whole: 8 }[shape.exchange];
        expect(exchangeBytes(shape), message).toBe(bytes);
        expect(bytes, message).toBeLessThanOrEqual(limits.maxComputeWorkgroupStorageSize);
        // More columns than there are would only idle; rounding up to a power of two may not double them.
        expect(shape.columns, message).toBeLessThan(2 * totalColumns);
        // No thread is idle in every stage.
        expect(shape.threads, message).toBeLessThanOrEqual(Math.max(...shape.radices.map((radix) => length / radix)));
      }
    }
    expect(shapes).toBeGreaterThan(100);
  });

  test("are missing only where neither threads nor memory suffice", () => {
    for (const length of SMOOTH) {
      const radices = chooseRadices(length);
      const enoughMemory = radices.length === 1 || 4 * length <= limits.maxComputeWorkgroupStorageSize;
      const enoughThreads = countRegisters(length, radices, lanesOf(limits)) <= MOST_REGISTERS;
      const expected = enoughMemory && enoughThreads;
      for (const columns of [1, 3, 1000]) {
        for (const lanes of ["columns", "points"] as const) {
          expect(chooseShape(length, columns, lanes, limits) !== undefined, `${length}, ${columns} columns`).toBe(expected);
        }
      }
      expect(fits(length, limits), `${length}`).toBe(expected);
    }
  });

  test("are frozen", () => {
    const shape = chooseShape(60, 10, "columns", limits) as StockhamShape;
    expect(Object.isFrozen(shape) && Object.isFrozen(shape.radices)).toBe(true);
  });

  test("split a length into two that fit, wherever there are two", () => {
    const fitting = new Set(SMOOTH.filter((length) => fits(length, limits)));
    for (const length of smoothNumbers(2, 2 ** 20)) {
      const split = chooseSplit(length, limits);
      if (!split) {
        // By trying all pairs.
        for (const b of fitting)
          if (b > 1 && length % b === 0 && length / b >= b) expect(fitting, `${length} = ${length / b} × ${b}`).not.toContain(length / b);
        continue;
      }
      const { a, b } = split;
      expect(a * b, `${length} = ${a} × ${b}`).toBe(length);
      expect(a, `${length}`).toBeGreaterThanOrEqual(b);
      expect(b, `${length}`).toBeGreaterThan(1);
      expect(fitting.has(a) && fitting.has(b), `${length} = ${a} × ${b}`).toBe(true);
    }
  });
});

test("guaranteed limits fit every 7-smooth length to 4096 in one workgroup, and to 2^20 in two passes", () => {
  const limits = limitsWith();
  for (const length of smoothNumbers(1, 4096)) expect(fits(length, limits), `${length}`).toBe(true);
  for (const length of smoothNumbers(4096, 2 ** 20)) expect(chooseSplit(length, limits), `${length}`).toBeDefined();
});

test("32 KiB and 1024 invocations fit every 7-smooth length to 8192", () => {
  for (const length of SMOOTH) expect(fits(length, DEVICES["large"]!), `${length}`).toBe(true);
});

test("a prime length has no split", () => {
  expect(chooseSplit(7, limitsWith())).toBeUndefined();
  expect(chooseSplit(1, limitsWith())).toBeUndefined();
});

test("flops are 5 n log₂ n", () => {
  expect(fftFlops(1)).toBe(0);
  expect(fftFlops(8)).toBe(120);
  expect(fftFlops(1024)).toBe(51200);
});
