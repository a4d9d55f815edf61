import { describe, expect, test } from "vitest";
import { random } from "../testing/random.ts";
import { ceilPowerOfTwo, elementwiseLanes, floorPowerOfTwo, foldWorkgroups, gridCapacity } from "./workgroups.ts";

const LIMITS = [1, 2, 3, 7, 16, 100, 1000, 65535];

/** What is wrong with a grid. */
function complaints(groups: number, limit: number): string[] {
  const [x, y, z] = foldWorkgroups(groups, limit);
  const size = x * y * z;
  const found: string[] = [];
  if (![x, y, z].every((n) => Number.isInteger(n) && n >= 1 && n <= limit)) found.push("a dimension is out of range");
  if (size < groups) found.push("too small");
  if (groups <= limit && size !== groups) found.push("one dimension would do");
  // Rounding up adds less than one row, and less than one plane.
  if (size - groups >= y * z + x * y) found.push("too large");
  return found.map((what) => `${groups} workgroups, ${limit} per dimension → ${x} × ${y} × ${z}: ${what}`);
}

describe("foldWorkgroups", () => {
  test("holds all workgroups and few more, whatever their number", () => {
    const uniform = random(1);
    const found: string[] = [];
    for (const limit of LIMITS) {
      const cube = limit ** 3;
      for (let i = 0; i < 2000; i++) found.push(...complaints(Math.max(1, Math.floor(cube ** uniform())), limit));
    }
    expect(found, "seed 1").toEqual([]);
  });

  test("holds them at the edges", () => {
    const found: string[] = [];
    for (const limit of LIMITS) {
      for (const factor of [1, 2, 3, limit - 1, limit]) {
        for (const edge of [factor, factor * limit, factor * limit ** 2]) {
          for (const groups of [edge - 1, edge, edge + 1]) if (groups >= 1 && groups <= limit ** 3) found.push(...complaints(groups, limit));
        }
      }
    }
    expect(found).toEqual([]);
  });

  test.each(LIMITS)("fills the grid of %i per dimension", (limit) => {
    expect(foldWorkgroups(gridCapacity(limit), limit)).toEqual([limit, limit, limit]);
  });

  test("is frozen", () => {
    expect(Object.isFrozen(foldWorkgroups(5, 16))).toBe(true);
  });
});

test("powers of two around a number", () => {
  for (let n = 1; n <= 5000; n++) {
    let below = 1;
    while (2 * below <= n) below *= 2;
    expect(floorPowerOfTwo(n)).toBe(below);
    expect(ceilPowerOfTwo(n)).toBe(below === n ? n : 2 * below);
  }
  for (let power = 1; power <= 2 ** 32; power *= 2) {
    expect(floorPowerOfTwo(power)).toBe(power);
    expect(ceilPowerOfTwo(power)).toBe(power);
    if (power > 2) expect(floorPowerOfTwo(power - 1)).toBe(power / 2);
    if (power > 2) expect(ceilPowerOfTwo(power - 1)).toBe(power);
  }
});

test("lanes of elementwise kernels obey both limits", () => {
  for (const invocations of [1, 33, 64, 128, 256, 1024]) {
    for (const sizeX of [1, 48, 128, 256]) {
      const lanes = elementwiseLanes({ maxComputeInvocationsPerWorkgroup: invocations, maxComputeWorkgroupSizeX: sizeX });
      expect(lanes).toBeGreaterThanOrEqual(1);
      expect(lanes).toBeLessThanOrEqual(Math.min(invocations, sizeX));
    }
  }
});
