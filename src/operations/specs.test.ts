import { describe, expect, test } from "vitest";
import { random } from "../testing/random.ts";
import { axisLayout } from "../core/axes.ts";
import { FastRpbError } from "../core/errors.ts";
import {
  attentionGradientSpec,
  attentionSpec,
  type AttentionOptions,
  biasSpec,
  complexMultiplySpec,
  type ConvolveMode,
  type ConvolveOptions,
  convolveSpec,
  type FftOptions,
  fftSpec,
  inPlaceSpec,
  kernelSpectrumSpec,
  spectrumSpec,
  type ToeplitzOptions,
  toeplitzSpec,
  weightsShape,
} from "../testing/specs.ts";

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

/** A call that has to be refused with code "value", in the words of every refusal, about this argument. */
function expectRefusal(call: () => unknown, caller: string, argument: string, got?: unknown): void {
  const { code, message } = refusal(call);
  expect(code, message).toBe("value");
  const [, function_, about] = /^(runtime\.\w+): (.+?) must be .+, got .+\.( .+)?$/.exec(message) ?? [];
  expect(function_, message).toBe(caller);
  expect(about, message).toBe(argument);
  if (got !== undefined) expect(message).toContain(`got ${String(got)}`);
}

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
      expect(fftSpec({ shape: [2, 3, 8], axes: [0, 2], direction, norm }).scale, `${direction}, ${norm}`).toBe(scale);
      const kind = direction === "forward" ? "r2c" : "c2r";
      // n is the logical number of points, not that of the halved side.
      expect(fftSpec({ shape: [4, 4], axes: [1, 0], kind, norm }).scale, `${kind}, ${norm}`).toBe(scale);
    }
    expect(fftSpec({ shape: [16] })).toMatchObject({ direction: "forward", scale: 1 });
    expect(fftSpec({ shape: [16], direction: "inverse" }).scale).toBe(1 / 16);
    // There and back is the identity, whatever the norm.
    for (const norm of ["backward", "ortho", "forward"] as const) {
      const [there, back] = [fftSpec({ shape: [360], norm }), fftSpec({ shape: [360], direction: "inverse", norm })];
      expect(there.scale * back.scale * 360, norm).toBeCloseTo(1, 14);
    }
    // Only the transformed axes count.
    expect(fftSpec({ shape: [4, 100, 9], axes: [0], norm: "ortho" }).scale).toBe(0.5);
  });

  test("axes count from both ends, in the caller's order", () => {
    const uniform = random(1);
    for (let trial = 0; trial < 200; trial++) {
      const shape = Array.from({ length: 1 + Math.floor(5 * uniform()) }, () => [1, 2, 3, 5, 6, 7, 10, 11, 17][Math.floor(9 * uniform())]!);
      const axes = shape.map((_, axis) => axis).sort(() => uniform() - 0.5);
      const chosen = axes.slice(0, Math.ceil(3 * uniform()));
      const spec = fftSpec({ shape, axes: chosen });
      const mixed = chosen.map((axis) => (uniform() < 0.5 ? axis : axis - shape.length));
      expect(fftSpec({ shape, axes: mixed }), `seed 1, ${shape}, axes ${mixed}`).toEqual(spec);
      expect(spec.axes, `seed 1, ${shape}`).toEqual(chosen);
    }
    expect(fftSpec({ shape: [3, 4, 5] }).axes).toEqual([2]);
  });

  test.each<[FftOptions["kind"], number[], number[], number[], number[]]>([
    ["c2c", [4, 6], [0, 1], [4, 6], [4, 6]],
    ["r2c", [4, 6], [0, 1], [4, 6], [4, 4]],
    ["r2c", [4, 7], [1], [4, 7], [4, 4]],
    ["r2c", [4, 6], [1, 0], [4, 6], [3, 6]],
    ["r2c", [1, 1], [0], [1, 1], [1, 1]],
    ["c2r", [4, 6], [0, 1], [4, 4], [4, 6]],
    ["c2r", [5, 6, 7], [2, 0], [3, 6, 7], [5, 6, 7]],
    ["c2r", [2], [0], [2], [2]],
  ])("%s of %j along %j: %j to %j", (kind, shape, axes, inputShape, outputShape) => {
    const spec = fftSpec({ shape, axes, kind: kind! });
    expect(spec).toMatchObject({ kind, shape, axes, inputShape, outputShape, direction: kind === "c2r" ? "inverse" : "forward", inPlace: false });
  });

  test("in place is the same, but for that", () => {
    const spec = fftSpec({ shape: [3, 4] });
    expect(inPlaceSpec(spec)).toEqual({ ...spec, inPlace: true });
    expect(Object.isFrozen(inPlaceSpec(spec))).toBe(true);
  });

  test.each([11, 13, 22, 1001, 65_537, 2 * 1009, 4_294_967_295])("length %i: any length goes", (length) => {
    expect(fftSpec({ shape: [length] }).shape).toEqual([length]);
  });

  test.each<[string, unknown, string, unknown?]>([
    ["no options", undefined, "options", "undefined"],
    ["null", null, "options", "null"],
    ["an array", [8], "options", "[8]"],
    ["a number", 8, "options", 8],
    ["no shape", {}, "options.shape", "undefined"],
    ["an empty shape", { shape: [] }, "options.shape", "[]"],
    ["a shape that is a number", { shape: 8 }, "options.shape", 8],
    ["a typed array", { shape: new Uint32Array([8]) }, "options.shape", "a Uint32Array"],
    ["an unknown key", { shape: [8], axis: 0 }, "options", '"axis"'],
    ["an unknown kind", { shape: [8], kind: "z2z" }, "options.kind", '"z2z"'],
    ["an unknown direction", { shape: [8], direction: "backward" }, "options.direction", '"backward"'],
    ["a direction that is a number", { shape: [8], direction: -1 }, "options.direction", -1],
    ["c2r forward", { shape: [8], kind: "c2r", direction: "forward" }, "options.direction", '"forward"'],
    ["r2c inverse", { shape: [8], kind: "r2c", direction: "inverse" }, "options.direction", '"inverse"'],
    ["an unknown norm", { shape: [8], norm: "inverse" }, "options.norm", '"inverse"'],
    ["no axes", { shape: [8], axes: [] }, "options.axes", "[]"],
    ["an axis that is a number", { shape: [8], axes: 0 }, "options.axes", 0],
    ["an axis too far", { shape: [8], axes: [1] }, "options.axes", "[1]"],
    ["an axis too far back", { shape: [8], axes: [-2] }, "options.axes", "[-2]"],
    ["half an axis", { shape: [8, 8], axes: [0.5] }, "options.axes", "[0.5]"],
    ["an axis that is none", { shape: [8, 8], axes: [Number.NaN] }, "options.axes", "[NaN]"],
    ["an axis of another type", { shape: [8], axes: ["0"] }, "options.axes", '["0"]'],
    ["two axes, one of them wrong", { shape: [8, 8], axes: [0, 2] }, "options.axes", "[0, 2]"],
    ["an axis twice", { shape: [8, 8], axes: [1, 1] }, "options.axes", "[1, 1]"],
    ["an axis twice, from both ends", { shape: [8, 8], axes: [1, -1] }, "options.axes", "[1, -1]"],
    ["four axes", { shape: [2, 2, 2, 2], axes: [0, 1, 2, 3] }, "options.axes", "[0, 1, 2, 3]"],
    ["too many elements", { shape: [65_536, 65_536] }, "options.shape", 2 ** 32],
    // A last axis of one point has one point of its half, and one of two has two: never more elements than the real side.
    ...BAD_SIZES.map((size): [string, unknown, string] => [`the size ${String(size)}`, { shape: [2, size, 2], axes: [0] }, "options.shape[1]"]),
  ])("%s is a bad value", (_what, options, argument, got) => {
    expectRefusal(() => fftSpec(untyped<FftOptions>(options)), "runtime.fft", argument, got);
  });

  test("a message says what was expected", () => {
    expect(refusal(() => fftSpec({ shape: [4, 8], axes: [2] })).message).toContain("1 to 3 different integers from -2 to 1");
    expect(refusal(() => fftSpec({ shape: [4], kind: "c2r", direction: "forward" })).message).toContain('"inverse", because kind is "c2r"');
    expect(refusal(() => fftSpec({ shape: [3, 0] })).message).toContain("options.shape[1] must be an integer from 1 to 4294967295, got 0");
  });

  test("the largest shape that a u32 can number is taken", () => {
    expect(axisLayout(fftSpec({ shape: [15, 286_331_153], axes: [0] }).shape, 0)).toEqual({ outer: 1, length: 15, inner: 286_331_153 });
  });
});

