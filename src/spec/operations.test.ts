import { describe, expect, test } from "vitest";
import { random } from "../testing/random.ts";
import { FastRpbError } from "./errors.ts";
import {
  attentionSpec,
  type AttentionOptions,
  biasSpec,
  complexMultiplySpec,
  type FftOptions,
  fftSpec,
  spectrumSpec,
  type ToeplitzOptions,
  toeplitzSpec,
} from "./operations.ts";

/** Options that the types forbid. */
function untyped<T>(options: unknown): T {
  return options as T;
}

/** The error of a call that has to fail. */
function refusal(call: () => unknown): FastRpbError {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(FastRpbError);
    return error as FastRpbError;
  }
  throw new Error("nothing was refused");
}

/** Not a size: neither a positive integer, nor one that a u32 holds. */
const BAD_SIZES = [0, -1, 1.5, Number.NaN, Infinity, 2 ** 32, "4", null, [4], {}, true, 4n];

describe("fft", () => {
  test("the factor goes where numpy puts it", () => {
    // numpy.fft: "backward" scales ifft by 1/n, "forward" fft, "ortho" both by 1/√n.
    const table = [
      ["forward", "backward", 1],
      ["inverse", "backward", 1 / 16],
      ["forward", "ortho", 1 / 4],
      ["inverse", "ortho", 1 / 4],
      ["forward", "forward", 1 / 16],
      ["inverse", "forward", 1],
    ] as const;
    for (const [direction, norm, scale] of table) {
      expect(fftSpec({ shape: [16], direction, norm }).scale, `${direction}, ${norm}`).toBe(scale);
    }
    expect(fftSpec({ shape: [16] })).toMatchObject({ direction: "forward", scale: 1 });
    expect(fftSpec({ shape: [16], direction: "inverse" }).scale).toBe(1 / 16);
    // There and back is the identity, whatever the norm.
    for (const norm of ["backward", "ortho", "forward"] as const) {
      const [there, back] = [fftSpec({ shape: [360], norm }), fftSpec({ shape: [360], direction: "inverse", norm })];
      expect(there.scale * back.scale * 360, norm).toBeCloseTo(1, 14);
    }
    // Only the transformed axis counts.
    expect(fftSpec({ shape: [4, 100, 9], axes: [0], norm: "ortho" }).scale).toBe(0.5);
  });

  test("axes count from both ends", () => {
    const uniform = random(1);
    for (let trial = 0; trial < 200; trial++) {
      const shape = Array.from({ length: 1 + Math.floor(5 * uniform()) }, () => [1, 2, 3, 5, 6, 7, 10][Math.floor(7 * uniform())]!);
      const axis = Math.floor(shape.length * uniform());
      const spec = fftSpec({ shape, axes: [axis] });
      expect(fftSpec({ shape, axes: [axis - shape.length] }), `seed 1, ${shape}`).toEqual(spec);
      expect(spec.length, `seed 1, ${shape}`).toBe(shape[axis]);
      expect(spec.outer * spec.length * spec.inner, `seed 1, ${shape}`).toBe(shape.reduce((product, size) => product * size));
      let inner = 1;
      for (let after = axis + 1; after < shape.length; after++) inner *= shape[after]!;
      expect(spec.inner, `seed 1, ${shape}`).toBe(inner);
    }
  });

  test("the last axis is the default", () => {
    expect(fftSpec({ shape: [3, 4, 5] })).toMatchObject({ outer: 12, length: 5, inner: 1 });
  });

  test.each([11, 13, 22, 1001, 65_537, 2 * 1009])("length %i has a prime factor above 7: unavailable in this version", (length) => {
    expect(refusal(() => fftSpec({ shape: [length] })).code).toBe("unavailable");
    // Another axis may have any length.
    expect(fftSpec({ shape: [length, 4] })).toMatchObject({ outer: length, length: 4 });
  });

  test.each([
    ["kind r2c", { shape: [8], kind: "r2c" }],
    ["kind c2r", { shape: [8], kind: "c2r" }],
    ["two axes", { shape: [8, 8], axes: [0, 1] }],
  ])("%s is unavailable in this version", (_what, options) => {
    expect(refusal(() => fftSpec(untyped<FftOptions>(options))).code).toBe("unavailable");
  });

  test.each<[string, unknown]>([
    ["no options", undefined],
    ["null", null],
    ["an array", [8]],
    ["a number", 8],
    ["no shape", {}],
    ["an empty shape", { shape: [] }],
    ["a shape that is a number", { shape: 8 }],
    ["a typed array", { shape: new Uint32Array([8]) }],
    ["an unknown key", { shape: [8], axis: 0 }],
    ["an unknown kind", { shape: [8], kind: "z2z" }],
    ["an unknown direction", { shape: [8], direction: "backward" }],
    ["an unknown norm", { shape: [8], norm: "inverse" }],
    ["no axes", { shape: [8], axes: [] }],
    ["an axis that is a number", { shape: [8], axes: 0 }],
    ["an axis too far", { shape: [8], axes: [1] }],
    ["an axis too far back", { shape: [8], axes: [-2] }],
    ["half an axis", { shape: [8, 8], axes: [0.5] }],
    ["an axis of another type", { shape: [8], axes: ["0"] }],
    ["two axes, one of them wrong", { shape: [8, 8], axes: [0, 2] }],
    ["too many elements", { shape: [65_536, 65_536] }],
    ...BAD_SIZES.map((size): [string, unknown] => [`the size ${String(size)}`, { shape: [2, size, 2], axes: [0] }]),
  ])("%s is a bad value", (_what, options) => {
    const { code, message } = refusal(() => fftSpec(untyped<FftOptions>(options)));
    expect(code).toBe("value");
    expect(message).toMatch(/^runtime\.fft: /);
  });

  test("the largest shape that a u32 can number is taken", () => {
    expect(fftSpec({ shape: [15, 286_331_153], axes: [0] }).inner).toBe(286_331_153);
  });
});

