import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { FastRpbError } from "../core/errors.ts";
import { random } from "../testing/random.ts";
import {
  parseSafetensors,
  type SafetensorsDType,
  type SafetensorsFile,
  type SafetensorsTensor,
  toFloat32,
  toFloat64,
  writeSafetensors,
} from "./safetensors.ts";

interface Fixture {
  readonly what: string;
  readonly file: string;
  readonly tensors: readonly {
    readonly name: string;
    readonly dtype: SafetensorsDType;
    readonly shape: readonly number[];
    readonly numbers: readonly string[];
  }[];
  readonly metadata: Readonly<Record<string, string>>;
}

const FIXTURES = JSON.parse(readFileSync(new URL("../testing/fixtures/nn-safetensors.json", import.meta.url), "utf8")) as readonly Fixture[];
const fileOf = ({ file }: Fixture) => Uint8Array.from(atob(file), (character) => character.charCodeAt(0));
const encode = (text: string) => new TextEncoder().encode(text);

/** A file of any header. */
function made(header: string | Uint8Array, data: Uint8Array | number = 0, length?: bigint): Uint8Array {
  const text = typeof header === "string" ? encode(header) : header;
  const bytes = typeof data === "number" ? new Uint8Array(data) : data;
  const file = new Uint8Array(8 + text.length + bytes.length);
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  file.set(text, 8);
  file.set(bytes, 8 + text.length);
  return file;
}

/** Numbers of a tensor as text, read one by one. */
function textOf({ dtype, bytes }: SafetensorsTensor): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const read: Readonly<Record<string, [size: number, at: (i: number) => number | bigint]>> = {
    U64: [8, (i) => view.getBigUint64(i, true)],
    I64: [8, (i) => view.getBigInt64(i, true)],
    F64: [8, (i) => view.getFloat64(i, true)],
    F32: [4, (i) => view.getFloat32(i, true)],
    U32: [4, (i) => view.getUint32(i, true)],
    I32: [4, (i) => view.getInt32(i, true)],
    U16: [2, (i) => view.getUint16(i, true)],
    I16: [2, (i) => view.getInt16(i, true)],
    I8: [1, (i) => view.getInt8(i)],
    U8: [1, (i) => view.getUint8(i)],
    BOOL: [1, (i) => view.getUint8(i)],
  };
  const entry = read[dtype];
  if (!entry) return Array.from(toFloat32({ dtype, bytes }), String);
  return Array.from({ length: bytes.length / entry[0] }, (_, i) => String(entry[1](i * entry[0])));
}

function refusalOf(bytes: Uint8Array): FastRpbError {
  try {
    parseSafetensors(bytes);
  } catch (error) {
    if (error instanceof FastRpbError) return error;
    throw error;
  }
  throw new Error(`accepted: ${new TextDecoder().decode(bytes.subarray(8, 200))}`);
}

describe("files of another writer", () => {
  test.each(FIXTURES.map((fixture) => [fixture.what, fixture] as const))("%s", (_what, fixture) => {
    const { tensors, metadata } = parseSafetensors(fileOf(fixture));
    expect([...tensors.keys()]).toEqual(fixture.tensors.map(({ name }) => name));
    for (const { name, dtype, shape, numbers } of fixture.tensors) {
      const tensor = tensors.get(name)!;
      expect([tensor.dtype, tensor.shape]).toEqual([dtype, shape]);
      expect(textOf(tensor), name).toEqual(numbers.map((text) => (/64$|^[IU]/.test(dtype) && !text.includes(".") ? text : String(Number(text)))));
    }
    expect(Object.entries(metadata).sort()).toEqual(Object.entries(fixture.metadata).sort());
    expect([Object.isFrozen(metadata), [...tensors.values()].every((tensor) => Object.isFrozen(tensor) && Object.isFrozen(tensor.shape))]).toEqual([
      true,
      true,
    ]);
    checkRewritten({ tensors, metadata });
  });

  test("from a buffer, and from within one", () => {
    const file = fileOf(FIXTURES[2]!);
    const within = new Uint8Array(file.length + 13);
    within.set(file, 5);
    const expected = parseSafetensors(file);
    expect(parseSafetensors(file.buffer)).toEqual(expected);
    expect(parseSafetensors(within.subarray(5, 5 + file.length))).toEqual(expected);
    expect(parseSafetensors(Buffer.from(file))).toEqual(expected);
  });
});

