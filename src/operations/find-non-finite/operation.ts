import { wholeWords } from "../../core/limits.ts";
import { BYTES_PER_ELEMENT } from "../../core/tensor.ts";
import { WORD_BYTES } from "../../program/units.ts";
import { layout, type Operation } from "../operation.ts";
import { findNonFiniteCpu } from "./cpu.ts";
import { planFindNonFinite } from "./plan.ts";
import type { FindNonFiniteSpec } from "./spec.ts";

/** The index of the first number of `source` that is not finite, into `found`. Numbers are looked at as whole words. */
export const findNonFinite: Operation<FindNonFiniteSpec> = {
  name: "find non-finite",
  label: () => "find non-finite",
  tensors: ({ numbers, storage }) => ({
    source: layout("input", [wholeWords(numbers * BYTES_PER_ELEMENT[storage]) / WORD_BYTES], "u32"),
    found: layout("inout", [1], "u32"),
  }),
  plan: planFindNonFinite,
  cpu: findNonFiniteCpu,
};