describe("an axis of a shape", () => {
  test("has sizes before and after it", () => {
    expect(axisLayout([7], 0)).toEqual({ outer: 1, length: 7, inner: 1 });
    expect(axisLayout([2, 3, 5, 7], 0)).toEqual({ outer: 1, length: 2, inner: 105 });
    expect(axisLayout([2, 3, 5, 7], 2)).toEqual({ outer: 6, length: 5, inner: 7 });
    expect(axisLayout([2, 3, 5, 7], 3)).toEqual({ outer: 30, length: 7, inner: 1 });
  });
});

describe("convolve", () => {
  const MODES = ["circular", "full", "same", "valid", "causal"] as const;

  test("defaults: one axis, the last, in full, real", () => {
    expect(convolveSpec({ shape: [3, 10], kernel: [4] })).toEqual({
      operation: "convolve",
      dtype: "f32",
      mode: "full",
      shape: [3, 10],
      kernelShape: [4],
      outputShape: [3, 13],
      repeats: 3,
      kernels: 1,
      axes: [{ length: 10, kernel: 4, offset: 0, output: 13, period: 13 }],
      inner: 1,
    });
  });

  test.each<[ConvolveMode, number, number, number, number]>([
    // mode, N, K, first wanted value, number of values: scipy.signal.convolve has the same, "causal" is the beginning of "full".
    ["circular", 10, 4, 0, 10],
    ["full", 10, 4, 0, 13],
    ["same", 10, 4, 1, 10],
    ["same", 10, 5, 2, 10],
    ["same", 10, 1, 0, 10],
    ["same", 4, 9, 4, 4],
    ["valid", 10, 4, 3, 7],
    ["valid", 10, 10, 9, 1],
    ["causal", 10, 4, 0, 10],
    ["causal", 4, 10, 0, 4],
    ["full", 1, 1, 0, 1],
  ])("%s of %i and %i: from %i on, %i values", (mode, length, kernel, offset, output) => {
    const spec = convolveSpec({ shape: [length], kernel: [kernel], mode });
    expect(spec.axes[0]).toMatchObject({ length, kernel, offset, output });
    expect(spec.outputShape).toEqual([output]);
  });

  test("nothing wanted wraps around within the period, and with one point less something would", () => {
    for (let length = 1; length <= 12; length++) {
      for (let kernel = 1; kernel <= 12; kernel++) {
        for (const mode of MODES.filter((name) => name !== "circular" && (name !== "valid" || kernel <= length))) {
          const { offset, output, period } = convolveSpec({ shape: [length], kernel: [kernel], mode }).axes[0]!;
          const full = length + kernel - 1;
          const clean = (size: number) => {
            // Both must be there as a whole, and what wraps must not meet what is wanted.
            if (size < length || size < kernel || size < offset + output) return false;
            for (let n = size; n < full; n++) if (n - size >= offset && n - size < offset + output) return false;
            return true;
          };
          const what = `${mode}, ${length} and ${kernel}`;
          expect(clean(period), what).toBe(true);
          expect(clean(period - 1), what).toBe(false);
        }
      }
    }
  });

  test("where the kernel's own axes, x's others and the inner ones go", () => {
    const layout = (options: ConvolveOptions) => {
      const { repeats, kernels, axes, inner, outputShape } = convolveSpec(options);
      return { repeats, kernels, axes: axes.map(({ length, kernel }) => [length, kernel]), inner, outputShape };
    };
    expect(layout({ shape: [2, 3, 8, 5], kernel: [4], axes: [2], mode: "same" })).toEqual({
      repeats: 6,
      kernels: 1,
      axes: [[8, 4]],
      inner: 5,
      outputShape: [2, 3, 8, 5],
    });
    expect(layout({ shape: [2, 3, 8, 5], kernel: [3, 4], axes: [-2] })).toEqual({
      repeats: 2,
      kernels: 3,
      axes: [[8, 4]],
      inner: 5,
      outputShape: [2, 3, 11, 5],
    });
    expect(layout({ shape: [2, 3, 8, 5], kernel: [2, 3, 4, 2], axes: [2, 3], mode: "valid" })).toEqual({
      repeats: 1,
      kernels: 6,
      axes: [
        [8, 4],
        [5, 2],
      ],
      inner: 1,
      outputShape: [2, 3, 5, 4],
    });
    expect(layout({ shape: [8, 5, 7], kernel: [8, 5], axes: [0, 1], mode: "circular" })).toMatchObject({ repeats: 1, kernels: 1, inner: 7 });
  });

  test("a spectrum depends on kernel, sizes, dtype and whether it is circular, not on the rest", () => {
    const options: ConvolveOptions = { shape: [6, 4, 10], kernel: [4, 3], mode: "same" };
    const spectrum = kernelSpectrumSpec(convolveSpec(options));
    expect(spectrum).toMatchObject({ operation: "kernelSpectrum", dtype: "f32", circular: false, kernels: 4 });
    expect(Object.isFrozen(spectrum)).toBe(true);
    expect(kernelSpectrumSpec(convolveSpec({ ...options, shape: [1, 4, 10] }))).toEqual(spectrum);
    expect(kernelSpectrumSpec(convolveSpec({ ...options, shape: [4, 10, 9], axes: [1] }))).toEqual(spectrum);
    for (const other of [
      { mode: "circular" as const },
      { dtype: "complex64" as const },
      { kernel: [3] },
      { kernel: [4, 4] },
      { shape: [6, 4, 11] },
    ]) {
      expect(kernelSpectrumSpec(convolveSpec({ ...options, ...other })), JSON.stringify(other)).not.toEqual(spectrum);
    }
  });

  test.each<[string, unknown, string, unknown?]>([
    ["no options", undefined, "options", "undefined"],
    ["no kernel", { shape: [8] }, "options.kernel", "undefined"],
    ["an empty kernel", { shape: [8], kernel: [] }, "options.kernel", "[]"],
    ["a kernel that is a number", { shape: [8], kernel: 3 }, "options.kernel", 3],
    ["an unknown key", { shape: [8], kernel: [3], padding: "same" }, "options", '"padding"'],
    ["an unknown mode", { shape: [8], kernel: [3], mode: "reflect" }, "options.mode", '"reflect"'],
    ["an unknown dtype", { shape: [8], kernel: [3], dtype: "f16" }, "options.dtype", '"f16"'],
    ["no axes", { shape: [8], kernel: [3], axes: [] }, "options.axes", "[]"],
    ["three axes", { shape: [8, 8, 8], kernel: [3, 3, 3], axes: [0, 1, 2] }, "options.axes", "[0, 1, 2]"],
    ["an axis too far", { shape: [8], kernel: [3], axes: [1] }, "options.axes", "[1]"],
    ["an axis twice", { shape: [8, 8], kernel: [3, 3], axes: [1, 1] }, "options.axes", "[1, 1]"],
    ["axes that are no neighbours", { shape: [8, 8, 8], kernel: [3, 3], axes: [0, 2] }, "options.axes", "[0, 2]"],
    ["axes in descending order", { shape: [8, 8], kernel: [3, 3], axes: [1, 0] }, "options.axes", "[1, 0]"],
    ["a kernel of too few axes", { shape: [8, 8], kernel: [3], axes: [0, 1] }, "options.kernel", "[3]"],
    ["a kernel of too many axes", { shape: [8], kernel: [2, 3] }, "options.kernel", "[2, 3]"],
    ["a kernel of other leading sizes", { shape: [2, 4, 8], kernel: [2, 3] }, "options.kernel", "[2, 3]"],
    ["a kernel with the first of the leading sizes only", { shape: [2, 4, 8], kernel: [2, 4, 3, 1] }, "options.kernel", "[2, 4, 3, 1]"],
    ["a circular kernel longer than x", { shape: [8], kernel: [9], mode: "circular" }, "options.kernel", 9],
    ["a valid kernel longer than x", { shape: [8], kernel: [9], mode: "valid" }, "options.kernel", 9],
    ["a valid kernel longer than x along the second axis", { shape: [8, 8], kernel: [3, 10], axes: [0, 1], mode: "valid" }, "options.kernel", 10],
    ["a result of too many elements", { shape: [65_535, 65_536], kernel: [2 ** 20], mode: "full" }, "the result"],
    ...BAD_SIZES.map((size): [string, unknown, string] => [`the size ${String(size)}`, { shape: [2, size], kernel: [1] }, "options.shape[1]"]),
    ...BAD_SIZES.map((size): [string, unknown, string] => [`the kernel size ${String(size)}`, { shape: [2], kernel: [size] }, "options.kernel[0]"]),
  ])("%s is a bad value", (_what, options, argument, got) => {
    expectRefusal(() => convolveSpec(untyped<ConvolveOptions>(options)), "runtime.convolve", argument, got);
  });

  test("a message says which kernels would do", () => {
    expect(refusal(() => convolveSpec({ shape: [2, 4, 8], kernel: [5, 3] })).message).toBe(
      "runtime.convolve: options.kernel must be [K], after at most 2 leading sizes equal to the last of [2, 4], got [5, 3].",
    );
    expect(refusal(() => convolveSpec({ shape: [8, 8], kernel: [3], axes: [0, 1] })).message).toContain("[K0, K1]");
    expect(refusal(() => convolveSpec({ shape: [8], kernel: [9], mode: "valid" })).message).toContain('at most 8 points in mode "valid"');
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
  const grid = { heads: 2, grid: [4, 5], channels: 3 } as const;

  test("defaults", () => {
    const expected = { operation: "toeplitz", batch: 1, variableLengths: false, storage: "f32", ...options, grid: undefined, causal: false };
    expect(toeplitzSpec(options)).toEqual(expected);
    expect(toeplitzSpec({ ...options, batch: 4, causal: false })).toEqual({ ...expected, batch: 4 });
    expect(toeplitzSpec({ ...options, causal: true })).toEqual({ ...expected, causal: true });
    expect(toeplitzSpec({ heads: 1, length: 1, channels: 1 }).length).toBe(1);
  });

  test("a grid has as many tokens as cells", () => {
    expect(toeplitzSpec(grid)).toEqual({ ...toeplitzSpec(options), length: 20, grid: [4, 5] });
    expect(Object.isFrozen(toeplitzSpec(grid).grid)).toBe(true);
  });

  test("any length goes, also a prime", () => {
    expect(toeplitzSpec({ ...options, length: 10_007 }).length).toBe(10_007);
  });

  test("weights have one value for each offset", () => {
    expect(weightsShape(toeplitzSpec(options))).toEqual([2, 19]);
    expect(weightsShape(toeplitzSpec(grid))).toEqual([2, 7, 9]);
  });

  test.each<[string, unknown, string, unknown?]>([
    ["no options", undefined, "options", "undefined"],
    ["null", null, "options", "null"],
    ["causal as a number", { ...options, causal: 1 }, "options.causal", 1],
    ["causal as text", { ...options, causal: "false" }, "options.causal", '"false"'],
    ["an unknown key", { ...options, headDim: 3 }, "options", '"headDim"'],
    ["a grid of one size", { ...grid, grid: [4] }, "options.grid", "[4]"],
    ["a grid of three sizes", { ...grid, grid: [4, 4, 4] }, "options.grid", "[4, 4, 4]"],
    ["a grid that is a number", { ...grid, grid: 4 }, "options.grid", 4],
    ["a grid that is an object", { ...grid, grid: { height: 4, width: 4 } }, "options.grid", "an object"],
    ["a grid that is null", { ...grid, grid: null }, "options.grid", "null"],
    ["a causal grid", { ...grid, causal: true }, "options.causal", "true"],
    ["a grid and a length", { ...grid, length: 20 }, "options.length", 20],
    ["a grid with too many cells", { ...grid, grid: [2 ** 17, 2 ** 17] }, "options.grid", 2 ** 34],
    ["too many elements", { batch: 1024, heads: 1024, length: 4096, channels: 1 }, "batch × heads × tokens × channels", 2 ** 32],
    ["too many weights", { heads: 2 ** 16, length: 2 ** 15 + 1, channels: 1 }, "the weights"],
    ["too many weights of a grid", { heads: 2 ** 10, grid: [2 ** 10, 2 ** 10 + 2], channels: 1 }, "the weights"],
    ...BAD_SIZES.flatMap((size): [string, unknown, string][] => [
      [`height ${String(size)}`, { ...grid, grid: [size, 4] }, "options.grid[0]"],
      [`width ${String(size)}`, { ...grid, grid: [4, size] }, "options.grid[1]"],
    ]),
    ...["batch", "heads", "length", "channels"].flatMap((key) =>
      BAD_SIZES.filter((size) => !(key === "batch" && size === null)).map((size): [string, unknown, string] => [
        `${key} ${String(size)}`,
        { ...options, [key]: size },
        `options.${key}`,
      ]),
    ),
    ...["heads", "length", "channels"].map((key): [string, unknown, string] => [`no ${key}`, { ...options, [key]: undefined }, `options.${key}`]),
  ])("%s is a bad value", (_what, asked, argument, got) => {
    expectRefusal(() => toeplitzSpec(untyped<ToeplitzOptions>(asked)), "runtime.toeplitz", argument, got);
  });

  test("a spectrum depends on heads and positions alone", () => {
    const expected = { operation: "spectrum", heads: 2, length: 10, grid: undefined, causal: false, exponential: false };
    expect(spectrumSpec(toeplitzSpec(options))).toEqual(expected);
    expect(spectrumSpec(toeplitzSpec({ ...options, batch: 5, channels: 64 }))).toEqual(expected);
    expect(spectrumSpec(toeplitzSpec({ ...options, causal: true }))).toEqual({ ...expected, causal: true });
    expect(spectrumSpec(toeplitzSpec(grid))).toEqual({ ...expected, length: 20, grid: [4, 5] });
    expect(spectrumSpec(attentionSpec({ heads: 2, length: 10, headDim: 8, featureMap: "sikf", bias: "fastrpb" }))).toEqual(expected);
    const multiplicative = attentionSpec({ heads: 2, length: 10, headDim: 8, featureMap: "sikf", bias: "multiplicative", causal: true });
    expect(spectrumSpec(multiplicative)).toEqual({ ...expected, causal: true, exponential: true });
  });
});

describe("attention", () => {
  const options = { heads: 2, length: 10, headDim: 4, featureMap: "sikf" } as const;
  const favor = { ...options, featureMap: "favor+" } as const;
  const dpfp = { ...options, featureMap: "dpfp" } as const;
  const softmax = { heads: 2, length: 10, headDim: 4, kind: "softmax" } as const;
  const grid = { heads: 2, grid: [4, 5], headDim: 4, featureMap: "sikf" } as const;

  test("defaults", () => {
    expect(attentionSpec(options)).toEqual({
      operation: "attention",
      batch: 1,
      heads: 2,
      length: 10,
      grid: undefined,
      causal: false,
      headDim: 4,
      valueDim: 4,
      kind: "linear",
      featureMap: "sikf",
      features: 4,
      seed: 0,
      scale: 1,
      bias: "none",
      variableLengths: false,
      keyMask: false,
      layout: "bhnd",
      storage: "f32",
    });
    expect(attentionSpec({ ...options, valueDim: 7 }).valueDim).toBe(7);
    expect(attentionSpec({ ...options, kind: "linear" })).toEqual(attentionSpec(options));
    expect(attentionSpec(softmax)).toMatchObject({ kind: "softmax", featureMap: undefined, features: 4, scale: 0.5 });
    expect(attentionSpec(grid)).toMatchObject({ length: 20, grid: [4, 5], causal: false });
    expect(attentionSpec({ ...options, causal: true, variableLengths: true })).toMatchObject({ causal: true, variableLengths: true });
  });

  test.each(["sikf", "elu+1", "relu", "softmax", "favor+", "dpfp"] as const)(
    "the feature map %s goes with causal, a bias and lengths",
    (featureMap) => {
      const asked = { ...options, featureMap, causal: true, bias: "fastrpb", variableLengths: true } as const;
      expect(attentionSpec(asked)).toMatchObject(asked);
    },
  );

  test("random features: ⌈D ln D⌉ of them and seed 0 by default, but not fewer than D", () => {
    expect(attentionSpec(favor)).toMatchObject({ features: 6, seed: 0, scale: 0.5 });
    expect(attentionSpec({ ...favor, headDim: 2 }).features).toBe(2);
    expect(attentionSpec({ ...favor, headDim: 1 }).features).toBe(1);
    expect(attentionSpec({ ...favor, headDim: 64 }).features).toBe(267);
    expect(attentionSpec({ ...favor, randomFeatures: { count: 3 } })).toMatchObject({ features: 3, seed: 0 });
    expect(attentionSpec({ ...favor, randomFeatures: { seed: 2 ** 32 - 1 } })).toMatchObject({ features: 6, seed: 2 ** 32 - 1 });
  });

  test("a bias in the logits is for softmax attention, and not for lengths and a mask at once", () => {
    expect(attentionSpec({ ...softmax, bias: "logits" }).bias).toBe("logits");
    for (const [given, why] of [
      [{ ...options, bias: "logits" }, 'kind: "linear"'],
      [{ ...softmax, bias: "logits", keyMask: true, variableLengths: true }, "keyMask and variableLengths at once"],
    ] as const) {
      const { code, message } = refusal(() => attentionSpec(given));
      expect([code, message]).toEqual(["unavailable", expect.stringContaining(`options.bias = "logits" does not go with ${why}`)]);
    }
  });

  test("cross-attention has weights of the offsets between queries and keys", () => {
    const cross = { ...options, keyLength: 4, bias: "fastrpb" } as const;
    expect(weightsShape(attentionSpec(cross))).toEqual([2, 13]);
    expect(weightsShape(attentionSpec({ ...softmax, keyLength: 4, bias: "logits" }))).toEqual([2, 13]);
    expect(weightsShape(attentionSpec({ ...cross, biasForm: "symmetric" }))).toEqual([2, 10]);
    expect(weightsShape(attentionSpec({ ...cross, keyLength: 30, biasForm: "symmetric" }))).toEqual([2, 30]);
    expect(attentionSpec({ ...options, keyLength: 10, keyHeads: 2 })).toEqual(attentionSpec(options));
    expect(attentionSpec({ ...options, causal: true, keyLength: 10, keyHeads: 1 })).toMatchObject({ causal: true, keyHeads: 1 });
  });

  test("a window of all tokens is none", () => {
    expect([1, 9, 10, 2 ** 31].map((window) => attentionSpec({ ...softmax, window }).window)).toEqual([1, 9, undefined, undefined]);
  });

  test("DPFP: 2Dν features, ν = 1 by default", () => {
    expect(attentionSpec(dpfp)).toMatchObject({ features: 8, seed: 0, scale: 1 });
    expect(attentionSpec({ ...dpfp, nu: 7 }).features).toBe(56);
    expect(attentionSpec({ ...dpfp, headDim: 1 }).features).toBe(2);
  });

  test("a scale is a float32, by default 1/√D", () => {
    expect(attentionSpec({ ...softmax, headDim: 3 }).scale).toBe(Math.fround(1 / Math.sqrt(3)));
    expect(attentionSpec({ ...softmax, scale: 0.1 }).scale).toBe(Math.fround(0.1));
    expect(attentionSpec({ ...favor, scale: 0.1 }).scale).toBe(Math.fround(0.1));
  });

  test("the bias is a Toeplitz product of the values", () => {
    const spec = attentionSpec({ ...options, batch: 3, valueDim: 7, bias: "fastrpb" });
    expect(biasSpec(spec)).toEqual(toeplitzSpec({ batch: 3, heads: 2, length: 10, channels: 7 }));
    expect(Object.isFrozen(biasSpec(spec))).toBe(true);
    const ragged = attentionSpec({ ...options, bias: "fastrpb", causal: true, variableLengths: true });
    expect(biasSpec(ragged)).toEqual({ ...toeplitzSpec({ heads: 2, length: 10, channels: 4, causal: true }), variableLengths: true });
    expect(biasSpec(attentionSpec({ ...grid, bias: "fastrpb" }))).toEqual(toeplitzSpec({ heads: 2, grid: [4, 5], channels: 4 }));
  });

  test("a gradient has the shape of its attention", () => {
    const spec = attentionSpec({ ...favor, bias: "fastrpb", causal: true });
    expect(attentionGradientSpec(spec)).toEqual({ ...spec, operation: "attentionGradient" });
    expect(Object.isFrozen(attentionGradientSpec(spec))).toBe(true);
  });

  test.each([
    ["softmax features", { ...options, featureMap: "softmax" }],
    ["softmax attention", softmax],
  ])("a multiplicative bias of %s is unavailable, and the message says what to do", (_what, asked) => {
    const { code, message } = refusal(() => attentionSpec(untyped<AttentionOptions>({ ...asked, bias: "multiplicative" })));
    expect(code).toBe("unavailable");
    expect(message).toMatch(/^runtime\.attention: options\.bias = "multiplicative" does not go with .*"softmax"; use "fastrpb"/);
  });

  test.each<[string, unknown, string, unknown?]>([
    ["no options", undefined, "options"],
    ["an unknown key", { ...options, channels: 4 }, "options", '"channels"'],
    ["no feature map", { ...options, featureMap: undefined }, "options.featureMap"],
    ["an unknown feature map", { ...options, featureMap: "cosine" }, "options.featureMap", '"cosine"'],
    ["a feature map of softmax attention", { ...softmax, featureMap: "sikf" }, "options.featureMap", '"sikf"'],
    ["an unknown kind", { ...options, kind: "quadratic" }, "options.kind", '"quadratic"'],
    ["an unknown bias", { ...options, bias: "alibi" }, "options.bias", '"alibi"'],
    ["bias as a boolean", { ...options, bias: true }, "options.bias", true],
    ["causal as a number", { ...options, causal: 0 }, "options.causal", 0],
    ["a mask as bytes", { ...options, keyMask: new Uint8Array(10) }, "options.keyMask"],
    ...BAD_SIZES.map((size): [string, unknown, string] => [`${String(size)} keys`, { ...options, keyLength: size }, "options.keyLength"]),
    ["other keys of a grid", { ...grid, keyLength: 4 }, "options.keyLength", 4],
    ["other keys of a causal sequence", { ...options, causal: true, keyLength: 4 }, "options.keyLength", 4],
    ["other keys in a window", { ...softmax, window: 3, keyLength: 4 }, "options.keyLength", 4],
    ["other keys with lengths", { ...options, variableLengths: true, keyLength: 4 }, "options.keyLength", 4],
    ["other keys with tokens outside", { ...options, bias: "fastrpb", outside: { first: 1 }, keyLength: 4 }, "options.keyLength", 4],
    ["other keys with weights of more", { ...options, bias: "fastrpb", biasLength: 40, keyLength: 4 }, "options.keyLength", 4],
    ["other keys with a multiplicative bias", { ...options, bias: "multiplicative", keyLength: 4 }, "options.keyLength", 4],
    ["heads of keys that do not divide those of queries", { ...options, heads: 6, keyHeads: 4 }, "options.keyHeads", 4],
    ["more heads of keys than of queries", { ...options, keyHeads: 4 }, "options.keyHeads", 4],
    ["variable lengths as an array", { ...options, variableLengths: [3] }, "options.variableLengths", "[3]"],
    ["variable lengths on a grid", { ...grid, variableLengths: true }, "options.variableLengths", true],
    ["a causal grid", { ...grid, causal: true }, "options.causal", true],
    ["a grid and a length", { ...grid, length: 20 }, "options.length", 20],
    ["a grid of one size", { ...grid, grid: [20] }, "options.grid", "[20]"],
    ["random features of sikf", { ...options, randomFeatures: {} }, "options.randomFeatures"],
    ["random features of softmax attention", { ...softmax, randomFeatures: { count: 4 } }, "options.randomFeatures"],
    ["random features as a number", { ...favor, randomFeatures: 4 }, "options.randomFeatures", 4],
    ["random features with an unknown key", { ...favor, randomFeatures: { size: 4 } }, "options.randomFeatures", '"size"'],
    ...BAD_SIZES.filter((size) => size !== null).map((size): [string, unknown, string] => [
      `${String(size)} random features`,
      { ...favor, randomFeatures: { count: size } },
      "options.randomFeatures.count",
    ]),
    ...[-1, 0.5, 2 ** 32, Number.NaN, "1", null, 4n].map((seed): [string, unknown, string] => [
      `seed ${String(seed)}`,
      { ...favor, randomFeatures: { seed } },
      "options.randomFeatures.seed",
    ]),
    ["a window of sikf", { ...options, window: 3 }, "options.window", 3],
    ["a window on a grid", { ...softmax, length: undefined, grid: [2, 5], window: 3 }, "options.window", 3],
    ...[0, -1, 2.5, Number.NaN, "3"].map((window): [string, unknown, string] => [`window ${window}`, { ...softmax, window }, "options.window"]),
    ["ν of sikf", { ...options, nu: 1 }, "options.nu", 1],
    ["ν of softmax attention", { ...softmax, nu: 2 }, "options.nu", 2],
    ...[0, -1, 1.5, 8, Number.NaN, "1", 4n, [1]].map((nu): [string, unknown, string] => [`ν = ${String(nu)}`, { ...dpfp, nu }, "options.nu"]),
    ["a scale of dpfp", { ...dpfp, scale: 0.5 }, "options.scale", 0.5],
    ["too many features", { ...dpfp, length: 2 ** 20, headDim: 32, nu: 32 }, "batch × heads × length × the larger dimension"],
    ["a scale of sikf", { ...options, scale: 0.5 }, "options.scale", 0.5],
    ["a scale of softmax features", { ...options, featureMap: "softmax", scale: 1 }, "options.scale", 1],
    ...[0, -1, Number.NaN, Infinity, 1e39, 1e-50, "1", true, 4n, [0.5]].flatMap((scale): [string, unknown, string][] => [
      [`scale ${String(scale)}`, { ...softmax, scale }, "options.scale"],
      [`scale ${String(scale)} of favor+`, { ...favor, scale }, "options.scale"],
    ]),
    ["too many elements", { ...options, length: 2 ** 20, headDim: 2, valueDim: 2 ** 11 }, "batch × heads × length × the larger dimension"],
    ["too many random features", { ...favor, length: 2 ** 20, randomFeatures: { count: 2 ** 11 } }, "batch × heads × length × the larger dimension"],
    ["too many weights", { ...options, heads: 2 ** 16, length: 2 ** 15 + 1, headDim: 1, bias: "fastrpb" }, "the weights"],
    ["too many weights of a product", { ...options, heads: 2 ** 16, length: 2 ** 15 + 1, headDim: 1, bias: "multiplicative" }, "the weights"],
    ...["heads", "length", "headDim"].flatMap((key) =>
      BAD_SIZES.map((size): [string, unknown, string] => [`${key} ${String(size)}`, { ...options, [key]: size }, `options.${key}`]),
    ),
    ...["batch", "valueDim"].flatMap((key) =>
      BAD_SIZES.filter((size) => size !== null).map((size): [string, unknown, string] => [
        `${key} ${String(size)}`,
        { ...options, [key]: size },
        `options.${key}`,
      ]),
    ),
  ])("%s is a bad value", (_what, asked, argument, got) => {
    expectRefusal(() => attentionSpec(untyped<AttentionOptions>(asked)), "runtime.attention", argument, got);
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
  expect(fft).toMatchObject({ shape: [4, 6], inputShape: [4, 6] });
  expect(multiply.shape).toEqual([4, 6]);
  for (const frozen of [
    fft,
    fft.shape,
    fft.axes,
    fftSpec({ shape: [4, 6], kind: "r2c" }).outputShape,
    convolveSpec({ shape: [4, 6], kernel: [3] }),
    convolveSpec({ shape: [4, 6], kernel: [3] }).axes[0],
    multiply,
    multiply.shape,
    toeplitzSpec({ heads: 1, length: 2, channels: 1 }),
    spectrumSpec(toeplitzSpec({ heads: 1, length: 2, channels: 1 })),
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
});
