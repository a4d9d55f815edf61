/**
 * A Program: what a device has to do for one operation, as frozen data. Buffers with their sizes and roles, dispatches with their
 * kernels, bindings and parameters, the layout of the workspace, and what it all costs. Nothing here touches a GPU.
 */
import { ELEMENT_BYTES, type Kernel } from "../../shaders/wgsl/kernel.ts";
import type { Cost, DispatchInfo } from "../core/backend.ts";
import { FastRpbError } from "../core/errors.ts";
import { type PlannerLimits, wholeWords } from "../core/limits.ts";
import { dispatchesFor, estimatedSeconds } from "./duration.ts";
import { type TablePart, tableBytes } from "./tables.ts";
import { foldWorkgroups, gridCapacity } from "./workgroups.ts";

/** The limits that are numbers of bytes, lanes or bindings. */
type BoundedLimit = Exclude<keyof PlannerLimits, "choices" | "speed">;

/** `"inout"`: an output that is an input too. */
export type BufferRole = "input" | "output" | "inout" | "workspace" | "table";

const WORD_BYTES = 4;

/** How often the bytes of a buffer have to move at least. */
const TENSOR_PASSES: Readonly<Record<BufferRole, number>> = { input: 1, output: 1, inout: 2, workspace: 0, table: 0 };

export interface ProgramBuffer {
  readonly name: string;
  readonly role: BufferRole;
  readonly bytes: number;
  /** Of a workspace buffer: which of the program's slots holds it. Buffers whose lifetimes do not overlap share a slot. */
  readonly slot?: number;
  /** Of a table: its contents, as a description. */
  readonly parts?: readonly TablePart[];
}

export interface ProgramBinding {
  /** Name of the kernel's variable. */
  readonly name: string;
  readonly buffer: string;
  /** Range of the buffer that is bound, in bytes. */
  readonly offset: number;
  readonly size: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export interface ProgramDispatch extends DispatchInfo {
  readonly kernel: Kernel;
  readonly bindings: readonly ProgramBinding[];
  /** Values of the kernel's parameters, in its order. */
  readonly params: readonly number[];
}

export interface Program {
  readonly label: string;
  readonly buffers: readonly ProgramBuffer[];
  /** Bytes of each slot of workspace. */
  readonly slots: readonly number[];
  readonly dispatches: readonly ProgramDispatch[];
  readonly cost: Cost;
}

/** What one dispatch does with one binding. */
export interface BindingUse {
  readonly buffer: string;
  /** Range that is bound; the whole buffer when left out. */
  readonly slice?: Slice;
  readonly reads?: number;
  readonly writes?: number;
}

/** An aligned range of a buffer, and where it starts in elements of the binding. */
export interface Slice {
  readonly offset: number;
  readonly size: number;
}

/** The smallest bindable range of a buffer that holds the bytes from `begin` to `end`. */
export function sliceBytes(limits: PlannerLimits, begin: number, end: number): Slice {
  const offset = begin - (begin % limits.minStorageBufferOffsetAlignment);
  return { offset, size: wholeWords(end - offset) };
}

/** How many of `count` equal pieces of a buffer one binding can hold: all, or fewer, or none. */
export function bindableUnits(limits: PlannerLimits, unitBytes: number, count: number): number {
  const binding = limits.maxStorageBufferBindingSize - (limits.maxStorageBufferBindingSize % 4); // bindings are whole words
  if (unitBytes * count <= binding) return count;
  // A piece that starts between two aligned offsets is bound from the one before.
  const slack = unitBytes % limits.minStorageBufferOffsetAlignment === 0 ? 0 : limits.minStorageBufferOffsetAlignment;
  return Math.max(0, Math.floor((binding - slack) / unitBytes));
}

export interface DispatchRequest {
  readonly kernel: Kernel;
  /** Workgroups that the work needs: folded over the grid, by several dispatches where one would take long or its grid is too small. */
  readonly groups: number;
  /** Parameters besides those of the workgroups, by name. */
  readonly params: Readonly<Record<string, number>>;
  readonly uses: Readonly<Record<string, BindingUse>>;
  readonly flops: number;
}

export class ProgramBuilder {
  readonly limits: PlannerLimits;
  readonly caller: string;
  readonly #label: string;
  readonly #buffers = new Map<string, ProgramBuffer>();
  readonly #dispatches: ProgramDispatch[] = [];

  constructor(caller: string, label: string, limits: PlannerLimits) {
    this.caller = caller;
    this.#label = label;
    this.limits = limits;
  }

  buffer(name: string, role: Exclude<BufferRole, "table">, bytes: number): string {
    this.#need("maxBufferSize", bytes, name);
    this.#buffers.set(name, { name, role, bytes });
    return name;
  }

