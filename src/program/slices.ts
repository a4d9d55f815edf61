/** Work that is done some at a time: because buffers are larger than a binding, or scratch is short. */
import { bindableUnits, limitError, type Planner, type Slice, sliceBytes } from "./ranges.ts";

/** Neighbours in a sequence of things: heads, features, pairs of channels. */
export interface Span {
  readonly first: number;
  readonly count: number;
}

/** All of `count` things, at most `most` at a time, which may be any number from 1 on, or Infinity. */
export function spansOf(count: number, most: number): readonly Span[] {
  const step = Math.min(count, most);
  return Array.from({ length: Math.ceil(count / step) }, (_, i) => ({ first: i * step, count: Math.min(step, count - i * step) }));
}

/** How many of `count` things to do at a time, at most `most`, so that they are done as few times as possible, and evenly. */
export function evenStep(count: number, most: number): number {
  return Math.ceil(count / Math.ceil(count / most));
}

/**
 * Runs `add` for as many of `count` pieces at a time as bindings, and `most`, can hold, with the range of each buffer: the whole where that
 * can be bound.
 *
 * @param bytes of a piece, in each buffer
 * @param most asked only where a piece can be bound
 * @throws FastRpbError code `"limit"` where not even one piece can be bound; `what` names it
 */
export function forSlices(
  planner: Planner,
  what: string,
  count: number,
  bytes: readonly number[],
  add: (first: number, count: number, slices: readonly (Slice | undefined)[]) => void,
  most: () => number = () => Infinity,
): void {
  const units = Math.min(...bytes.map((piece) => bindableUnits(planner.limits, piece, count)));
  if (units < 1) throw limitError(planner, "maxStorageBufferBindingSize", Math.max(...bytes), what);
  for (const span of spansOf(count, Math.min(units, most()))) {
    const slice = (piece: number) =>
      units === count ? undefined : sliceBytes(planner.limits, span.first * piece, (span.first + span.count) * piece);
    add(span.first, span.count, bytes.map(slice));
  }
}
