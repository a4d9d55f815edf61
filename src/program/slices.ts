/** Work on buffers that are larger than a binding, slice by slice. */
import type { ProgramBuilder } from "./builder.ts";
import { bindableUnits, limitError, type Slice, sliceBytes } from "./ranges.ts";

/**
 * Runs `add` for as many of `count` pieces at a time as bindings, and `most`, can hold, with the range of each buffer: the whole where that
 * can be bound.
 *
 * @param bytes of a piece, in each buffer
 * @param most asked only where a piece can be bound
 * @throws FastRpbError code `"limit"` where not even one piece can be bound; `what` names it
 */
export function forSlices(
  program: ProgramBuilder,
  what: string,
  count: number,
  bytes: readonly number[],
  add: (first: number, count: number, slices: readonly (Slice | undefined)[]) => void,
  most: () => number = () => Infinity,
): void {
  const { limits, caller } = program;
  const bindable = Math.min(...bytes.map((piece) => bindableUnits(limits, piece, count)));
  if (bindable < 1) throw limitError(caller, "maxStorageBufferBindingSize", Math.max(...bytes), limits.maxStorageBufferBindingSize, what);
  const step = Math.min(bindable, most());
  for (let first = 0; first < count; first += step) {
    const here = Math.min(step, count - first);
    const slice = (piece: number) => (bindable === count ? undefined : sliceBytes(limits, first * piece, (first + here) * piece));
    add(first, here, bytes.map(slice));
  }
}
