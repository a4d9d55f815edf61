import { checkEnum, checkOptions } from "./check.ts";
import type { Choices } from "./choices.ts";
import { refuse } from "./errors.ts";

/** @throws FastRpbError code `"value"` */
export function checkChoices(caller: string, argument: string, value: unknown): Choices {
  const choices = checkOptions(caller, argument, value as Choices, ["maxRadix", "registers", "lanes", "columns", "exchange", "roots"]);
  if (![4, 8, 16].includes(choices.maxRadix)) {
    throw refuse("value", caller, `${argument}.maxRadix`, "4, 8 or 16", choices.maxRadix);
  }
  for (const name of ["registers", "lanes", "columns"] as const) {
    if (!Number.isInteger(choices[name]) || choices[name] < 1 || choices[name] > 1024) {
      throw refuse("value", caller, `${argument}.${name}`, "an integer from 1 to 1024", choices[name]);
    }
  }
  checkEnum(caller, `${argument}.exchange`, choices.exchange, ["auto", "split", "whole"]);
  // What was measured before there was a choice had split ones.
  const roots = "roots" in choices ? checkEnum(caller, `${argument}.roots`, choices.roots, ["split", "full"]) : "split";
  return Object.freeze({ ...choices, roots });
}
