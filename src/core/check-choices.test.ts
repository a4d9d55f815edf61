import { describe, expect, test } from "vitest";
import { checkChoices } from "./check-choices.ts";
import { type Choices, DEFAULT_CHOICES } from "./choices.ts";
import { FastRpbError } from "./errors.ts";

describe("choices of the planner", () => {
  test("are taken as they are, as a frozen copy", () => {
    const choices: Choices = { maxRadix: 4, registers: 1024, lanes: 1, columns: 1, exchange: "whole", roots: "full" };
    const checked = checkChoices("runtime.test", "options.choices", choices);
    expect(checked).toEqual(choices);
    expect(checked).not.toBe(choices);
    expect(Object.isFrozen(checked)).toBe(true);
    expect(checkChoices("runtime.test", "options.choices", DEFAULT_CHOICES)).toEqual(DEFAULT_CHOICES);
    expect(Object.isFrozen(DEFAULT_CHOICES)).toBe(true);
  });

  test("from before there was one of roots have split ones", () => {
    const { roots: _, ...rest } = { ...DEFAULT_CHOICES, lanes: 64 };
    expect(checkChoices("runtime.test", "options.choices", rest)).toEqual({ ...rest, roots: "split" });
  });

  test.each<[string, unknown, string]>([
    ["none", undefined, "options.choices "],
    ["an array", [], "options.choices "],
    ["an unknown key", { ...DEFAULT_CHOICES, radix: 4 }, '"radix"'],
    ["radix 2", { ...DEFAULT_CHOICES, maxRadix: 2 }, "options.choices.maxRadix"],
    ["radix 32", { ...DEFAULT_CHOICES, maxRadix: 32 }, "options.choices.maxRadix"],
    ["no registers", { ...DEFAULT_CHOICES, registers: 0 }, "options.choices.registers"],
    ["half a register", { ...DEFAULT_CHOICES, registers: 1.5 }, "options.choices.registers"],
    ["lanes that are none", { ...DEFAULT_CHOICES, lanes: Number.NaN }, "options.choices.lanes"],
    ["too many lanes", { ...DEFAULT_CHOICES, lanes: 1025 }, "options.choices.lanes"],
    ["lanes left out", { maxRadix: 4, registers: 4, exchange: "auto" }, "options.choices.lanes"],
    ["unknown roots", { ...DEFAULT_CHOICES, roots: "none" }, "options.choices.roots"],
    ["an unknown exchange", { ...DEFAULT_CHOICES, exchange: "both" }, "options.choices.exchange"],
  ])("%s: a bad value", (_what, value, mention) => {
    let error: unknown;
    try {
      checkChoices("runtime.test", "options.choices", value);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(FastRpbError);
    expect((error as FastRpbError).code).toBe("value");
    expect((error as FastRpbError).message).toMatch(/^runtime\.test: options\.choices/);
    expect((error as FastRpbError).message).toContain(mention);
  });
});
