/** Lets temporaries of a program share memory. */
import type { ProgramBuffer, ProgramDispatch } from "./program.ts";

/**
 * Temporaries go into slots in the order in which they begin, each into the free slot that has to grow least, and of those that need not grow into
 * the smallest: no more slots than temporaries at a time (linear scan). A slot is a buffer of its own, because one that is written may not be
 * bound twice in a dispatch.
 */
export function assignSlots(
  buffers: readonly ProgramBuffer[],
  dispatches: readonly ProgramDispatch[],
): { readonly buffers: ProgramBuffer[]; readonly slots: number[] } {
  const uses = new Map<string, { first: number; last: number }>();
  for (const [index, { bindings }] of dispatches.entries()) {
    for (const { buffer } of bindings) {
      const known = uses.get(buffer);
      if (known) known.last = index;
      else uses.set(buffer, { first: index, last: index });
    }
  }
  const lifetimes = buffers
    .flatMap((buffer) => (buffer.role === "workspace" && uses.has(buffer.name) ? [{ buffer, ...uses.get(buffer.name)! }] : []))
    .sort((a, b) => a.first - b.first || b.buffer.bytes - a.buffer.bytes);
  const slots: { bytes: number; busyUntil: number }[] = [];
  const placed = new Map<string, number>();
  for (const { buffer, first, last } of lifetimes) {
    const misfit = ({ bytes }: { readonly bytes: number }) => (bytes < buffer.bytes ? buffer.bytes - bytes : (bytes - buffer.bytes) / 2 ** 53);
    let best = -1;
    for (const [i, slot] of slots.entries()) if (slot.busyUntil < first && (best < 0 || misfit(slot) < misfit(slots[best]!))) best = i;
    if (best < 0) best = slots.push({ bytes: 0, busyUntil: -1 }) - 1;
    const slot = slots[best]!;
    slot.bytes = Math.max(slot.bytes, buffer.bytes);
    slot.busyUntil = last;
    placed.set(buffer.name, best);
  }
  return {
    // What no dispatch uses takes no memory.
    buffers: buffers.flatMap((buffer) => {
      const slot = placed.get(buffer.name);
      if (slot === undefined) return buffer.role === "workspace" ? [] : [buffer];
      return [Object.freeze({ ...buffer, slot })];
    }),
    slots: slots.map(({ bytes }) => bytes),
  };
}
