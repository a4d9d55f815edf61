/**
 * Only checked integers, finite numbers and known words get into WGSL: whatever else an option holds is refused by its name. The options are
 * those that the library itself lists when it refuses an unknown one, so that a new one is tested as it comes.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { planProgram } from "../testing/operations.ts";
import { createRuntime } from "./create-runtime.ts";
import type { Runtime } from "./runtime.ts";
import { FastRpbError } from "../core/errors.ts";
import {
  attentionGradientSpec,
  attentionSpec,
  complexMultiplySpec,
  convolveSpec,
  fftGradientSpec,
  fftSpec,
  inPlaceSpec,
  kernelSpectrumSpec,
  type AnySpec,
  spectrumSpec,
  toeplitzGradientSpec,
  toeplitzSpec,
} from "../testing/specs.ts";
import { limitsWith } from "../testing/planning.ts";
import { readTuning, requestedSpec } from "./tuning.ts";

const MARKER = "evil";
const INJECTION = `1; } @compute @workgroup_size(1) fn ${MARKER}() {`;

/** No option takes any of these. */
const NEVER: readonly (readonly [string, unknown])[] = [
  ["WGSL", INJECTION],
  ["a number as text", "4"],
  ["__proto__", "__proto__"],
  ["constructor", "constructor"],
  ["empty text", ""],
  ["an object that reads as WGSL", { toString: () => INJECTION, valueOf: () => 4 }],
  ["an object that reads as a number", { [Symbol.toPrimitive]: () => 4 }],
  ["an object with a length", { length: 1, 0: 4 }],
  ["a String", Object(INJECTION)],
  ["a Number", Object(4)],
  ["a symbol", Symbol(MARKER)],
  ["a bigint", 4n],
  ["a function", () => 4],
  ["a date", new Date(4)],
  ["an empty array", []],
  ["an array of WGSL", [INJECTION]],
  ["a nested array", [[4]]],
  ["a deep array", [[[[INJECTION]]]]],
  ["a hole", Array(2)],
  ["NaN", Number.NaN],
  ["infinity", Infinity],
];
/** These are refused, or numbers that an option may have. */
const RARELY: readonly (readonly [string, unknown])[] = [
  ["-1", -1],
  ["-0", -0],
  ["0", 0],
  ["1.5", 1.5],
  ["2^32", 2 ** 32],
  ["2^53", 2 ** 53],
  ["1e308", 1e308],
  ["5e-324", 5e-324],
  ["null", null],
  ["true", true],
  ["false", false],
];

type Options = Readonly<Record<string, unknown>>;

interface Factory {
  /** The public name. */
  readonly caller: string;
  readonly specs: (options: never) => readonly AnySpec[];
  readonly make: (runtime: Runtime, options: never) => Promise<unknown>;
  /** Valid options, that together have all there are. */
  readonly valid: readonly Options[];
}

const FACTORIES: readonly Factory[] = [
  {
    caller: "runtime.fft",
    specs: (options) => {
      const spec = fftSpec(options);
      return [spec, ...(spec.kind === "c2c" ? [inPlaceSpec(spec)] : []), fftGradientSpec(spec)];
    },
    make: (runtime, options) => runtime.fft(options),
    valid: [
      { shape: [4, 6], axes: [1, 0], kind: "c2c", direction: "inverse", norm: "ortho", storage: "f32" },
      { shape: [6], axes: [0], kind: "r2c" },
    ],
  },
  {
    caller: "runtime.convolve",
    specs: (options) => [convolveSpec(options), kernelSpectrumSpec(convolveSpec(options))],
    make: (runtime, options) => runtime.convolve(options),
    valid: [{ shape: [2, 8], kernel: [2, 3], axes: [1], mode: "same", dtype: "f32" }],
  },
  {
    caller: "runtime.complexMultiply",
    specs: (options) => [complexMultiplySpec(options), complexMultiplySpec(options, true)],
    make: (runtime, options) => runtime.complexMultiply(options),
    valid: [{ shape: [3, 4], conjugate: true, scale: 0.5 }],
  },
  {
    caller: "runtime.toeplitz",
    specs: (options) => {
      const spec = toeplitzSpec(options);
      return [spec, spectrumSpec(spec), toeplitzGradientSpec(spec)];
    },
    make: (runtime, options) => runtime.toeplitz(options),
    valid: [
      { batch: 1, heads: 2, length: 8, channels: 3, causal: true },
      { heads: 2, grid: [3, 4], channels: 2 },
      { heads: 2, grid: [3, 3], channels: 2, biasForm: "separable", biasShared: true, biasLength: [4, 4] },
      { heads: 2, grid: [3, 4], channels: 2, gridChannels: 3, outside: { first: 1, last: 2 } },
    ],
  },
  {
    caller: "runtime.attention",
    specs: (options) => {
      const spec = attentionSpec(options);
      return [spec, ...(spec.bias === "none" ? [] : [spectrumSpec(spec)]), ...(spec.storage === "f32" ? [attentionGradientSpec(spec)] : [])];
    },
    make: (runtime, options) => runtime.attention(options),
    valid: [
      {
        batch: 1,
        heads: 2,
        length: 8,
        headDim: 4,
        valueDim: 3,
        kind: "linear",
        featureMap: "favor+",
        randomFeatures: { count: 5, seed: 1 },
        scale: 0.5,
        causal: true,
        bias: "fastrpb",
        variableLengths: true,
        keyMask: true,
        storage: "f32",
      },
      { heads: 1, grid: [2, 4], headDim: 4, featureMap: "sikf", bias: "multiplicative" },
      { heads: 1, grid: [2, 2], headDim: 4, featureMap: "sikf", bias: "fastrpb", biasForm: "separable", biasShared: true, gridChannels: 2 },
      { heads: 1, length: 5, headDim: 4, featureMap: "sikf", bias: "fastrpb", biasForm: "symmetric", biasLength: 7 },
      { heads: 1, length: 5, headDim: 4, kind: "softmax", bias: "fastrpb", outside: { first: 1 }, variableLengths: true },
      { heads: 1, length: 8, headDim: 4, kind: "softmax", scale: 2, window: 3, bias: "logits" },
      { heads: 1, length: 8, headDim: 4, featureMap: "dpfp", nu: 2 },
      { heads: 4, length: 8, headDim: 4, featureMap: "sikf", bias: "fastrpb", keyLength: 5, keyHeads: 2 },
      { heads: 2, length: 8, headDim: 4, featureMap: "sikf", layout: "packed" },
    ],
  },
];

