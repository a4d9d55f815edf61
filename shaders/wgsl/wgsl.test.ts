import { describe, expect, test } from "vitest";
import { random } from "../../src/testing/random.ts";
import { f32, range, u32, wgsl } from "./wgsl.ts";

/** The lines that say something, without their indentation. */
function lines(code: string): string[] {
  return code
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

/** Values that the types forbid. */
function untyped(value: unknown): string {
  return value as string;
}

describe("conditions", () => {
  test.each([
    [true, true, "first"],
    [true, false, "first"],
    [false, true, "second"],
    [false, false, "third"],
  ])("#if %s, #elif %s", (a, b, taken) => {
    const code = wgsl`before
#if ${a}
  first
#elif ${b}
  second
#else
  third
#endif
after`;
    expect(lines(code)).toEqual(["before", taken, "after"]);
  });

  test.each([
    [true, true, ["a", "a and b", "a again"]],
    [true, false, ["a", "a, not b", "a again"]],
    [false, true, ["not a", "not a, b"]],
    [false, false, ["not a"]],
  ])("nested, %s and %s", (a, b, expected) => {
    const code = wgsl`
#if ${a}
  a
  #if ${b}
    a and b
  #else
    a, not b
  #endif
  a again
#else
  not a
  #if ${b}
    not a, b
  #endif
#endif
`;
    expect(lines(code)).toEqual(expected);
  });

  test("two in a row, with values inside and trailing spaces after the predicate", () => {
    const code = wgsl`#if ${true}  
  let a = ${3}u;
#endif
#if ${false}
  let a = ${4}u;
#endif
  let b = ${"a"};`;
    expect(lines(code)).toEqual(["let a = 3u;", "let b = a;"]);
  });

  test("text without directives stays as it is", () => {
    expect(wgsl`fn f() -> u32 { return ${"x"} & ${7}u && y; }\n`).toBe("fn f() -> u32 { return x & 7u && y; }\n");
  });
});

describe("refuses what the preprocessor would lose or print", () => {
  test.each([
    ["&&", (a: boolean, b: boolean) => wgsl`#if ${a} && ${b}\n  x\n#endif`],
    ["||", (a: boolean, b: boolean) => wgsl`#if ${a} || ${b}\n  x\n#endif`],
    ["&& in #elif", (a: boolean, b: boolean) => wgsl`#if ${a}\n  x\n#elif ${a} && ${b}\n  y\n#endif`],
    ["!", (a: boolean) => wgsl`#if !${a}\n  x\n#endif`],
    ["a comparison", (a: boolean) => wgsl`#if ${a} == 1\n  x\n#endif`],
    ["a second value", (a: boolean) => wgsl`#if ${a}${" && false"}\n  x\n#endif`],
    ["a second value after a space", (a: boolean) => wgsl`#if ${a} ${1}\n  x\n#endif`],
  ])("a predicate with %s", (_what, template) => {
    for (const a of [false, true]) for (const b of [false, true]) expect(() => template(a, b), `${a}, ${b}`).toThrow();
  });

  test.each(["false", "true", "", 0, 1, -1, Number.NaN, null, undefined, [], {}])("the predicate %j", (predicate) => {
    expect(() => wgsl`#if ${untyped(predicate)}\n  x\n#endif`).toThrow(TypeError);
    expect(() => wgsl`#if ${false}\n  x\n#elif ${untyped(predicate)}\n  y\n#endif`).toThrow(TypeError);
  });

  test.each([undefined, null, Number.NaN, Infinity, -Infinity, true, false, [], ["a"], {}, 3n, Symbol("s"), () => "f"])("the value %s", (value) => {
    expect(() => wgsl`let a = ${untyped(value)};`).toThrow(TypeError);
    expect(() => wgsl`#if ${false}\n  let a = ${untyped(value)};\n#endif`, "in a branch not taken").toThrow(TypeError);
  });

  const misspelt: [string, (a: boolean, value: string | number | boolean) => string][] = [
    ["#elseif", (a, value) => wgsl`#if ${a}\n  x\n#elseif ${value}\n  y\n#endif`],
    ["#else if", (a, value) => wgsl`#if ${a}\n  x\n#else if ${value}\n  y\n#endif`],
    ["#elsif", (a, value) => wgsl`#if ${a}\n  x\n#elsif ${value}\n  y\n#endif`],
    ["#ifdef", (a, value) => wgsl`#if ${a}\n  x\n  #ifdef ${value}\n  y\n#endif`],
    ["#ifndef", (a, value) => wgsl`#if ${a}\n  x\n  #ifndef ${value}\n  y\n#endif`],
    ["#define", (a, value) => wgsl`#if ${a}\n  #define ${value}\n  x\n#endif`],
    ["#If", (a, value) => wgsl`#if ${a}\n  x\n#endif\n#If ${value}\n  y`],
  ];
  for (const [directive, template] of misspelt) {
    // One value stands for a misspelt predicate of every kind that the types admit.
    test.each([
      [false, true],
      [true, true],
      [false, 1],
      [true, 1],
      [false, "NAME"],
      [true, "NAME"],
    ])(`${directive} after #if %s, with the value %j`, (a, value) => {
      expect(() => template(a, value)).toThrow();
    });
  }

  test.each([false, true])("#else if, #elseif and #ifdef without a value, after #if %s", (a) => {
    expect(() => wgsl`#if ${a}\n  x\n#else if LARGE\n  y\n#endif`).toThrow();
    expect(() => wgsl`#if ${a}\n  x\n#elseif LARGE\n  y\n#endif`).toThrow();
    expect(() => wgsl`#if ${a}\n  x\n#ifdef LARGE\n  y\n#endif`).toThrow();
  });

  test("a directive in the middle of a line, or from a value", () => {
    expect(() => wgsl`let a = 1; #ifdef LARGE`).toThrow();
    expect(() => wgsl`${"#if true"}\n  x\n${"#endif"}`).toThrow();
  });

  test("unbalanced directives", () => {
    expect(() => wgsl`#if ${true}\n  x`).toThrow();
    expect(() => wgsl`x\n#endif`).toThrow();
    expect(() => wgsl`#else\n  x\n#endif`).toThrow();
    expect(() => wgsl`#if ${true}\n  x\n#endif\n#endif`).toThrow();
    expect(() => wgsl`#if ${true}\n  x\n#else\n  y\n#else\n  z\n#endif`).toThrow();
    expect(() => wgsl`#if ${true}\n  x\n#else\n  y\n#elif ${true}\n  z\n#endif`).toThrow();
    expect(() => wgsl`#if\n  x\n#endif`).toThrow();
  });
});

describe("f32", () => {
  /** The grammar of WGSL's decimal float literals with suffix f, and an optional sign. */
  const LITERAL = /^-?(\d+\.\d*([eE][+-]?\d+)?|\d*\.\d+([eE][+-]?\d+)?|\d+[eE][+-]?\d+)f$/;
  const largest = 2 ** 128 - 2 ** 104;

  test("goes through text and back to the nearest float32", () => {
    const uniform = random(1);
    const values = [0, 1, -1, 0.1, -2.5, 1 / 3, Math.PI, 16777217, 2 ** 31, 2 ** 100, 1e21, 1e-7, 2 ** -126, 2 ** -140, largest, -largest];
    for (let i = 0; i < 1000; i++) values.push((uniform() - 0.5) * 2 ** Math.floor(250 * uniform() - 125));
    for (const value of values) {
      const text = f32(value);
      expect(text).toMatch(LITERAL);
      expect(Number(text.slice(0, -1)), text).toBe(Math.fround(value));
    }
  });

  test("writes integers with a point: 1u and 1f differ, 1 is neither", () => {
    expect(f32(1)).toBe("1.0f");
    expect(f32(-12)).toBe("-12.0f");
    expect(f32(0)).toBe("0.0f");
    expect(f32(123456)).toBe("123456.0f");
  });

  test.each([Number.NaN, Infinity, -Infinity])("refuses %d", (value) => {
    expect(() => f32(value)).toThrow(TypeError);
  });

  test.each([1e39, -1e39, 2 ** 128, Number.MAX_VALUE])("refuses %d, whose nearest float32 is infinite", (value) => {
    expect(() => f32(value)).toThrow(TypeError);
  });
});

describe("u32", () => {
  test("writes the whole range", () => {
    expect([0, 1, 65535, 2 ** 31, 2 ** 32 - 1].map(u32)).toEqual(["0u", "1u", "65535u", "2147483648u", "4294967295u"]);
  });

  test.each([-1, 0.5, 2 ** 32, Number.NaN, Infinity, 1e21])("refuses %d", (value) => {
    expect(() => u32(value)).toThrow(TypeError);
  });
});

test("range", () => {
  expect(range(4)).toEqual([0, 1, 2, 3]);
  expect(range(0)).toEqual([]);
});
