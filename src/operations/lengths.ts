import type { BindingUse, Handle } from "../program/builder.ts";
import { WORD_BYTES } from "../program/units.ts";
import { layout, type TensorLayouts } from "./operation.ts";

/** Rows of a batch, each with a length of its own or not. */
interface Sequences {
  readonly batch: number;
  readonly variableLengths: boolean;
}

/** The tensor `lengths`, where there is one. */
export function lengthsLayout({ batch, variableLengths }: Sequences): TensorLayouts {
  return variableLengths ? { lengths: layout("input", [batch], "u32") } : {};
}

/** The binding `lengths`, where there is one. */
export function lengthsUse({ batch, variableLengths }: Sequences, lengths: Handle | undefined): Readonly<Record<string, BindingUse>> {
  return variableLengths ? { lengths: { buffer: lengths!, reads: batch * WORD_BYTES } } : {};
}
