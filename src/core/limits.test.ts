import { describe, expect, test } from "vitest";
import { DEFAULT_CHOICES } from "./choices.ts";
import { FastRpbError } from "./errors.ts";
import { capLimits, DEFAULT_LIMITS, LIMIT_NAMES, type LimitName, SLOW_GPU } from "./limits.ts";

type Caps = Partial<Record<LimitName, number>>;

const cap = (caps: Caps) => capLimits("createRuntime", DEFAULT_LIMITS, caps, 1000);

describe("capLimits", () => {
  test("without caps gives the device's limits and the workspace", () => {
    const limits = cap({});
    expect(limits).toEqual({ ...DEFAULT_LIMITS, workspaceBytes: 1000, speed: SLOW_GPU, choices: DEFAULT_CHOICES });
    expect(Object.isFrozen(limits)).toBe(true);
  });

  test.each([...LIMIT_NAMES])("%s: the stricter of cap and device holds", (name) => {
    const stricter = name.startsWith("min") ? 512 : 100;
    const looser = name.startsWith("min") ? 32 : 2 ** 40;
    // A shader stage has few buffers anyway.
    expect(cap({ [name]: stricter })[name]).toBe(Math.min(stricter, name === "maxStorageBuffersPerShaderStage" ? 8 : stricter));
    expect(cap({ [name]: looser })[name]).toBe(DEFAULT_LIMITS[name]);
  });

  test.each([0, -1, 1.5, Number.NaN, Infinity, "64", null])("the cap %s is a bad value", (value) => {
    expect(() => cap({ maxBufferSize: value as number })).toThrow(expect.objectContaining({ name: "FastRpbError", code: "value" }));
  });

  test("an unknown name is a bad value, undefined is none", () => {
    expect(() => cap({ maxBufferSiez: 100 } as Caps)).toThrow(expect.objectContaining({ code: "value" }));
    expect(cap({ maxBufferSize: undefined } as unknown as Caps)).toEqual(cap({}));
  });

  test("an alignment that the device could not follow is refused, or made one that it can", () => {
    let alignment = 0;
    try {
      alignment = cap({ minStorageBufferOffsetAlignment: 300 }).minStorageBufferOffsetAlignment;
    } catch (error) {
      expect(error).toBeInstanceOf(FastRpbError);
    }
    // WebGPU takes offsets that are multiples of the device's alignment only.
    expect(alignment % DEFAULT_LIMITS.minStorageBufferOffsetAlignment).toBe(0);
  });
});