  /** A workspace of at least `bytes`, shared by all who name it. */
  workspace(name: string, bytes: number): string {
    const known = this.#buffers.get(name);
    return known && known.bytes >= bytes ? name : this.buffer(name, "workspace", bytes);
  }

  /** The first `bytes` of a workspace. */
  part(name: string, bytes: number): Slice {
    if (bytes > this.bytes(name)) throw new TypeError(`${this.#label}: ${name} has fewer than ${bytes} bytes`);
    return { offset: 0, size: bytes };
  }

  /** How large a workspace of this name may be: what other workspaces leave, within what can be bound. */
  affordable(name: string): number {
    const others = sum([...this.#buffers.values()], (buffer) => (buffer.role === "workspace" && buffer.name !== name ? buffer.bytes : 0));
    const { workspaceBytes, maxStorageBufferBindingSize, maxBufferSize } = this.limits;
    return Math.min(workspaceBytes - others, maxStorageBufferBindingSize, maxBufferSize);
  }

  /** A constant table; equal tables are one buffer. */
  table(parts: readonly TablePart[]): string {
    const name = `table ${JSON.stringify(parts)}`;
    if (!this.#buffers.has(name)) {
      this.#buffers.set(name, { name, role: "table", bytes: tableBytes(parts), parts: Object.freeze([...parts]) });
    }
    return name;
  }

  bytes(buffer: string): number {
    return this.#buffers.get(buffer)!.bytes;
  }

  dispatch(request: DispatchRequest): void {
    const { kernel } = request;
    const lanes = kernel.workgroupSize[0];
    this.#need("maxComputeInvocationsPerWorkgroup", lanes, `a workgroup of "${kernel.label}"`, "lanes");
    this.#need("maxStorageBuffersPerShaderStage", kernel.bindings.length, `"${kernel.label}"`, "storage buffers");
    const bindings = kernel.bindings.map((binding): ProgramBinding => {
      const use = request.uses[binding.name];
      const buffer = use && this.#buffers.get(use.buffer);
      if (!buffer) throw new TypeError(`${kernel.label}: nothing bound to ${binding.name}`);
      const slice = use.slice ?? { offset: 0, size: wholeWords(buffer.bytes) };
      this.#need("maxStorageBufferBindingSize", slice.size, `${buffer.name} in "${kernel.label}"`);
      return Object.freeze({
        name: binding.name,
        buffer: buffer.name,
        ...slice,
        // A table is shared by all workgroups and served from cache: it counts once.
        bytesRead: buffer.role === "table" ? slice.size : (use.reads ?? 0),
        bytesWritten: use.writes ?? 0,
      });
    });
    const { groups, flops } = request;
    const bytes = sum(bindings, (b) => b.bytesRead + b.bytesWritten);
    const { speed, maxComputeWorkgroupsPerDimension } = this.limits;
    const parts = Math.max(
      dispatchesFor(this.caller, kernel.label, { flops, bytes, groups }, speed),
      Math.ceil(groups / gridCapacity(maxComputeWorkgroupsPerDimension)),
    );
    for (let part = 0; part < parts; part++) this.#addPart(request, bindings, part, parts);
  }

  /** Adds the workgroups of one of several dispatches that share the work. */
  #addPart({ kernel, groups, flops, params }: DispatchRequest, all: readonly ProgramBinding[], part: number, parts: number): void {
    const [first, end] = [Math.floor((groups * part) / parts), Math.floor((groups * (part + 1)) / parts)];
    const bindings = parts === 1 ? all : all.map((binding) => this.#share(binding, first / groups, end / groups));
    const [bytesRead, bytesWritten] = [sum(bindings, (b) => b.bytesRead), sum(bindings, (b) => b.bytesWritten)];
    const values: Readonly<Record<string, number>> = { endGroup: end, firstGroup: first, ...params };
    const words = kernel.params.map((name) => {
      const value = values[name];
      if (value === undefined) throw new TypeError(`${kernel.label}: no value for ${name}`);
      return value >>> 0; // bases are subtracted modulo 2³²
    });
    const work = { flops: parts === 1 ? flops : Math.round((flops * (end - first)) / groups), bytes: bytesRead + bytesWritten, groups: end - first };
    this.#dispatches.push(
      Object.freeze({
        label: kernel.label,
        kernel,
        workgroups: foldWorkgroups(end - first, this.limits.maxComputeWorkgroupsPerDimension),
        workgroupSize: kernel.workgroupSize,
        bindings: Object.freeze(bindings),
        params: Object.freeze(words),
        bytesRead,
        bytesWritten,
        flops: work.flops,
        estimatedSeconds: estimatedSeconds(work, this.limits.speed),
      }),
    );
  }

  /** What a dispatch moves that does the work between two shares of all. Each reads the tables anew, and a word of any input at least. */
  #share(binding: ProgramBinding, from: number, to: number): ProgramBinding {
    const table = this.#buffers.get(binding.buffer)!.role === "table";
    const words = (bytes: number) => Math.round((bytes / WORD_BYTES) * to) - Math.round((bytes / WORD_BYTES) * from);
    const { bytesRead, bytesWritten } = binding;
    return Object.freeze({
      ...binding,
      bytesRead: table || bytesRead === 0 ? bytesRead : WORD_BYTES * Math.max(1, words(bytesRead)),
      bytesWritten: WORD_BYTES * words(bytesWritten),
    });
  }

