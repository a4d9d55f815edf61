import { wgsl as preprocess } from "wgsl-preprocessor/wgsl-preprocessor.js";

const PREDICATE = /#(?:if|elif)\s*$/;
const REST_OF_LINE = /^[^\S\n]*(?:\n|$)/;
const DIRECTIVE_LEFT_OVER = /^\s*#.*$/m;

/**
 * Template tag for WGSL with `#if` / `#elif` / `#else` / `#endif`, checked where `wgsl-preprocessor` is lenient: a predicate is one
 * boolean and ends its line, every other value is a string or a finite number, and no directive is left in the result.
 *
 * @throws TypeError for a template that breaks these rules: a defect of the kernel, not of its caller
 */
export function wgsl(strings: TemplateStringsArray, ...values: readonly (string | number | boolean)[]): string {
  values.forEach((value, i) => {
    if (PREDICATE.test(strings[i]!)) {
      if (typeof value !== "boolean") throw new TypeError(`wgsl: a predicate must be a boolean, got ${String(value)}`);
      if (!REST_OF_LINE.test(strings[i + 1]!)) throw new TypeError(`wgsl: a predicate must end its line: "${strings[i + 1]!.split("\n")[0]}"`);
    } else if (typeof value !== "string" && !(typeof value === "number" && Number.isFinite(value))) {
      throw new TypeError(`wgsl: a value must be a string or a finite number, got ${String(value)}`);
    }
  });
  const code = preprocess(strings, ...values);
  const leftOver = DIRECTIVE_LEFT_OVER.exec(code);
  if (leftOver) throw new TypeError(`wgsl: unknown directive "${leftOver[0].trim()}"`);
  return code;
}

/** A WGSL literal of the nearest float32. */
export function f32(value: number): string {
  if (!Number.isFinite(value)) throw new TypeError(`wgsl: not a finite number: ${value}`);
  const text = Math.fround(value).toString();
  return /[.e]/.test(text) ? `${text}f` : `${text}.0f`;
}

/** A WGSL literal of an unsigned integer. */
export function u32(value: number): string {
  if (!Number.isInteger(value) || value < 0 || value > 2 ** 32 - 1) throw new TypeError(`wgsl: not a u32: ${value}`);
  return `${value}u`;
}

/** The integers 0 … n − 1, for unrolling. */
export function range(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i);
}

/** The lowest finite float32, where a maximum starts. */
export const LOWEST = "-3.4028234663852886e38f";