/** All that a file holds, as text, whatever its order. */
function summary({ tensors, metadata }: SafetensorsFile): string {
  const named = [...tensors].map(([name, { dtype, shape, bytes }]) => JSON.stringify([name, dtype, shape, [...bytes]]));
  return JSON.stringify([named.sort(), Object.entries(metadata).sort()]);
}

/** Checks that a file comes back as it was, once it is written and read. */
function checkRewritten(file: SafetensorsFile): void {
  const written = writeSafetensors(file.tensors, file.metadata);
  const again = parseSafetensors(written);
  if (summary(again) !== summary(file)) throw new Error(`${summary(file)} has become ${summary(again)}`);
  if (Buffer.compare(writeSafetensors(again.tensors, again.metadata), written) !== 0) throw new Error("written in another way the second time");
}

describe("refused", () => {
  const info = (offsets: string, shape = "[1]", dtype = "F32") => `{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;
  const one = (offsets: string, shape?: string, dtype?: string) => `{"a":${info(offsets, shape, dtype)}}`;
  const two = (first: string, second: string) => `{"a":${info(first)},"b":${info(second)}}`;
  const cases: [what: string, file: Uint8Array, ...mentions: string[]][] = [
    ["no length", new Uint8Array(7), "bytes.length", "at least 8", "got 7"],
    ["an empty header", made(""), "begins with"],
    ["a header beyond the file", made("{}", 0, 3n), "the length of the header", "got 3"],
    ["a header beyond 100 MB", made("{}", 0, 100_000_001n), "at most"],
    ["a header of 2⁵³ + 1", made("{}", 0, 2n ** 53n + 1n), "at most"],
    ["a header of 2⁶⁴ − 1", made("{}", 0, 2n ** 64n - 1n), "at most"],
    ["a header that starts with a space", made(" {}"), "begins with", "got 32"],
    ["a header that starts with a byte order mark", made("\ufeff{}"), "begins with"],
    ["a header that is an array", made("[]"), "begins with"],
    ["a header that is not closed", made("{"), "character 1", "the end of it"],
    ["something after the header", made("{}x"), "nothing but spaces", 'got "x"'],
    ["a line after the header", made("{}\n"), "nothing but spaces"],
    ["a zero after the header", made("{}\0"), "nothing but spaces"],
    ["a comma at the end", made(`{"a":${info("[0,4]")},}`, 4), "a string"],
    ["a comma alone", made("{,}"), "a string"],
    ["no comma", made(`{"a":${info("[0,0]", "[0]")}"b":${info("[0,0]", "[0]")}}`), '","'],
    ["no colon", made('{"a"{}}'), '":"'],
    ["a key in single quotes", made("{'a':{}}"), "a string"],
    ["a number for a tensor", made('{"a":1}'), '"{"'],
    ["null for a tensor", made('{"a":null}'), '"{"'],
    ["invalid UTF-8", made(Uint8Array.of(0x7b, 0x22, 0xff, 0x22)), "UTF-8"],
    ["an overlong encoding", made(Uint8Array.of(0x7b, 0x22, 0xc0, 0x80, 0x22)), "UTF-8"],
    ["a surrogate in UTF-8", made(Uint8Array.of(0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22)), "UTF-8"],
    ["a character of two bytes that is cut off", made(Uint8Array.of(0x7b, 0x22, 0xc3)), "UTF-8"],
    ["half a pair as an escape", made(`{"\\ud800":${info("[0,4]")}}`, 4), "escapes"],
    ["an escape that is none", made(`{"\\x41":${info("[0,4]")}}`, 4), "escapes"],
    ["an escape that is cut off", made('{"\\u00'), "the rest of a string"],
    ["a control character in a string", made(`{"a\tb":${info("[0,4]")}}`, 4), "the rest of a string"],
    ["an escape at the end", made('{"a\\'), "the rest of a string"],
    ["the same name twice", made(two("[0,4]", "[4,8]").replace('"b"', '"a"'), 8), "there once", '"a"'],
    ["the same name twice, once with an escape", made(two("[0,4]", "[4,8]").replace('"b"', '"\\u0061"'), 8), "there once", '"a"'],
    ["metadata twice", made('{"__metadata__":{},"__metadata__":{}}'), "there once"],
    ["a key of metadata twice", made('{"__metadata__":{"k":"1","\\u006b":"2"}}'), "there once"],
    ["dtype twice", made(one("[0,4]").replace('"dtype"', '"dtype":"F32","dtype"'), 4), "there once"],
    ["a number in metadata", made('{"__metadata__":{"k":1}}'), "a string"],
    ["an object in metadata", made('{"__metadata__":{"k":{}}}'), "a string"],
    ["null for metadata", made('{"__metadata__":null}'), '"{"'],
    ["a tensor without dtype", made('{"a":{"shape":[1],"data_offsets":[0,4]}}', 4), "no dtype"],
    ["a tensor without shape", made('{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4), "no shape"],
    ["a tensor without offsets", made('{"a":{"dtype":"F32","shape":[1]}}', 4), "no data_offsets"],
    ["a tensor with another key", made(one("[0,4]").replace('"dtype"', '"layout":"C","dtype"'), 4), "the keys", '"layout"'],
    ["an unknown dtype", made(one("[0,1]", "[1]", "F8_E4M3"), 1), "a known dtype", '"F8_E4M3"'],
    ["a dtype in small letters", made(one("[0,4]", "[1]", "f32"), 4), "a known dtype"],
    ["a dtype that every object has", made(one("[0,4]", "[1]", "constructor"), 4), "a known dtype"],
    ["a dtype that is a number", made('{"a":{"dtype":32,"shape":[1],"data_offsets":[0,4]}}', 4), "a string"],
    ["a negative size", made(one("[0,4]", "[-1]"), 4), "an integer"],
    ["a size with a fraction", made(one("[0,4]", "[1.0]"), 4), "an integer"],
    ["a size with an exponent", made(one("[0,4]", "[1e0]"), 4), "an integer"],
    ["a size with a leading zero", made(one("[0,4]", "[01]"), 4), "an integer"],
    ["a size that is a string", made(one("[0,4]", '["1"]'), 4), "an integer"],
    ["a size of 2⁵³", made(one("[0,4]", "[9007199254740992]"), 4), "an integer"],
    ["a size of 20 digits", made(one("[0,4]", "[10000000000000000000]"), 4), "an integer"],
    ["a shape that is a number", made(one("[0,4]", "1"), 4), '"["'],
    ["a shape beyond 2⁵³ bytes", made(one("[0,4]", "[9007199254740991]"), 4), "below 2⁵³"],
    ["a shape that comes to 2⁶⁴, 0 modulo that", made(one("[0,0]", "[4294967296,4294967296]")), "below 2⁵³"],
    ["a shape that is too large before it is empty", made(one("[0,0]", "[4294967296,4294967296,0]")), "below 2⁵³"],
    ["one offset", made(one("[0]"), 4), "[begin, end]"],
    ["three offsets", made(one("[0,4,4]"), 4), "[begin, end]"],
    ["an end before the begin", made(one("[4,0]"), 4), "[begin, end]"],
    ["negative offsets", made(one("[-4,0]"), 4), "an integer"],
    ["fewer bytes than the shape", made(one("[0,3]"), 3), "the bytes of", "got 3"],
    ["more bytes than the shape", made(one("[0,8]"), 8), "the bytes of", "got 8"],
    ["an overlap", made(two("[0,4]", "[2,6]"), 6), "the begin of", "got 2"],
    ["the same bytes twice", made(two("[0,4]", "[0,4]"), 4), "the begin of"],
    ["a gap", made(two("[0,4]", "[5,9]"), 9), "the begin of", "got 5"],
    ["a gap at the start", made(one("[4,8]"), 8), "the begin of", "got 4"],
    ["an empty tensor amid another", made(`{"a":${info("[0,4]")},"e":${info("[2,2]", "[0]")}}`, 4), "the begin of"],
    ["an empty tensor beyond the end", made(`{"a":${info("[0,4]")},"e":${info("[5,5]", "[0]")}}`, 5), "the begin of"],
    ["a byte too many", made(one("[0,4]"), 5), "the bytes after the header", "got 5"],
    ["a byte too few", made(one("[0,4]"), 3), "the bytes after the header", "got 3"],
    ["bytes, and no tensor", made("{}", 1), "the bytes after the header"],
  ];
  test.each(cases)("%s", (_what, file, ...mentions) => {
    const error = refusalOf(file);
    expect(error.code).toBe("value");
    for (const mention of ["parseSafetensors: ", ...mentions]) expect(error.message).toContain(mention);
    expect(error.message.length).toBeLessThan(600);
  });

  test("what is no bytes", () => {
    for (const value of [undefined, null, "{}", [123], {}, new Float32Array(4), new DataView(new ArrayBuffer(8))]) {
      expect(() => parseSafetensors(value as never)).toThrow(FastRpbError);
    }
  });

  test("long names, deep nesting, many keys: in a time in proportion", () => {
    const long = "x\\n".repeat(1e6);
    const name = `{"${long}":${info("[0,4]")}}`;
    expect([...parseSafetensors(made(name, 4)).tensors.keys()][0]!.length).toBe(2e6);
    expect(refusalOf(made(name.replace("F32", "F31"), 4)).message.length).toBeLessThan(600);
    expect(refusalOf(made("[".repeat(1e6))).code).toBe("value");
    expect(refusalOf(made('{"a":'.repeat(1e6))).code).toBe("value");
    const many = Array.from({ length: 3e4 }, (_, i) => `"${i}":${info("[0,0]", "[0]")}`);
    expect(parseSafetensors(made(`{${many.join()}}`)).tensors.size).toBe(3e4);
    expect(refusalOf(made(`{${many.join()},"7":${info("[0,0]", "[0]")}}`)).message).toContain("there once");
  });
});

describe("writeSafetensors", () => {
  const f32 = (...numbers: number[]): SafetensorsTensor => ({
    dtype: "F32",
    shape: [numbers.length],
    bytes: new Uint8Array(Float32Array.from(numbers).buffer),
  });

  test("the header of the reference, and aligned tensors, the larger elements first, then by name", () => {
    const tensors = new Map<string, SafetensorsTensor>([
      ["flag", { dtype: "BOOL", shape: [], bytes: Uint8Array.of(1) }],
      ["b", f32(1)],
      ["a", f32(2)],
      ["wide", { dtype: "F64", shape: [1], bytes: new Uint8Array(8) }],
    ]);
    const file = writeSafetensors(tensors, { format: "pt" });
    const header =
      '{"__metadata__":{"format":"pt"},"wide":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},' +
      '"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},"flag":{"dtype":"BOOL","shape":[],"data_offsets":[16,17]}}';
    const padded = header.padEnd(8 * Math.ceil(header.length / 8));
    expect(file.length).toBe(8 + padded.length + 17);
    expect(new DataView(file.buffer).getBigUint64(0, true)).toBe(BigInt(padded.length));
    expect(new TextDecoder().decode(file.subarray(8, 8 + padded.length))).toBe(padded);
    expect(parseSafetensors(file).tensors.get("b")!.bytes.byteOffset % 4).toBe(0);
  });

  test("nothing", () => {
    expect(writeSafetensors(new Map())).toEqual(made("{}      "));
  });

  test("refuses what would be no file", () => {
    const write =
      (name: string, tensor: object, metadata: object = {}) =>
      () =>
        writeSafetensors(new Map([[name, { ...f32(1), ...tensor }]]), metadata as Record<string, string>);
    const refusals: [() => unknown, string][] = [
      [() => writeSafetensors({ a: f32(1) } as never), "tensors"],
      [() => writeSafetensors(undefined as never), "tensors"],
      [
        () =>
          writeSafetensors([
            ["a", f32(1)],
            ["b", f32(2)],
            ["a", f32(3)],
          ]),
        "there once",
      ],
      [write("__metadata__", {}), "__metadata__"],
      [write("\ud800", {}), "the name of a tensor"],
      [write("a", { dtype: "F31" }), "a known dtype"],
      [write("a", { shape: [2] }), "the bytes of"],
      [write("a", { shape: [-1] }), "the shape of"],
      [write("a", { shape: [0.5, 2] }), "the shape of"],
      [write("a", { shape: [2 ** 32, 2 ** 32] }), "below 2⁵³"],
      [write("a", { bytes: new Float32Array(4) }), "a Uint8Array"],
      [write("a", {}, { key: 1 }), "metadata"],
      [write("a", {}, { "\udc00": "" }), "metadata"],
    ];
    for (const [action, mention] of refusals) {
      let error: unknown;
      try {
        action();
      } catch (caught) {
        error = caught;
      }
      expect(error).toMatchObject({ name: "FastRpbError", code: "value" });
      expect(String(error)).toContain("writeSafetensors");
      expect(String(error)).toContain(mention);
    }
  });
});

describe("toFloat32 and toFloat64", () => {
  test("exact, from bytes that are not aligned, into a copy", () => {
    const bytes = new Uint8Array(9).fill(7);
    bytes.set(new Uint8Array(Float32Array.of(1.5, -0).buffer), 1);
    const numbers = toFloat32({ dtype: "F32", bytes: bytes.subarray(1) });
    bytes.fill(0);
    expect([...numbers]).toEqual([1.5, -0]);
  });

  test("rounds F64", () => {
    expect([...toFloat32({ dtype: "F64", bytes: new Uint8Array(Float64Array.of(0.1, 1e300, NaN).buffer) })]).toEqual([
      Math.fround(0.1),
      Infinity,
      NaN,
    ]);
  });

  test("every bfloat16", () => {
    const all = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits);
    const numbers = toFloat32({ dtype: "BF16", bytes: new Uint8Array(all.buffer) });
    const view = new DataView(new ArrayBuffer(4));
    for (const bits of all) {
      view.setUint16(0, bits);
      if (!Object.is(numbers[bits], view.getFloat32(0))) expect.fail(`bits ${bits}: ${numbers[bits]}`);
    }
  });

  test("toFloat64 is exact", () => {
    expect([...toFloat64({ dtype: "F64", bytes: new Uint8Array(Float64Array.of(0.1, 1e300).buffer) })]).toEqual([0.1, 1e300]);
    expect([...toFloat64({ dtype: "F32", bytes: new Uint8Array(Float32Array.of(0.1, -3).buffer) })]).toEqual([Math.fround(0.1), -3]);
    expect([...toFloat64({ dtype: "F16", bytes: Uint8Array.of(0, 0x3c) })]).toEqual([1]);
  });

  test("refuses integers, and halves of numbers", () => {
    expect(() => toFloat64({ dtype: "U8", bytes: new Uint8Array(4) })).toThrow("toFloat64: dtype");
    expect(() => toFloat32({ dtype: "I32", bytes: new Uint8Array(4) })).toThrow(FastRpbError);
    expect(() => toFloat32({ dtype: "constructor" as never, bytes: new Uint8Array(4) })).toThrow(FastRpbError);
    expect(() => toFloat32({ dtype: "F32", bytes: new Uint8Array(5) })).toThrow("a multiple of 4");
  });
});

describe("20,000 files that were changed", () => {
  const seed = 20;
  const uniform = random(seed);
  const below = (n: number) => Math.floor(n * uniform());
  const pick = <T>(items: readonly T[]): T => items[below(items.length)]!;
  const NUMBERS = [
    "0",
    "1",
    "4",
    "8",
    "-1",
    "1.0",
    "1e3",
    "4294967296",
    "9007199254740991",
    "9007199254740993",
    "18446744073709551616",
    "null",
    "NaN",
  ];
  const PIECES = [
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    "\0",
    "\ufeff",
    '"a":',
    "\\u0061",
    "\\ud800",
    '"dtype"',
    '"F16"',
    '"__metadata__":{}',
    "é",
    "[]",
  ];

  /** Changes the text of a header: where its length stays right, more of the parser is met. */
  function changedText(text: string): string {
    const at = below(text.length + 1);
    const numbers = [...text.matchAll(/\d+/g)];
    const objects = [...text.matchAll(/"[^"]*":\{[^{}]*\}/g)];
    switch (below(7)) {
      case 0:
        return text.slice(0, at) + pick(PIECES) + text.slice(at);
      case 1:
        return text.slice(0, at) + text.slice(at + 1 + below(4));
      case 2: {
        const number = numbers.length > 0 ? pick(numbers) : undefined;
        return number ? text.slice(0, number.index) + pick(NUMBERS) + text.slice(number.index + number[0].length) : text;
      }
      case 3: {
        const object = objects.length > 0 ? pick(objects)[0] : '"b":{}';
        return text.replace("{", () => `{${object},`);
      }
      case 4: {
        const [one, other] = [pick(numbers)?.[0] ?? "0", pick(numbers)?.[0] ?? "1"];
        return text.replaceAll(/\d+/g, (digits) => (digits === one ? other : digits === other ? one : digits));
      }
      case 5: {
        const names = ["F64", "F32", "F16", "BF16", "I8", "BOOL", "dtype", "shape", "a"];
        return text.replace(pick(names), pick(names));
      }
      default:
        return text + pick([" ", "  ", "\n", "{}", ","]);
    }
  }

  function changed(file: Uint8Array): Uint8Array {
    const length = Number(new DataView(file.buffer).getBigUint64(0, true));
    if (uniform() < 0.7) {
      let text = new TextDecoder().decode(file.subarray(8, 8 + length));
      for (let i = below(3); i >= 0; i--) text = changedText(text);
      return made(text, file.slice(8 + length + (uniform() < 0.1 ? 1 : 0)));
    }
    const bytes = [...file];
    for (let i = below(4); i >= 0; i--) {
      const at = uniform() < 0.2 ? below(8) : below(bytes.length);
      const kind = below(4);
      if (kind === 0) bytes[at] = below(256);
      else if (kind === 1) bytes[at] = (bytes[at] ?? 0) ^ (1 << below(8));
      else if (kind === 2) bytes.splice(at, 1 + below(9));
      else bytes.splice(at, 0, ...bytes.slice(at, at + below(9)), below(256));
    }
    return Uint8Array.from(bytes);
  }

  /** Checks what holds for every file that is read, by what JSON.parse makes of the header. */
  function checkAccepted(file: Uint8Array, { tensors, metadata }: SafetensorsFile): void {
    const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
    const data = file.subarray(8 + length);
    const { __metadata__: texts = {}, ...entries } = JSON.parse(
      new TextDecoder("utf-8", { fatal: true }).decode(file.subarray(8, 8 + length)),
    ) as Record<string, Record<string, unknown>>;
    const owners = new Uint8Array(data.length);
    const read = [...tensors].map(([name, { dtype, shape, bytes }]) => {
      const begin = bytes.byteOffset - data.byteOffset;
      for (let i = 0; i < bytes.length; i++) owners[begin + i]!++;
      return JSON.stringify([name, dtype, shape, [begin, begin + bytes.length]]);
    });
    const stated = Object.entries(entries).map(([name, entry]) => JSON.stringify([name, entry["dtype"], entry["shape"], entry["data_offsets"]]));
    if (`${read.sort()}` !== `${stated.sort()}`) throw new Error(`read ${read.sort()}`);
    const [given, kept] = [texts, metadata].map((all) => JSON.stringify(Object.entries(all).sort()));
    if (given !== kept) throw new Error(`metadata ${kept}`);
    if (owners.some((count) => count !== 1)) throw new Error(`bytes belong to ${owners} tensors`);
    checkRewritten({ tensors, metadata });
  }

  test(`refused with a FastRpbError, or read as JSON.parse reads them; seed ${seed}`, () => {
    const files = FIXTURES.map(fileOf);
    const [accepted, messages] = [new Set<string>(), new Set<string>()];
    let count = 0;
    for (let i = 0; i < 20_000; i++) {
      const file = changed(pick(files));
      let parsed: SafetensorsFile;
      try {
        parsed = parseSafetensors(file);
      } catch (error) {
        if (!(error instanceof FastRpbError) || error.code !== "value")
          throw new Error(`file ${i}: ${btoa(String.fromCharCode(...file))}`, { cause: error });
        messages.add(error.message.replaceAll(/"(?:[^"\\]|\\.)*"|\d+|\[.*\]/g, "…"));
        continue;
      }
      count++;
      accepted.add(String.fromCharCode(...file));
      try {
        checkAccepted(file, parsed);
      } catch (error) {
        throw new Error(`file ${i}: ${btoa(String.fromCharCode(...file))}`, { cause: error });
      }
    }
    // It is a test of little where nearly all are refused, or all for one reason.
    expect(count).toBeGreaterThan(1000);
    expect(accepted.size).toBeGreaterThan(300);
    expect(messages.size).toBeGreaterThan(15);
  });
});
