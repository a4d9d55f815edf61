import { wgsl as preprocess } from "wgsl-preprocessor/wgsl-preprocessor.js";

export * from "./literals.ts";

/** A directive at the end of a piece of template takes the value after it as its predicate, and its line ends there. */
const PREDICATE = /(?:^|\n)[^\S\n]*#(?:if|elif)[^\S\n]+$/;
const END_OF_LINE = /^[^\S\n]*\n/;
/** `#else` and `#endif` stand alone on their lines. */
const BARE_DIRECTIVE = /^[^\S\n]*#(?:else|endif)[^\S\n]*$/gm;

/**
 * Template tag for WGSL with `#if` / `#elif` / `#else` / `#endif`, checked where `wgsl-preprocessor` is lenient: a predicate is one
 * boolean and ends its line, every other value is a string or a finite number, and any other directive is refused, whether its branch is
 * taken or not.
 *
 * @throws TypeError for a template that breaks these rules: a defect of the kernel, not of its caller
 */
export function wgsl(strings: TemplateStringsArray, ...values: readonly (string | number | boolean)[]): string {
  for (const [i, text] of strings.entries()) {
    const predicate = PREDICATE.test(text);
    const rest = text.replace(PREDICATE, "").replace(BARE_DIRECTIVE, "");
    if (rest.includes("#")) throw new TypeError(`wgsl: unknown or misplaced directive in "${rest.slice(rest.indexOf("#")).split("\n")[0]}"`);
    if (i === values.length) {
      if (predicate) throw new TypeError("wgsl: a directive without a predicate");
      break;
    }
    const value = values[i]!;
    if (predicate) {
      if (typeof value !== "boolean") throw new TypeError(`wgsl: a predicate must be a boolean, got ${String(value)}`);
      if (!END_OF_LINE.test(strings[i + 1]!)) throw new TypeError(`wgsl: a predicate must end its line, got "${strings[i + 1]!.split("\n")[0]}"`);
    } else if (typeof value !== "string" && !(typeof value === "number" && Number.isFinite(value))) {
      throw new TypeError(`wgsl: a value must be a string or a finite number, got ${String(value)}`);
    } else if (String(value).includes("#")) {
      throw new TypeError(`wgsl: a value must hold no directive, got "${value}"`);
    }
  }
  return preprocess(strings, ...values);
}
