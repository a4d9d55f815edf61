/** Ranges of buffers that one binding can hold. */
import { ELEMENT_BYTES, type Kernel } from "../../shaders/wgsl/kernel.ts";
import { FastRpbError } from "../core/errors.ts";
import { type PlannerLimits, wholeWords } from "../core/limits.ts";

/** The limits that are numbers of bytes, lanes or bindings. */
export type BoundedLimit = Exclude<keyof PlannerLimits, "choices" | "speed">;

/** Who plans, for errors, and for which device. */
export interface Planner {
  /** The public function that errors name. */
  readonly caller: string;
  readonly limits: PlannerLimits;
}

/** A range of a buffer that can be bound, in bytes. */
export interface Slice {
  readonly offset: number;
  readonly size: number;
}

/** The smallest bindable range of a buffer that holds the bytes from `begin` to `end`. */
export function sliceBytes(limits: PlannerLimits, begin: number, end: number): Slice {
  const offset = begin - (begin % limits.minStorageBufferOffsetAlignment);
  return { offset, size: wholeWords(end - offset) };
}

/** How many of `count` equal pieces of a buffer, of so many bytes each, one binding can hold: all, or fewer, or none. */
export function bindableUnits(limits: PlannerLimits, unitBytes: number, count: number): number {
  const binding = limits.maxStorageBufferBindingSize - (limits.maxStorageBufferBindingSize % 4); // bindings are whole words
  if (unitBytes * count <= binding) return count;
  // A piece that starts between two aligned offsets is bound from the one before.
  const slack = unitBytes % limits.minStorageBufferOffsetAlignment === 0 ? 0 : limits.minStorageBufferOffsetAlignment;
  return Math.max(0, Math.floor((binding - slack) / unitBytes));
}

/**
 * How many of `count` equal pieces of a buffer one binding can hold: all, or fewer.
 *
 * @param bytes of a piece
 * @throws FastRpbError code `"limit"` where it cannot hold one; `what` names it
 */
export function bindable({ caller, limits }: Planner, bytes: number, count: number, what: string): number {
  const units = bindableUnits(limits, bytes, count);
  if (units >= 1) return units;
  throw limitError({ caller, limits }, "maxStorageBufferBindingSize", bytes, what);
}

/** Where a binding's slice starts, in elements of the kernel's binding: what the kernel subtracts from a tensor-wide index. */
export function sliceBase(kernel: Kernel, name: string, slice: Slice | undefined): number {
  const binding = kernel.bindings.find((entry) => entry.name === name)!;
  return (slice?.offset ?? 0) / ELEMENT_BYTES[binding.element];
}

/**
 * The error where something takes more than a limit.
 *
 * @param what names it
 * @param available what there is, where it is less than the limit
 * @returns a FastRpbError code `"limit"` that names the limit, what is needed and what there is
 */
export function limitError(
  { caller, limits }: Planner,
  limit: BoundedLimit,
  needed: number,
  what: string,
  available: number = limits[limit],
  unit = "bytes",
): FastRpbError {
  const remedy =
    limit === "workspaceBytes"
      ? "Create the runtime with a larger workspaceBytes."
      : "Use a smaller shape, or a device that was requested with a higher limit.";
  return new FastRpbError("limit", `${caller}: ${what} takes ${needed} ${unit}, but ${limit} is ${available}. ${remedy}`);
}

/** The first bytes of a buffer. */
export function firstBytes(size: number): Slice {
  return { offset: 0, size };
}

/** The most bytes of one piece of scratch, of so many bytes that may be held: it is one buffer, and one binding. */
export function largestScratch(limits: PlannerLimits, scratch: number): number {
  return Math.min(scratch, limits.maxStorageBufferBindingSize, limits.maxBufferSize);
}
