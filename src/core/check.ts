import { refuse } from "./errors.ts";

/** Every index in WGSL is a `u32`, so no tensor may hold more elements than that. */
export const MAX_ELEMENTS = 2 ** 32 - 1;

/** A positive integer that a `u32` can hold, or one from `least` on. @throws FastRpbError code `"value"` */
export function checkSize(caller: string, argument: string, value: unknown, least = 1): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > MAX_ELEMENTS) {
    throw refuse("value", caller, argument, `an integer from ${least} to ${MAX_ELEMENTS}`, value);
  }
  return value;
}

/** A non-empty list of sizes whose product a `u32` can hold; the result is a frozen copy. */
export function checkShape(caller: string, argument: string, value: unknown): readonly number[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw refuse("value", caller, argument, "a non-empty array of sizes", value);
  }
  const shape = Array.from(value, (size, axis) => checkSize(caller, `${argument}[${axis}]`, size)); // map would skip holes
  checkElements(caller, argument, shape);
  return Object.freeze(shape);
}

/** Refuses a shape whose elements cannot be numbered by a `u32`. */
export function checkElements(caller: string, argument: string, shape: readonly number[]): void {
  const elements = elementCount(shape);
  if (elements > MAX_ELEMENTS) {
    throw refuse("value", caller, argument, `at most ${MAX_ELEMENTS} elements in all`, elements);
  }
}

export function checkEnum<const T extends string>(caller: string, argument: string, value: unknown, allowed: readonly T[]): T {
  if (!allowed.includes(value as T)) {
    throw refuse("value", caller, argument, `one of ${allowed.map((name) => `"${name}"`).join(", ")}`, value);
  }
  return value as T;
}

export function checkBoolean(caller: string, argument: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw refuse("value", caller, argument, "a boolean", value);
  return value;
}

/** A number that stays finite as a float32. */
export function checkFinite(caller: string, argument: string, value: unknown): number {
  if (typeof value !== "number" || !Number.isFinite(Math.fround(value))) {
    throw refuse("value", caller, argument, "a finite float32", value);
  }
  return value;
}

/**
 * An options object with known keys only: a misspelt option would otherwise be a silent default.
 * @throws FastRpbError code `"value"`
 */
export function checkOptions<T extends object>(caller: string, argument: string, options: T, known: readonly (keyof T & string)[]): T {
  const refusal = (got: unknown) => refuse("value", caller, argument, `an object with the keys ${known.join(", ")}`, got);
  if (typeof options !== "object" || options === null || Array.isArray(options)) throw refusal(options);
  for (const key of Object.keys(options)) {
    if (!(known as readonly string[]).includes(key)) throw refusal(key);
  }
  return options;
}

/**
 * Options as they are now: their parts of plain objects and arrays, copied, because the caller may change them before they are looked at. What
 * is neither is left for the checks to refuse.
 */
export function copyOptions<T>(options: T, depth = 3): T {
  if (typeof options !== "object" || options === null || depth === 0) return options;
  if (Array.isArray(options)) return options.map((item: unknown) => copyOptions(item, depth - 1)) as T;
  const prototype: unknown = Object.getPrototypeOf(options);
  if (prototype !== Object.prototype && prototype !== null) return options;
  return Object.fromEntries(Object.entries(options).map(([key, value]) => [key, copyOptions(value, depth - 1)])) as T;
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Not by `every`, which is slow on frozen arrays: two calls took a tenth of an FFT of 16 points on the CPU. */
export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let axis = 0; axis < a.length; axis++) if (a[axis] !== b[axis]) return false;
  return true;
}
