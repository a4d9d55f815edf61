/**
 * What the built library has in the place of wgsl.ts: its templates are compiled, their directives are conditions (scripts/minify-wgsl.mjs).
 * What is left to do is to check values.
 */
export * from "./literals.ts";

/** @throws TypeError for a value that is neither text nor a finite number */
export function wgsl(strings: TemplateStringsArray, ...values: readonly (string | number)[]): string {
  for (const value of values) {
    if (typeof value !== "string" && !Number.isFinite(value)) throw new TypeError(`wgsl: a value must be a string or a finite number, got ${value}`);
  }
  return String.raw(strings, ...values);
}