/** A place in options, and its name in messages. */
interface Place {
  readonly path: readonly (string | number)[];
  readonly name: string;
}

/** Names of options, from the refusal of an unknown one. */
async function keysOf(attempt: (options: Options) => unknown, place = "options"): Promise<string[]> {
  const error = await Promise.resolve()
    .then(() => attempt({ unknownOption: 1 }))
    .then(
      () => undefined,
      (reason: unknown) => reason,
    );
  expect(error).toMatchObject({ code: "value", message: expect.stringContaining(`${place} must be an object with the keys`) });
  return /with the keys (.*), got "unknownOption"/.exec((error as Error).message)![1]!.split(", ");
}

/** Every place within a value: itself, its elements, its fields. */
function placesIn(value: unknown, path: readonly (string | number)[], name: string): Place[] {
  const inner =
    typeof value === "object" && value !== null
      ? Object.entries(value).flatMap(([key, child]) =>
          Array.isArray(value) ? placesIn(child, [...path, Number(key)], name) : placesIn(child, [...path, key], `${name}.${key}`),
        )
      : [];
  return [{ path, name }, ...inner];
}

function replaced(value: unknown, [first, ...rest]: readonly (string | number)[], by: unknown): unknown {
  if (first === undefined) return by;
  if (Array.isArray(value)) return value.map((item: unknown, i) => (i === first ? replaced(item, rest, by) : item));
  return { ...(value as object), [first]: replaced((value as Record<string, unknown>)[first], rest, by) };
}

/** An object without options: where options are asked for, all are left out. */
function isEmptyObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length === 0;
}

/** What comes of an attempt: a refusal that is one of the library's, or a result. */
async function outcome<T>(attempt: () => T | Promise<T>): Promise<{ readonly error: FastRpbError } | { readonly result: T }> {
  try {
    return { result: await attempt() };
  } catch (error) {
    if (error instanceof FastRpbError) return { error };
    throw new Error(`no FastRpbError, but ${String(error)}`, { cause: error });
  }
}

/** Leaves of a spec that are neither finite numbers, nor words of the library, nor absent. */
function strange(value: unknown): unknown[] {
  if (typeof value === "object" && value !== null) return Object.values(value).flatMap(strange);
  const fine =
    value === undefined ||
    typeof value === "boolean" ||
    (typeof value === "number" && Number.isFinite(value)) ||
    /^[a-zA-Z0-9+]+$/.test(value as string);
  return fine && value !== MARKER ? [] : [value];
}

/** Plans, where the device is large enough, and looks at the text of all kernels. */
function checkPlans(specs: readonly AnySpec[], what: string): void {
  for (const spec of specs) {
    expect(strange(spec), what).toEqual([]);
    let program;
    try {
      program = planProgram("test", spec, limitsWith());
    } catch (error) {
      expect(error, what).toMatchObject({ code: "limit" });
      continue;
    }
    for (const { kernel } of program.dispatches) expect(JSON.stringify(kernel).includes(MARKER), what).toBe(false);
  }
}

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ backend: "cpu" });
});
afterAll(() => runtime.dispose());

