/**
 * Files of named tensors, in the format safetensors (https://github.com/huggingface/safetensors#format): the length of the header, a little-endian
 * u64; the header, JSON; then the bytes of all tensors, one after the other. What the format forbids is refused.
 */
import { describe, FastRpbError, refuse } from "../core/errors.ts";
import { decodeHalf } from "../core/half.ts";
import { byteArray } from "../math/memory.ts";

/** Bytes of an element, by dtype, in the order in which tensors are written: the reference's, in which each is aligned. */
const ELEMENT_BYTES = Object.freeze({ U64: 8, I64: 8, F64: 8, F32: 4, U32: 4, I32: 4, BF16: 2, F16: 2, U16: 2, I16: 2, I8: 1, U8: 1, BOOL: 1 });

/** How the numbers of a tensor in a file are stored: floats, signed and unsigned integers of so many bits, bfloat16, and booleans of a byte. */
export type SafetensorsDType = keyof typeof ELEMENT_BYTES;

const DTYPES = Object.keys(ELEMENT_BYTES) as SafetensorsDType[];

/** Those of numbers that a model may have. */
export const FLOATS: readonly SafetensorsDType[] = ["F64", "F32", "F16", "BF16"];

/** A tensor in a file. */
export interface SafetensorsTensor {
  readonly dtype: SafetensorsDType;
  /** Row-major; `[]` is a single number, and an axis of size 0 is allowed. */
  readonly shape: readonly number[];
  /** Little-endian, as in the file; they need not be aligned. */
  readonly bytes: Uint8Array;
}

/** What a file holds. */
export interface SafetensorsFile {
  /** By name, in the order of the file. Their bytes are views of what was parsed. */
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
  /** The strings that the file carries besides, by name. */
  readonly metadata: Readonly<Record<string, string>>;
}

const LENGTH_BYTES = 8;
const MOST_HEADER_BYTES = 100_000_000;
const METADATA = "__metadata__";
/** A surrogate that is no half of a pair: no text has it. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * Reads a safetensors file.
 *
 * @param bytes the whole file; the tensors are views of it
 * @throws FastRpbError code `"value"` for whatever the format forbids: a header that is longer than the file or 100 MB, no UTF-8, or no JSON of the
 *   form that it has to be; keys that occur twice; unknown dtypes; sizes that are no integers or do not fit the bytes; tensors that overlap, or bytes
 *   that belong to none
 */
export function parseSafetensors(bytes: ArrayBuffer | Uint8Array): SafetensorsFile {
  return parseFile("parseSafetensors", "bytes", bytes);
}

/** @internal {@link parseSafetensors} of an argument of another function */
export function parseFile(caller: string, argument: string, bytes: ArrayBuffer | Uint8Array): SafetensorsFile {
  if (!(bytes instanceof ArrayBuffer || bytes instanceof Uint8Array))
    throw refuse("value", caller, argument, "an ArrayBuffer or a Uint8Array", bytes);
  const file = bytes instanceof Uint8Array ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length) : new Uint8Array(bytes);
  if (file.length < LENGTH_BYTES) throw refuse("value", caller, `${argument}.length`, `at least ${LENGTH_BYTES}`, file.length);
  const lengthField = new DataView(file.buffer, file.byteOffset, LENGTH_BYTES);
  // Beyond 2⁵³ it is rounded, and refused all the same.
  const length = lengthField.getUint32(0, true) + 2 ** 32 * lengthField.getUint32(4, true);
  const most = Math.min(MOST_HEADER_BYTES, file.length - LENGTH_BYTES);
  if (length > most) throw refuse("value", caller, "the length of the header", `at most ${most}, of ${file.length} bytes`, length);
  const data = file.subarray(LENGTH_BYTES + length);
  const { entries, metadata } = new HeaderReader(caller, file.subarray(LENGTH_BYTES, LENGTH_BYTES + length)).read();
  // One after the other; of those that start together, all but the last are empty.
  entries.sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let end = 0;
  const tensors = new Map<string, SafetensorsTensor>();
  for (const [name, entry] of entries) {
    const what = `tensor ${describe(name)}`;
    if (entry.begin !== end) throw refuse("value", caller, `the begin of ${what}`, `${end}, the end of the one before`, entry.begin);
    const size = byteCount(caller, what, entry.dtype, entry.shape);
    if (entry.end - entry.begin !== size) {
      throw refuse("value", caller, `the bytes of ${what}`, `${size}, those of ${entry.dtype} ${describe(entry.shape)}`, entry.end - entry.begin);
    }
    end = entry.end;
    tensors.set(name, Object.freeze({ dtype: entry.dtype, shape: Object.freeze(entry.shape), bytes: data.subarray(entry.begin, end) }));
  }
  if (end !== data.length) throw refuse("value", caller, "the bytes after the header", `${end}, those of all tensors`, data.length);
  return Object.freeze({ tensors, metadata });
}

