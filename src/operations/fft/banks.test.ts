import { describe, expect, test } from "vitest";
import { BANKS, exchangeIndex, exchanges, type StockhamShape, workgroupLanes } from "../../../shaders/fft/stockham.ts";
import { limitsWith, smoothNumbers } from "../../testing/planning.ts";
import { chooseBankShift, exchangeCycles } from "./banks.ts";
import { chooseShape } from "./stockham.ts";

const LIMITS = limitsWith({ maxComputeInvocationsPerWorkgroup: 1024, maxComputeWorkgroupSizeX: 1024, maxComputeWorkgroupStorageSize: 32768 });

function shapeOf(length: number, lanes: StockhamShape["lanes"] = "points"): StockhamShape {
  return chooseShape({ lengths: [length], columns: 4096, lanes }, LIMITS)!;
}

/** What the stores and loads of the first four warps take without any conflict. */
function undisturbedCycles(shape: StockhamShape): number {
  const radices = shape.axes.flat();
  const warps = Math.min(4, Math.ceil(workgroupLanes(shape) / 32));
  const accesses = radices.slice(1).reduce<number>((sum, radix, i) => sum + radices[i]! + radix, 0);
  return warps * accesses * (shape.exchange === "whole" ? 2 : 1);
}

describe("places in workgroup memory", () => {
  test.each(["points", "columns"] as const)("are a permutation, whatever the shift; lanes along %s", (lanes) => {
    for (const length of smoothNumbers(2, 4096).filter((_, i) => i % 7 === 0)) {
      const shape = shapeOf(length, lanes);
      for (const bankShift of [0, 3, 4, 5]) {
        const places = new Set<number>();
        const elements = BANKS * Math.ceil((length * shape.columns) / BANKS);
        for (let slot = 0; slot < shape.columns; slot++) {
          for (let point = 0; point < length; point++) places.add(exchangeIndex({ ...shape, bankShift }, point, slot));
        }
        expect(places.size, `${length}, shift ${bankShift}`).toBe(length * shape.columns);
        expect(Math.max(...places)).toBeLessThan(bankShift === 0 ? length * shape.columns : elements);
      }
    }
  });

  test.each(["points", "columns"] as const)("of powers of two: that of a butterfly's first point ⊕ that of the distance; lanes along %s", (lanes) => {
    for (let bits = 4; bits <= 12; bits++) {
      for (const bankShift of [0, 3, 4, 5]) {
        const shape = { ...shapeOf(2 ** bits, lanes), bankShift };
        const points = exchanges(shape).flatMap(({ radix, butterflies, point }) =>
          Array.from(
            { length: radix * butterflies },
            (_, i) => [point(i % butterflies, 0), point(i % butterflies, Math.floor(i / butterflies))] as const,
          ),
        );
        const last = shape.columns - 1;
        const place = (n: number, slot: number) => exchangeIndex(shape, n, slot);
        expect(points.filter(([first, n]) => (place(first, last) ^ place(n - first, 0)) !== place(n, last))).toEqual([]);
      }
    }
  });

  test("of the plain layout, radix 16 stores sixteen lanes to a bank; the chosen one none", () => {
    const shape = shapeOf(4096);
    expect(shape.axes).toEqual([[16, 16, 16]]);
    // By hand: the stores of the first stage take 16 cycles each, those of the second 2, and the loads 1.
    expect(exchangeCycles({ ...shape, bankShift: 0 })).toBe(4 * 16 * (16 + 2 + 1 + 1));
    expect(exchangeCycles(shape)).toBe(undisturbedCycles(shape));
    expect(chooseBankShift(shape)).toBe(shape.bankShift);
  });

  test("powers of two from 64 on wait at most half as long again as without conflicts", () => {
    for (let bits = 6; bits <= 13; bits++) {
      for (const lanes of ["points", "columns"] as const) {
        const shape = shapeOf(2 ** bits, lanes);
        expect(exchangeCycles(shape) / undisturbedCycles(shape), `2^${bits} ${lanes}`).toBeLessThanOrEqual(1.5);
      }
    }
  });

  test("are never worse than the plain ones", () => {
    for (const length of smoothNumbers(2, 8192)) {
      const shape = shapeOf(length);
      expect(exchangeCycles(shape), `${length}`).toBeLessThanOrEqual(exchangeCycles({ ...shape, bankShift: 0 }));
    }
  });
});