describe.each(FACTORIES)("$caller", ({ caller, specs, make, valid }) => {
  test("the valid options have all that there are, and give plans", async () => {
    const keys = await keysOf((options) => make(runtime, options as never));
    expect(await keysOf((options) => specs(options as never))).toEqual(keys);
    expect([...new Set(valid.flatMap((options) => Object.keys(options)))].sort()).toEqual([...keys].sort());
    for (const options of valid) {
      checkPlans(specs(options as never), JSON.stringify(options));
      await make(runtime, options as never);
    }
  });

  test("hostile values are refused by the name of the option, wherever they stand", async () => {
    let refused = 0;
    for (const options of valid) {
      for (const { path, name } of placesIn(options, [], "options")) {
        for (const [what, value] of [...NEVER, ...RARELY]) {
          const given = replaced(options, path, value) as never;
          const label = `${name} = ${what} in ${JSON.stringify(options)}`;
          for (const attempt of [() => specs(given), () => make(runtime, given)]) {
            const got = await outcome<unknown>(attempt);
            if ("error" in got) {
              refused++;
              expect(got.error, label).toMatchObject({
                code: expect.stringMatching(/^(value|unavailable|limit)$/),
                message: expect.stringContaining(caller),
              });
              // A number may be right by itself, and not go with the others: then one of those is named, or what they make together.
              const named = NEVER.some(([never]) => never === what) ? name : /options\.|×|the weights/;
              expect(got.error.message, label).toMatch(path.length === 0 ? "options" : named);
            } else {
              const never = NEVER.some(([one]) => one === what);
              expect(never && !isEmptyObject(value), label).toBe(false);
              if (Array.isArray(got.result)) checkPlans(got.result as AnySpec[], label);
            }
          }
        }
      }
    }
    expect(refused).toBeGreaterThan(100);
  });

  test("inherited and hidden fields change nothing: an option counts if it is there", async () => {
    const [options] = valid;
    const polluted = Object.assign(JSON.parse(`{ "__proto__": { "heads": ${JSON.stringify(INJECTION)} } }`) as object, options);
    expect(await outcome(() => make(runtime, polluted as never))).toMatchObject({
      error: { code: "value", message: expect.stringContaining("options") },
    });
  });
});

describe("createRuntime", () => {
  const open = (options: Options) => createRuntime({ backend: "cpu", ...options });
  const TUNING = {
    version: 1,
    adapter: "cpu",
    plans: [{ key: "a key", choices: { maxRadix: 8, registers: 16, lanes: 64, columns: 4, exchange: "auto", roots: "split" } }],
  };

  test.each([...NEVER, ["-1", -1], ["0", 0], ["1.5", 1.5], ["2^53", 2 ** 53], ["true", true]] as const)(
    "limits and workspaceBytes: %s",
    async (_what, value) => {
      const names = await keysOf((limits) => open({ limits }), "options.limits");
      expect(names.length).toBeGreaterThan(8);
      for (const name of names) {
        expect(await outcome(() => open({ limits: { [name]: value } })), name).toMatchObject({
          error: { code: "value", message: expect.stringContaining(`options.limits.${name}`) },
        });
      }
      expect(await outcome(() => open({ workspaceBytes: value }))).toMatchObject({
        error: { code: "value", message: expect.stringContaining("options.workspaceBytes") },
      });
      if (isEmptyObject(value)) return;
      expect(await outcome(() => open({ limits: value }))).toMatchObject({
        error: { code: "value", message: expect.stringContaining("options.limits") },
      });
    },
  );

  test("a tuning is refused at every place that is not what runtime.tune writes, and never gets into WGSL", async () => {
    await (await open({ tuning: TUNING })).dispose();
    for (const { path, name } of placesIn(TUNING, [], "options.tuning")) {
      for (const [what, value] of [...NEVER, ["-1", -1], ["1.5", 1.5], ["0", 0], ["2^53", 2 ** 53], ["true", true], ["null", null]] as const) {
        const tuning = replaced(TUNING, path, value);
        const got = await outcome(() => open({ tuning }));
        const label = `${name} = ${what}`;
        // Names of devices and of plans are any text: they are compared, and nothing else.
        if (typeof value === "string" && (name.endsWith(".adapter") || name.endsWith(".key"))) expect(got, label).toHaveProperty("result");
        else if (name === "options.tuning.plans" && path.length === 1 && Array.isArray(value) && value.length === 0)
          expect(got, label).toHaveProperty("result");
        else expect(got, label).toMatchObject({ error: { code: "value", message: expect.stringContaining("options.tuning") } });
      }
    }
  });

  test("a tuning that changes while it is read is read once", () => {
    let reads = 0;
    const choices = {
      ...TUNING.plans[0]!.choices,
      get lanes() {
        return reads++ === 0 ? 64 : INJECTION;
      },
    };
    const tuning = readTuning("test", { ...TUNING, plans: [{ key: "a key", choices }] });
    expect([...tuning.choices.values()]).toEqual([{ ...TUNING.plans[0]!.choices, lanes: 64 }]);
  });

  test("runtime.tune refuses operations and options that there are not", () => {
    for (const [what, value] of [...NEVER, ...RARELY]) {
      const request = (operation: unknown, options: unknown) => () => requestedSpec("runtime.tune", { operation, options } as never, 3);
      expect(request(value, { shape: [4] }), what).toThrow(
        expect.objectContaining({ code: "value", message: expect.stringContaining("requests[3].operation") }),
      );
      expect(request("fft", value), what).toThrow(expect.objectContaining({ code: "value", message: expect.stringContaining("options") }));
    }
  });
});