describe("complexMultiply", () => {
  test("defaults", () => {
    expect(complexMultiplySpec({ shape: [2, 3] })).toEqual({
      operation: "complexMultiply",
      repeats: false,
      shape: [2, 3],
      conjugate: false,
      scale: 1,
    });
    expect(complexMultiplySpec({ shape: [2], conjugate: true, scale: -0.5 })).toMatchObject({ conjugate: true, scale: -0.5 });
    expect(complexMultiplySpec({ shape: [2], scale: 0 }).scale).toBe(0);
  });

  test.each([
    ["conjugate as a number", { shape: [2], conjugate: 1 }],
    ["conjugate as text", { shape: [2], conjugate: "true" }],
    ["scale NaN", { shape: [2], scale: Number.NaN }],
    ["scale ∞", { shape: [2], scale: Infinity }],
    ["scale as text", { shape: [2], scale: "2" }],
    ["a scale that float32 cannot hold", { shape: [2], scale: 1e39 }],
    ["a negative scale that float32 cannot hold", { shape: [2], scale: -Number.MAX_VALUE }],
    ["an unknown key", { shape: [2], conj: true }],
    ["no shape", {}],
    ["no options", undefined],
  ])("%s is a bad value", (_what, options) => {
    expect(refusal(() => complexMultiplySpec(untyped(options))).code).toBe("value");
  });
});

describe("toeplitz", () => {
  const options = { heads: 2, length: 10, channels: 3 };

  test("defaults", () => {
    expect(toeplitzSpec(options)).toEqual({ operation: "toeplitz", batch: 1, ...options });
    expect(toeplitzSpec({ ...options, batch: 4, causal: false })).toEqual({ operation: "toeplitz", batch: 4, ...options });
    expect(toeplitzSpec({ heads: 1, length: 1, channels: 1 }).length).toBe(1);
  });

  test("any length goes, also a prime", () => {
    expect(toeplitzSpec({ ...options, length: 10_007 }).length).toBe(10_007);
  });

  test.each([
    ["causal", { ...options, causal: true }],
    ["a grid", { heads: 2, grid: [4, 4], channels: 3 }],
  ])("%s is unavailable in this version", (_what, asked) => {
    expect(refusal(() => toeplitzSpec(untyped<ToeplitzOptions>(asked))).code).toBe("unavailable");
  });

  test.each<[string, unknown]>([
    ["no options", undefined],
    ["null", null],
    ["causal as a number", { ...options, causal: 1 }],
    ["causal as text", { ...options, causal: "false" }],
    ["an unknown key", { ...options, headDim: 3 }],
    ["too many elements", { batch: 1024, heads: 1024, length: 4096, channels: 1 }],
    ["too many weights", { heads: 2 ** 16, length: 2 ** 15 + 1, channels: 1 }],
    ...["batch", "heads", "length", "channels"].flatMap((key) =>
      BAD_SIZES.filter((size) => !(key === "batch" && size === null)).map((size): [string, unknown] => [
        `${key} ${String(size)}`,
        { ...options, [key]: size },
      ]),
    ),
    ...["heads", "length", "channels"].map((key): [string, unknown] => [`no ${key}`, { ...options, [key]: undefined }]),
  ])("%s is a bad value", (_what, asked) => {
    const { code, message } = refusal(() => toeplitzSpec(untyped<ToeplitzOptions>(asked)));
    expect(code).toBe("value");
    expect(message).toMatch(/^runtime\.toeplitz: /);
  });

  test("a spectrum depends on heads and length alone", () => {
    const expected = { operation: "spectrum", heads: 2, length: 10 };
    expect(spectrumSpec(toeplitzSpec(options))).toEqual(expected);
    expect(spectrumSpec(toeplitzSpec({ ...options, batch: 5, channels: 64 }))).toEqual(expected);
    expect(spectrumSpec(attentionSpec({ heads: 2, length: 10, headDim: 8, featureMap: "sikf", bias: "fastrpb" }))).toEqual(expected);
  });
});

