/** Lets temporaries of a program share memory. */
import type { ProgramBuffer, ProgramDispatch } from "./program.ts";

/** A piece of memory, and when it is in use. */
interface Slot {
  readonly bytes: number;
  readonly tenants: { readonly first: number; readonly last: number }[];
}

/**
 * Temporaries go into slots, the largest first, each into the smallest slot that no other has at that time (greedy by size: Pisarchyk and Lee,
 * arXiv 2001.03288). A slot is a buffer of its own, because one that is written may not be bound twice in a dispatch.
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
    .sort((a, b) => b.buffer.bytes - a.buffer.bytes || a.first - b.first);
  const slots: Slot[] = [];
  const placed = new Map<string, number>();
  for (const { buffer, first, last } of lifetimes) {
    const free = slots.filter(({ tenants }) => tenants.every((tenant) => tenant.last < first || tenant.first > last));
    // The later a slot was made, the smaller it is.
    const slot = free.at(-1) ?? { bytes: buffer.bytes, tenants: [] };
    if (free.length === 0) slots.push(slot);
    slot.tenants.push({ first, last });
    placed.set(buffer.name, slots.indexOf(slot));
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
