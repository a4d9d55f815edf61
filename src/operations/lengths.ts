import type { BindingUse, Handle } from "../program/builder.ts";
import { WORD_BYTES } from "../program/units.ts";
import { type CpuMemory, layout, type TensorLayouts } from "./operation.ts";

/** Sequences in batch rows, each with a length of its own or not. */
interface Sequences {
  readonly batch: number;
  readonly variableLengths: boolean;
}

/** Layout of the tensor `lengths` [batch] of u32, or of float32 of whole numbers, where lengths vary. */
export function lengthsLayout({ batch, variableLengths }: Sequences): TensorLayouts {
  return variableLengths ? { lengths: layout("input", [batch], "u32") } : {};
}

/** The lengths of the batch rows, as `shaders/wgsl/lengths.ts` reads them. */
export function readLengths({ words, floats }: CpuMemory, length: number): Uint32Array {
  return words.map((given, b) => (given > length ? Math.min(Math.max(floats[b]!, 0), length) : given));
}

/** The binding `lengths`, where lengths vary. */
export function lengthsUse({ batch }: Pick<Sequences, "batch">, lengths: Handle | undefined): BindingUse | undefined {
  return lengths && { buffer: lengths, reads: batch * WORD_BYTES };
}
