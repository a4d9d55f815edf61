import { type BindingUse } from "../program/program.ts";
import { FLOAT_BYTES } from "../program/units.ts";

/** The binding `lengths`, where there is one. */
export function lengthsUse({
  batch,
  variableLengths,
}: {
  readonly batch: number;
  readonly variableLengths: boolean;
}): Readonly<Record<string, BindingUse>> {
  return variableLengths ? { lengths: { buffer: "lengths", reads: batch * FLOAT_BYTES } } : {};
}