  finish(): Program {
    const { buffers, slots } = assignSlots([...this.#buffers.values()], this.#dispatches);
    const workspaceBytes = sum(slots, (bytes) => bytes);
    if (workspaceBytes > this.limits.workspaceBytes) {
      throw limitError(this.caller, "workspaceBytes", workspaceBytes, this.limits.workspaceBytes, "scratch memory");
    }
    const dispatches = Object.freeze([...this.#dispatches]);
    return Object.freeze({
      label: this.#label,
      buffers: Object.freeze(buffers),
      slots: Object.freeze(slots),
      dispatches,
      cost: Object.freeze({
        dispatches: dispatches.length,
        bytesMoved: sum(dispatches, (d) => d.bytesRead + d.bytesWritten),
        bytesMinimum: sum(buffers, (b) => b.bytes * TENSOR_PASSES[b.role]),
        flops: sum(dispatches, (d) => d.flops),
        workspaceBytes,
      }),
    });
  }

  #need(limit: BoundedLimit, amount: number, what: string, unit = "bytes"): void {
    if (amount > this.limits[limit]) throw limitError(this.caller, limit, amount, this.limits[limit], what, unit);
  }
}

/** @returns a FastRpbError code `"limit"` that names the limit, what is needed and what there is */
export function limitError(caller: string, limit: BoundedLimit, needed: number, available: number, what: string, unit = "bytes"): FastRpbError {
  const remedy =
    limit === "workspaceBytes"
      ? "Create the runtime with a larger workspaceBytes."
      : "Use a smaller shape, or a device that was requested with a higher limit.";
  return new FastRpbError("limit", `${caller}: ${what} takes ${needed} ${unit}, but ${limit} is ${available}. ${remedy}`);
}

/** Where a binding's slice starts, in elements of the kernel's binding: what the kernel subtracts from a tensor-wide index. */
export function sliceBase(kernel: Kernel, name: string, slice: Slice | undefined): number {
  const binding = kernel.bindings.find((entry) => entry.name === name)!;
  return (slice?.offset ?? 0) / ELEMENT_BYTES[binding.element];
}

/** Linear-scan allocation: a workspace buffer takes the first slot that is free during its lifetime; a slot is as large as its largest buffer. */
function assignSlots(buffers: readonly ProgramBuffer[], dispatches: readonly ProgramDispatch[]): { buffers: ProgramBuffer[]; slots: number[] } {
  const slots: { bytes: number; busyUntil: number }[] = [];
  const placed = new Map<string, number>();
  const lifetimes = buffers
    .filter((buffer) => buffer.role === "workspace")
    .map((buffer) => {
      const uses = dispatches.flatMap((d, i) => (d.bindings.some((b) => b.buffer === buffer.name) ? [i] : []));
      return { buffer, first: Math.min(...uses), last: Math.max(...uses) };
    })
    .sort((a, b) => a.first - b.first || b.buffer.bytes - a.buffer.bytes);
  for (const { buffer, first, last } of lifetimes) {
    const free = slots.filter((slot) => slot.busyUntil < first);
    // The free slot that has to grow least.
    free.sort((a, b) => Math.max(buffer.bytes, a.bytes) - a.bytes - (Math.max(buffer.bytes, b.bytes) - b.bytes));
    const slot = free[0] ?? { bytes: 0, busyUntil: -1 };
    if (!free[0]) slots.push(slot);
    slot.bytes = Math.max(slot.bytes, buffer.bytes);
    slot.busyUntil = last;
    placed.set(buffer.name, slots.indexOf(slot));
  }
  return {
    buffers: buffers.map((buffer) => Object.freeze(placed.has(buffer.name) ? { ...buffer, slot: placed.get(buffer.name)! } : buffer)),
    slots: slots.map((slot) => slot.bytes),
  };
}

export function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