describe("attention", () => {
  const options = { heads: 2, length: 10, headDim: 4, featureMap: "sikf" } as const;

  test("defaults", () => {
    expect(attentionSpec(options)).toEqual({ operation: "attention", batch: 1, ...options, valueDim: 4, bias: "none" });
    expect(attentionSpec({ ...options, valueDim: 7 }).valueDim).toBe(7);
  });

  test("the bias is a Toeplitz product of the values", () => {
    const spec = attentionSpec({ ...options, batch: 3, valueDim: 7, bias: "fastrpb" });
    expect(biasSpec(spec)).toEqual({ operation: "toeplitz", batch: 3, heads: 2, length: 10, channels: 7 });
    expect(Object.isFrozen(biasSpec(spec))).toBe(true);
  });

  test.each([
    ["causal", { ...options, causal: true }],
    ["a grid", { ...options, length: undefined, grid: [4, 4] }],
  ])("%s is unavailable in this version", (_what, asked) => {
    expect(refusal(() => attentionSpec(untyped<AttentionOptions>(asked))).code).toBe("unavailable");
  });

  test.each<[string, unknown]>([
    ["no options", undefined],
    ["no feature map", { ...options, featureMap: undefined }],
    ["an unknown feature map", { ...options, featureMap: "relu" }],
    ["an unknown bias", { ...options, bias: "alibi" }],
    ["bias as a boolean", { ...options, bias: true }],
    ["causal as a number", { ...options, causal: 0 }],
    ["an unknown key", { ...options, channels: 4 }],
    ["too many elements", { ...options, length: 2 ** 20, headDim: 2, valueDim: 2 ** 11 }],
    ["too many weights", { ...options, heads: 2 ** 16, length: 2 ** 15 + 1, headDim: 1, bias: "fastrpb" }],
    ...["heads", "length", "headDim"].flatMap((key) =>
      BAD_SIZES.map((size): [string, unknown] => [`${key} ${String(size)}`, { ...options, [key]: size }]),
    ),
    ...["batch", "valueDim"].flatMap((key) =>
      BAD_SIZES.filter((size) => size !== null).map((size): [string, unknown] => [`${key} ${String(size)}`, { ...options, [key]: size }]),
    ),
  ])("%s is a bad value", (_what, asked) => {
    const { code, message } = refusal(() => attentionSpec(untyped<AttentionOptions>(asked)));
    expect(code).toBe("value");
    expect(message).toMatch(/^runtime\.attention: /);
  });

  test("without bias nobody counts weights", () => {
    expect(attentionSpec({ ...options, heads: 2 ** 16, length: 2 ** 15 + 1, headDim: 1 }).bias).toBe("none");
  });
});

test("specs are frozen copies", () => {
  const shape = [4, 6];
  const fft = fftSpec({ shape });
  const multiply = complexMultiplySpec({ shape });
  shape[0] = 100;
  expect(fft).toMatchObject({ shape: [4, 6], outer: 4 });
  expect(multiply.shape).toEqual([4, 6]);
  for (const frozen of [
    fft,
    fft.shape,
    multiply,
    multiply.shape,
    toeplitzSpec({ heads: 1, length: 2, channels: 1 }),
    spectrumSpec({ heads: 1, length: 2 }),
    attentionSpec({ heads: 1, length: 2, headDim: 1, featureMap: "elu+1" }),
  ]) {
    expect(Object.isFrozen(frozen)).toBe(true);
  }
});

test("a message names function, argument, what was expected, what came, and a remedy where there is one", () => {
  expect(refusal(() => toeplitzSpec({ heads: 1, length: -3, channels: 1 })).message).toBe(
    "runtime.toeplitz: options.length must be an integer from 1 to 4294967295, got -3.",
  );
  expect(refusal(() => fftSpec({ shape: [3, 0] })).message).toContain("options.shape[1]");
  expect(refusal(() => fftSpec({ shape: [22] })).message).toMatch(/runtime\.fft: .*22.*pad/);
});
