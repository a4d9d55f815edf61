import { describe, expect, test } from "vitest";
import { constant, inverseSquareRoot, type Schedule, warmupCosine } from "./schedules.ts";

const rates = (schedule: Schedule, ...steps: readonly number[]) => steps.map((step) => schedule.at(step));
const refused = (action: () => unknown, ...mentions: readonly string[]) => {
  let error: unknown;
  try {
    action();
  } catch (caught) {
    error = caught;
  }
  expect(error).toMatchObject({ name: "FastRpbError", code: "value" });
  for (const mention of mentions) expect(String(error)).toContain(mention);
};

test("constant", () => {
  expect(rates(constant(0.1), 1, 2, 1e6)).toEqual([0.1, 0.1, 0.1]);
  expect(constant(0).at(1)).toBe(0);
});

describe("warmupCosine", () => {
  test("rises, falls, stays", () => {
    const schedule = warmupCosine(2, 4, 12, 1);
    expect(rates(schedule, 1, 2, 3, 4)).toEqual([0.5, 1, 1.5, 2]);
    expect(schedule.at(8)).toBeCloseTo(1.5, 15);
    expect(schedule.at(6)).toBeCloseTo(1.5 + Math.SQRT1_2 / 2, 15);
    expect(schedule.at(10)).toBeCloseTo(1.5 - Math.SQRT1_2 / 2, 15);
    expect(rates(schedule, 12, 13, 1e9)).toEqual([1, 1, 1]);
  });

  test("without a warm-up, and to zero", () => {
    const schedule = warmupCosine(1, 0, 2);
    expect(schedule.at(1)).toBeCloseTo(0.5, 15);
    expect(schedule.at(2)).toBe(0);
  });
});

test("inverseSquareRoot is that of Vaswani et al. 2017", () => {
  const [width, warmup] = [512, 4000];
  const schedule = inverseSquareRoot((width * warmup) ** -0.5, warmup);
  for (const step of [1, 2, 1000, 3999, 4000, 4001, 100_000]) {
    const theirs = width ** -0.5 * Math.min(step ** -0.5, step * warmup ** -1.5);
    expect(schedule.at(step) / theirs).toBeCloseTo(1, 14);
  }
});

test("schedules are frozen, and named as what made them", () => {
  for (const make of [constant, warmupCosine, inverseSquareRoot] as ((...values: number[]) => Schedule)[]) {
    const schedule = make(1, 2, 3);
    expect(Object.isFrozen(schedule)).toBe(true);
    expect(schedule.name).toBe(make.name);
  }
});

test("arguments are checked", () => {
  for (const rate of [-1, NaN, Infinity, 1e39, "1" as unknown as number, undefined as unknown as number]) {
    refused(() => constant(rate), "constant: rate");
    refused(() => warmupCosine(rate, 1, 2), "warmupCosine: peak");
    refused(() => inverseSquareRoot(rate, 1), "inverseSquareRoot: peak");
  }
  for (const floor of [-1, NaN, 1.5]) refused(() => warmupCosine(1, 1, 2, floor), "warmupCosine: floor");
  for (const steps of [-1, 0.5, NaN, 2 ** 32]) {
    refused(() => warmupCosine(1, steps, 10), "warmupCosine: warmupSteps");
    refused(() => warmupCosine(1, 1, steps), "warmupCosine: totalSteps");
    refused(() => inverseSquareRoot(1, steps), "inverseSquareRoot: warmupSteps");
  }
  refused(() => warmupCosine(1, 5, 5), "totalSteps", "from 6", "got 5");
  refused(() => inverseSquareRoot(1, 0), "warmupSteps");
  for (const step of [0, -1, 1.5, NaN]) refused(() => constant(1).at(step), "constant().at: step");
});