/**
 * Writes a safetensors file: tensors with larger elements first, then by name, so that each is aligned.
 *
 * @param tensors by name: a Map, or pairs of names and tensors
 * @param metadata strings that the file carries besides
 * @returns the whole file
 * @throws FastRpbError code `"value"` for bytes that do not fit dtype and shape, for an unknown dtype, for a name that occurs twice, or for names and
 *   strings that are no text; code `"limit"` where there is no room
 */
export function writeSafetensors(
  tensors: Iterable<readonly [name: string, tensor: SafetensorsTensor]>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const caller = "writeSafetensors";
  if (typeof tensors?.[Symbol.iterator] !== "function") throw refuse("value", caller, "tensors", "a Map", tensors);
  const given = [...tensors] as unknown[];
  const wrong = given.find((pair) => !Array.isArray(pair) || typeof pair[0] !== "string" || typeof pair[1] !== "object" || pair[1] === null);
  if (wrong !== undefined) throw refuse("value", caller, "tensors", "pairs of names and tensors", wrong);
  if (typeof metadata !== "object" || metadata === null) throw refuse("value", caller, "metadata", "an object of strings", metadata);
  const named = (given as [string, SafetensorsTensor][]).sort(
    ([a, { dtype }], [b, other]) => DTYPES.indexOf(dtype) - DTYPES.indexOf(other.dtype) || (a < b ? -1 : 1),
  );
  const names = new Set<string>();
  const members: string[] = [];
  const texts = Object.entries(metadata).map(
    ([key, value]) => `${quoted(caller, "a key of metadata", key)}:${quoted(caller, `metadata ${describe(key)}`, value)}`,
  );
  if (texts.length > 0) members.push(`"${METADATA}":{${texts.join(",")}}`);
  let end = 0;
  for (const [name, { dtype, shape, bytes }] of named) {
    const what = `tensor ${describe(name)}`;
    if (names.has(name)) throw refuse("value", caller, "the name of a tensor", "there once", name);
    names.add(name);
    if (name === METADATA) throw refuse("value", caller, "the name of a tensor", `other than "${METADATA}"`, name);
    if (!DTYPES.includes(dtype)) throw unknownDType(caller, what, dtype);
    if (!Array.isArray(shape)) throw refuse("value", caller, `the shape of ${what}`, "an array of sizes", shape);
    const sizes = Array.from(shape as readonly number[]);
    const bad = sizes.find((size) => !Number.isSafeInteger(size) || size < 0);
    if (bad !== undefined) throw refuse("value", caller, `the shape of ${what}`, "integers from 0 on", bad);
    const size = byteCount(caller, what, dtype, sizes);
    if (!(bytes instanceof Uint8Array)) throw refuse("value", caller, `the bytes of ${what}`, "a Uint8Array", bytes);
    if (bytes.length !== size) throw refuse("value", caller, `the bytes of ${what}`, `${size}, those of ${dtype} ${describe(sizes)}`, bytes.length);
    members.push(
      `${quoted(caller, "the name of a tensor", name)}:{"dtype":"${dtype}","shape":[${sizes.join(",")}],"data_offsets":[${end},${end + size}]}`,
    );
    end += size;
  }
  const header = new TextEncoder().encode(`{${members.join(",")}}`);
  const length = LENGTH_BYTES * Math.ceil(header.length / LENGTH_BYTES);
  if (length > MOST_HEADER_BYTES) throw refuse("value", caller, "the header", `at most ${MOST_HEADER_BYTES} bytes`, length);
  const file = byteArray(caller, LENGTH_BYTES + length + end);
  new DataView(file.buffer).setUint32(0, length, true);
  file.set(header, LENGTH_BYTES);
  file.fill(0x20, LENGTH_BYTES + header.length, LENGTH_BYTES + length);
  let at = LENGTH_BYTES + length;
  for (const [, { bytes }] of named) {
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}

/**
 * The numbers of a tensor in a file as float32: exact for F32, F16 and BF16, rounded for F64.
 *
 * @returns a copy
 * @throws FastRpbError code `"value"` for other dtypes, or bytes that are no whole numbers of them
 */
export function toFloat32(tensor: Pick<SafetensorsTensor, "dtype" | "bytes">): Float32Array<ArrayBuffer> {
  const numbers = storedFloats("toFloat32", tensor);
  return numbers instanceof Float32Array ? numbers : new Float32Array(numbers);
}

/**
 * The numbers of a tensor in a file as float64: exact for F64, F32, F16 and BF16.
 *
 * @returns a copy
 * @throws FastRpbError code `"value"` for other dtypes, or bytes that are no whole numbers of them
 */
export function toFloat64(tensor: Pick<SafetensorsTensor, "dtype" | "bytes">): Float64Array<ArrayBuffer> {
  const numbers = storedFloats("toFloat64", tensor);
  return numbers instanceof Float64Array ? numbers : new Float64Array(numbers);
}

/** A copy of numbers, as exact as they are. */
function storedFloats(
  caller: string,
  { dtype, bytes }: Pick<SafetensorsTensor, "dtype" | "bytes">,
): Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> {
  const size = FLOATS.includes(dtype) ? ELEMENT_BYTES[dtype] : 0;
  if (size === 0) throw refuse("value", caller, "dtype", `one of ${FLOATS.map((name) => `"${name}"`).join(", ")}`, dtype);
  if (bytes.length % size !== 0) throw refuse("value", caller, "bytes.length", `a multiple of ${size}`, bytes.length);
  const { buffer } = new Uint8Array(bytes); // aligned
  if (dtype === "F32") return new Float32Array(buffer);
  if (dtype === "F64") return new Float64Array(buffer);
  const halves = new Uint16Array(buffer);
  const numbers = new Float32Array(halves.length);
  if (dtype === "F16") decodeHalf(halves, numbers);
  else new Uint32Array(numbers.buffer).set(Uint32Array.from(halves, (bits) => bits << 16));
  return numbers;
}

/** A tensor in a header: its bytes are those from `begin` to before `end`. */
interface HeaderEntry {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** Reads the JSON that a header may be and no other; JSON.parse would pass over keys that occur twice, and over 1.0 or 1e3 for an integer. */
class HeaderReader {
  readonly #caller: string;
  readonly #text: string;
  #at = 0;

  constructor(caller: string, header: Uint8Array) {
    this.#caller = caller;
    if (header[0] !== 0x7b) throw refuse("value", caller, "the header", 'JSON that begins with "{"', header[0] ?? "nothing");
    try {
      this.#text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
    } catch (cause) {
      throw new FastRpbError("value", `${caller}: the header must be UTF-8.`, { cause });
    }
  }

  read(): { readonly entries: [string, HeaderEntry][]; readonly metadata: Readonly<Record<string, string>> } {
    const entries: [string, HeaderEntry][] = [];
    let metadata: Readonly<Record<string, string>> = Object.freeze({});
    this.#members((name) => {
      if (name === METADATA) metadata = this.#metadata();
      else entries.push([name, this.#entry(name)]);
    });
    for (; this.#at < this.#text.length; this.#at++) if (this.#text[this.#at] !== " ") throw this.#unexpected("nothing but spaces");
    return { entries, metadata };
  }

  #metadata(): Readonly<Record<string, string>> {
    const texts: [string, string][] = [];
    this.#members((key) => texts.push([key, this.#string()]));
    return Object.freeze(Object.fromEntries(texts));
  }

  #entry(name: string): HeaderEntry {
    const what = `tensor ${describe(name)}`;
    let dtype: string | undefined;
    let shape: readonly number[] | undefined;
    let offsets: readonly number[] | undefined;
    this.#members((key) => {
      if (key === "dtype") dtype = this.#string();
      else if (key === "shape") shape = this.#integers();
      else if (key === "data_offsets") offsets = this.#integers();
      else throw refuse("value", this.#caller, `the keys of ${what}`, "dtype, shape, data_offsets", key);
    });
    if (dtype === undefined || shape === undefined || offsets === undefined) {
      const missing = dtype === undefined ? "dtype" : shape === undefined ? "shape" : "data_offsets";
      throw refuse("value", this.#caller, `the keys of ${what}`, "dtype, shape, data_offsets", `no ${missing}`);
    }
    if (!(DTYPES as string[]).includes(dtype)) throw unknownDType(this.#caller, what, dtype);
    const [begin, end] = offsets;
    if (offsets.length !== 2 || begin! > end!) throw refuse("value", this.#caller, `data_offsets of ${what}`, "[begin, end]", offsets);
    return { dtype: dtype as SafetensorsDType, shape, begin: begin!, end: end! };
  }

  /** An object: `member` reads the value of each key. */
  #members(member: (key: string) => void): void {
    const keys = new Set<string>();
    this.#list("{", "}", () => {
      const key = this.#string();
      if (keys.has(key)) throw refuse("value", this.#caller, "each key of the header", "there once", key);
      keys.add(key);
      this.#take(":");
      member(key);
    });
  }

  #integers(): number[] {
    const integers: number[] = [];
    this.#list("[", "]", () => integers.push(this.#integer()));
    return integers;
  }

  #list(open: string, close: string, item: () => void): void {
    this.#take(open);
    if (this.#peek() === close) {
      this.#at++;
      return;
    }
    for (;;) {
      item();
      if (this.#peek() === close) break;
      this.#take(",");
    }
    this.#at++;
  }

  #integer(): number {
    this.#peek();
    const digits = /(?:0|[1-9]\d{0,15})(?![\d.eE])/y;
    digits.lastIndex = this.#at;
    const text = digits.exec(this.#text)?.[0];
    const value = Number(text);
    if (text === undefined || !Number.isSafeInteger(value)) throw this.#unexpected("an integer from 0 to 2⁵³ − 1");
    this.#at += text.length;
    return value;
  }

  #string(): string {
    if (this.#peek() !== '"') throw this.#unexpected("a string");
    const begin = this.#at++;
    let escaped = false;
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (!(code >= 0x20)) throw this.#unexpected("the rest of a string"); // not at the end either, where it is NaN
      this.#at++;
      if (code === 0x22) break;
      if (code !== 0x5c) continue;
      escaped = true;
      this.#at++;
    }
    if (!escaped) return this.#text.slice(begin + 1, this.#at - 1);
    let value: string | undefined;
    try {
      value = JSON.parse(this.#text.slice(begin, this.#at)) as string;
    } catch {
      value = undefined;
    }
    if (value !== undefined && !LONE_SURROGATE.test(value)) return value;
    this.#at = begin;
    throw this.#unexpected("a string whose escapes are JSON's");
  }

  #take(symbol: string): void {
    if (this.#peek() !== symbol) throw this.#unexpected(`"${symbol}"`);
    this.#at++;
  }

  /** The next character that is no white space, or `undefined` at the end. */
  #peek(): string | undefined {
    while ([0x20, 0x09, 0x0a, 0x0d].includes(this.#text.charCodeAt(this.#at))) this.#at++;
    return this.#text[this.#at];
  }

  #unexpected(expected: string): FastRpbError {
    const rest = this.#text.slice(this.#at, this.#at + 16);
    return refuse("value", this.#caller, `the header at character ${this.#at}`, expected, rest === "" ? "the end of it" : rest);
  }
}

/** Bytes of a tensor, exactly. */
function byteCount(caller: string, what: string, dtype: SafetensorsDType, shape: readonly number[]): number {
  let bytes: number = ELEMENT_BYTES[dtype];
  for (const size of shape) {
    bytes *= size;
    if (!Number.isSafeInteger(bytes)) throw refuse("value", caller, `the shape of ${what}`, "sizes whose product is below 2⁵³ bytes", shape);
  }
  return bytes;
}

function unknownDType(caller: string, what: string, dtype: unknown): FastRpbError {
  return refuse("value", caller, `the dtype of ${what}`, `a known dtype, one of ${DTYPES.join(", ")}`, dtype);
}

/** A JSON string. */
function quoted(caller: string, what: string, text: unknown): string {
  if (typeof text !== "string" || LONE_SURROGATE.test(text)) throw refuse("value", caller, what, "a string that is text", text);
  return JSON.stringify(text);
}
